"""The quality check: drawn photos of every fault, and real ones where they are at hand."""

import csv
import io
from itertools import islice

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from skingpt4.demo.app import EXAMPLES_FOLDER
from skingpt4.processors.photo import open_photo
from skingpt4.processors.photo_quality import Problem, measure
from tests.conftest import TEST_DATA

IMAGES = TEST_DATA / "images"
TYPES = TEST_DATA / "annotations" / "fitzpatrick17k" / "fitzpatrick17k.csv"
TONES = ("#f3d3bd", "#c68a63", "#8d5a3b", "#5d3a27")


def drawn(tone="#c68a63", size=(640, 480)):
    """Skin with texture and a few sharp red spots."""
    rng = np.random.default_rng(0)
    base = np.asarray(Image.new("RGB", size, tone), dtype=np.float32)
    image = Image.fromarray((base + rng.normal(0, 6, base.shape)).clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for x, y in rng.integers(0, (size[0] - 40, size[1] - 40), (25, 2)).tolist():
        draw.ellipse((x, y, x + 40, y + 40), fill="#8c2f2a")
    return image


def scaled(image, factor):
    pixels = np.asarray(image, dtype=np.float32) * factor
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("tone", TONES)
def test_a_good_photo_has_no_problem_whatever_the_skin(tone):
    assert measure(drawn(tone)).problems == ()


@pytest.mark.parametrize("path", sorted(EXAMPLES_FOLDER.glob("*.jpg")), ids=lambda path: path.stem)
def test_examples_are_good(path):
    assert measure(open_photo(path)).problems == ()


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda image: image.resize((160, 120)), Problem.SMALL),
        (lambda image: image.filter(ImageFilter.GaussianBlur(8)), Problem.BLURRED),
        (lambda image: scaled(image, 0.25), Problem.DARK),
        (lambda image: scaled(image, 3), Problem.BRIGHT),
        (lambda image: Image.new("RGB", image.size, "#c68a63"), Problem.FLAT),
        (lambda image: image.convert("L").convert("RGB"), Problem.NO_SKIN),
        (lambda image: Image.merge("RGB", image.split()[::-1]), Problem.NO_SKIN),
    ],
    ids=lambda value: value.value if isinstance(value, Problem) else "",
)
def test_each_fault_is_found_alone(spoil, problem):
    assert measure(spoil(drawn())).problems == (problem,)


def test_small_and_dark_are_told_together():
    image = scaled(drawn().resize((160, 120)), 0.25)
    assert measure(image).problems == (Problem.SMALL, Problem.DARK)


@pytest.mark.parametrize("size", [(1, 1), (2, 500), (31, 31), (33, 33), (3000, 40)])
def test_odd_sizes_are_measured(size):
    quality = measure(Image.new("RGB", size, "peru"))
    assert quality.short_side == min(size)
    assert quality.sharpness == pytest.approx(0, abs=1e-3)


def test_the_photo_is_left_alone():
    image = drawn()
    before = image.tobytes()
    measure(image)
    assert image.tobytes() == before


def test_jpeg_of_a_phone_is_judged_as_the_array():
    buffer = io.BytesIO()
    drawn().resize((4000, 3000)).save(buffer, "JPEG")
    assert measure(open_photo(buffer.getvalue())).problems == ()


