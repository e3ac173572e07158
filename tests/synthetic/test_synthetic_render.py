"""Drawing: determinism, every concept visible, on every skin type."""

import io

import numpy as np
import pytest
from PIL import Image

from skingpt4.dermatology import CONCEPTS, FITZPATRICK_TYPES
from skingpt4.synthetic.lesions import lesion_field, place_lesions
from skingpt4.synthetic.marks import MARKS, PALETTE, shade_of
from skingpt4.synthetic.render import jpeg_bytes, render
from skingpt4.synthetic.skin import SKIN_TONES, Canvas, draw_skin
from skingpt4.synthetic.world import DISEASES, Arrangement, Lesions, Shape, Stream, sample_case

SIZE = 96


def canvas_with_skin(skin_type="III", seed=5):
    canvas = Canvas(SIZE, np.random.default_rng(seed), skin_type)
    draw_skin(canvas)
    return canvas


def lesions(**changes):
    values = {
        "marks": ("Papule",),
        "arrangement": Arrangement.SCATTERED,
        "count": 6,
        "radius": 0.12,
        "shape": Shape.BLOB,
        "edge": 0.15,
    }
    return Lesions(**{**values, **changes})


def test_same_case_gives_the_same_bytes_and_another_does_not():
    case = sample_case(1, Stream.CASES, 7)
    assert jpeg_bytes(case, SIZE) == jpeg_bytes(case, SIZE)
    assert jpeg_bytes(case, SIZE) != jpeg_bytes(sample_case(2, Stream.CASES, 7), SIZE)


def test_order_of_drawing_does_not_matter():
    cases = [sample_case(1, Stream.CASES, index) for index in range(6)]
    forward = [jpeg_bytes(case, SIZE) for case in cases]
    backward = [jpeg_bytes(case, SIZE) for case in reversed(cases)]
    assert forward == backward[::-1]


@pytest.mark.parametrize("disease", DISEASES)
def test_each_disease_draws_a_photograph(disease):
    indices = (index for index in range(60))
    case = next(
        case
        for case in (sample_case(0, Stream.SHOW, index) for index in indices)
        if case.disease == disease
    )
    pixels = np.asarray(render(case, SIZE))
    assert pixels.shape == (SIZE, SIZE, 3)
    assert pixels.dtype == np.uint8
    assert 10 < pixels.mean() < 245
    assert pixels.std() > 5


def test_jpeg_is_what_render_draws():
    case = sample_case(0, Stream.CASES, 3)
    decoded = Image.open(io.BytesIO(jpeg_bytes(case, SIZE)))
    assert (decoded.format, decoded.mode, decoded.size) == ("JPEG", "RGB", (SIZE, SIZE))
    drawn = np.asarray(render(case, SIZE), float)
    assert np.abs(np.asarray(decoded, float) - drawn).mean() < 6


@pytest.mark.parametrize("concept", [concept.name for concept in CONCEPTS])
@pytest.mark.parametrize("skin_type", ["I", "VI"])
def test_each_concept_changes_the_skin_it_is_drawn_on(concept, skin_type):
    canvas = canvas_with_skin(skin_type)
    field = lesion_field(place_lesions(lesions(), canvas.rng, [], []), Shape.BLOB, 0.15, canvas)
    canvas.share_colours(1, 6, field.d < 1.0)
    color, height, gloss = canvas.color.copy(), canvas.height.copy(), canvas.gloss.copy()
    MARKS[concept](canvas, field)
    assert np.isfinite(canvas.color).all()
    assert np.isfinite(canvas.height).all()
    touched = (
        (np.abs(canvas.color - color).max(axis=2) > 0.01)
        | (np.abs(canvas.height - height) > 1e-4)
        | (np.abs(canvas.gloss - gloss) > 0.05)
    )
    assert touched[field.d < 1.3].mean() > 0.02
    assert (
        np.abs(canvas.color / color - 1).max() > 0.1 or np.abs(canvas.height - height).max() > 0.005
    )


def test_marks_look_different_from_each_other():
    drawings = {}
    for concept, draw in MARKS.items():
        canvas = canvas_with_skin()
        spots = place_lesions(lesions(), canvas.rng, [], [])
        field = lesion_field(spots, Shape.BLOB, 0.15, canvas)
        canvas.share_colours(1, 6, field.d < 1.0)
        draw(canvas, field)
        drawings[concept] = np.dstack([canvas.color, 8 * canvas.height, canvas.gloss])
    names = list(drawings)
    for place, name in enumerate(names):
        for other in names[place + 1 :]:
            assert np.abs(drawings[name] - drawings[other]).max() > 0.05, (name, other)


def test_colours_share_a_lesion():
    canvas = canvas_with_skin()
    spots = place_lesions(lesions(count=1, radius=0.3), canvas.rng, [], [])
    field = lesion_field(spots, Shape.BLOB, 0.05, canvas)
    canvas.share_colours(3, 5, field.d < 1.0)
    names = ("Brown(Hyperpigmentation)", "Black", "Blue")
    for name in names:
        MARKS[name](canvas, field)
    inside = canvas.color[field.d < 0.9]
    for name in ("brown", "black", "blue"):
        near = np.abs(inside - shade_of(canvas, name)).max(axis=1) < 0.12
        assert near.mean() > 0.12, name


def test_erythema_reddens_light_and_dark_skin():
    for skin_type in FITZPATRICK_TYPES:
        canvas = canvas_with_skin(skin_type)
        spots = place_lesions(lesions(count=1, radius=0.3), canvas.rng, [], [])
        field = lesion_field(spots, Shape.BLOB, 0.1, canvas)
        before = canvas.color[field.d < 0.8].mean(axis=0)
        MARKS["Erythema"](canvas, field)
        after = canvas.color[field.d < 0.8].mean(axis=0)
        assert after[0] / after[1] > 1.25 * before[0] / before[1]


def test_skin_darkens_with_its_type():
    brightness = [sum(SKIN_TONES[skin_type]) for skin_type in FITZPATRICK_TYPES]
    assert brightness == sorted(brightness, reverse=True)
    drawn = [canvas_with_skin(skin_type).color.mean() for skin_type in ("I", "VI")]
    assert drawn[0] > drawn[1] + 0.3


def test_palette_is_within_srgb():
    for light, dark in PALETTE.values():
        assert all(0 <= channel <= 1 for channel in light + dark)


@pytest.mark.parametrize("arrangement", list(Arrangement))
def test_arrangements_place_lesions_in_the_picture(arrangement):
    rng = np.random.default_rng(0)
    hosts = place_lesions(lesions(count=2, radius=0.2), rng, [], [])
    spots = place_lesions(lesions(arrangement=arrangement, count=5, radius=0.05), rng, hosts, [])
    assert spots
    assert all(-0.01 <= spot.x <= 1.01 and -0.01 <= spot.y <= 1.01 for spot in spots)


def test_rings_are_hollow_and_blobs_are_not():
    canvas = canvas_with_skin()
    spots = place_lesions(
        lesions(count=1, radius=0.3, arrangement=Arrangement.SINGLE), canvas.rng, [], []
    )
    for shape, hollow in ((Shape.RING, True), (Shape.TARGET, False), (Shape.BLOB, False)):
        field = lesion_field(spots, shape, 0.1, canvas)
        assert bool(field.mask[field.d < 0.2].mean() < 0.3) is hollow
    target = lesion_field(spots, Shape.TARGET, 0.1, canvas)
    gap = (target.d > 0.45) & (target.d < 0.58)
    assert target.mask[gap].mean() < 0.3