def in_bars(photo, sides, colour, writing=True):
    """Put bars of these widths (left, top, right, bottom) around a photo, with a clock in them."""
    left, top, right, bottom = sides
    size = (left + photo.width + right, top + photo.height + bottom)
    screen = Image.new("RGB", size, colour)
    if writing:
        other = "black" if sum(screen.getpixel((0, 0))) > 380 else "white"
        draw = ImageDraw.Draw(screen)
        for x in range(0, size[0] // 3, 12):
            draw.rectangle((10 + x, 12, 16 + x, 22), fill=other)
            draw.rectangle((10 + x, size[1] - 22, 16 + x, size[1] - 12), fill=other)
    screen.paste(photo, (left, top))
    return screen


BARS = {
    "above and below": (0, 700, 0, 700),
    "above": (0, 300, 0, 0),
    "beside": (400, 0, 400, 0),
    "around": (60, 240, 60, 200),
}


@pytest.mark.parametrize("colour", ["white", "black", "#202124", "#f2f2f7"])
@pytest.mark.parametrize("sides", BARS.values(), ids=BARS)
@pytest.mark.parametrize("file_format", ["PNG", "JPEG"])
def test_a_screenshots_bars_are_not_judged(sides, colour, file_format):
    photo = drawn(size=(800, 600))
    buffer = io.BytesIO()
    in_bars(photo, sides, colour, writing=sides != BARS["beside"]).save(buffer, file_format)
    quality = measure(open_photo(buffer.getvalue()))
    assert quality.problems == ()
    assert quality.short_side == pytest.approx(600, rel=0.03)
    assert quality.skin == pytest.approx(measure(photo).skin, abs=0.03)


def test_bars_within_bars_are_left_out():
    photo = drawn(size=(800, 600))
    app = in_bars(photo, (0, 120, 0, 120), "#2b5cab")
    screen = in_bars(app, (0, 80, 0, 500), "white")
    assert measure(screen).problems == ()
    assert measure(screen).skin == pytest.approx(measure(photo).skin, abs=0.03)


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda image: scaled(image, 0.25), Problem.DARK),
        (lambda image: scaled(image, 3), Problem.BRIGHT),
        (lambda image: image.convert("L").convert("RGB"), Problem.NO_SKIN),
    ],
)
def test_a_poor_photo_between_bars_is_still_poor(spoil, problem):
    for colour in ("white", "black", "#c68a63"):
        assert problem in measure(in_bars(spoil(drawn()), (0, 300, 0, 300), colour)).problems


def test_a_photos_own_white_is_judged():
    """Burnt-out skin ends in no straight line, and a sheet of paper is no screen."""
    photo = scaled(drawn(), 1)
    ImageDraw.Draw(photo).ellipse((-200, -300, 840, 300), fill="white")
    assert measure(photo).problems == (Problem.BRIGHT,)
    assert measure(photo).short_side == 480
    blank = Image.new("RGB", (640, 480), "white")
    assert measure(blank).problems == (Problem.BRIGHT,)
    assert measure(blank).short_side == 480


def fitzpatrick_types():
    with TYPES.open(encoding="utf-8", newline="") as file:
        return {row["md5hash"]: int(row["fitzpatrick_scale"]) for row in csv.DictReader(file)}


def real_photos(step=1, types=None):
    """Give every `step`-th real photo, at the size in which it is measured."""
    known = fitzpatrick_types() if types else {}
    paths = [path for path in sorted(IMAGES.rglob("*")) if path.suffix in (".jpg", ".png")]
    if types:
        paths = [path for path in paths if known.get(path.stem) in types]
    return (open_photo(path, max_side=512) for path in paths[::step])


needs_photos = pytest.mark.skipif(
    not IMAGES.is_dir(), reason="the real photos are not here: set SKINGPT4_TEST_DATA"
)


def share_with(problem, photos):
    return np.mean([problem in measure(photo).problems for photo in photos])


@needs_photos
def test_real_photos_pass_and_spoiled_copies_do_not():
    photos = list(real_photos(step=10))
    assert len(photos) > 40
    flagged = [set(measure(photo).problems) - {Problem.SMALL} for photo in photos]
    assert np.mean([bool(problems) for problems in flagged]) <= 0.03
    assert share_with(Problem.SMALL, photos) <= 0.05
    blurred = [photo.filter(ImageFilter.GaussianBlur(3)) for photo in photos]
    assert share_with(Problem.BLURRED, blurred) >= 0.95
    assert share_with(Problem.DARK, [scaled(photo, 0.25) for photo in photos]) >= 0.98
    assert share_with(Problem.BRIGHT, [scaled(photo, 2) for photo in photos]) >= 0.85


@needs_photos
@pytest.mark.parametrize("types", [(1, 2), (5, 6)], ids=["light", "dark"])
def test_real_photos_pass_whatever_the_skin_type(types):
    photos = list(islice(real_photos(types=types), 40))
    assert len(photos) == 40
    for photo in photos:
        assert set(measure(photo).problems) <= {Problem.SMALL}
