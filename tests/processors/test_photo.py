"""Any photo opens as plain RGB; anything else is one sentence."""

import io
import random
import struct
import threading
import zlib

import numpy as np
import pillow_heif
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from skingpt4.common.errors import PhotoError
from skingpt4.processors.photo import FORMATS, open_photo
from tests.conftest import TEST_DATA

pytestmark = [
    pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning"),
    pytest.mark.filterwarnings("ignore:Corrupt EXIF data", "ignore:Truncated File Read"),
]

RED = (200, 30, 40)
ORIENTATION = 0x0112


def encoded(image, file_format, **options):
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def near(colour, expected, tolerance=6):
    return all(abs(a - b) <= tolerance for a, b in zip(colour, expected, strict=True))


def left_dark_right_light(width=16, height=8):
    """Left half black, right half white, wider than high: shows every turn and flip."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, width // 2 :] = 255
    return Image.fromarray(pixels)


@pytest.mark.parametrize("file_format", [*FORMATS, "MPO"])
def test_every_format_opens(file_format):
    photo = open_photo(encoded(Image.new("RGB", (9, 7), RED), file_format))
    assert (photo.mode, photo.size) == ("RGB", (9, 7))
    assert near(photo.getpixel((4, 3)), RED)


@pytest.mark.parametrize("file_format", ["PPM", "ICO", "TGA", "PCX"])
def test_formats_outside_the_allow_list_are_refused(file_format):
    with pytest.raises(PhotoError, match="not a JPEG, PNG"):
        open_photo(encoded(Image.new("RGB", (32, 32), RED), file_format))


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "HSV", "RGBX"])
def test_every_mode_gives_the_same_picture(mode):
    colour = (255, 255, 255)
    photo = open_photo(Image.new("RGB", (5, 4), colour).convert(mode))
    assert photo.mode == "RGB"
    assert near(photo.getpixel((2, 2)), colour)


@pytest.mark.parametrize("file_format", ["JPEG", "TIFF"])
def test_cmyk_files(file_format):
    photo = open_photo(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), file_format))
    assert near(photo.getpixel((4, 4)), (255, 0, 0))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "RGBa"])
def test_transparency_lies_over_white(mode):
    image = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 2, 4))
    photo = open_photo(image.convert(mode))
    assert photo.getpixel((0, 0)) == (0, 0, 0)
    assert photo.getpixel((3, 3)) == (255, 255, 255)


def test_half_transparency_is_blended():
    photo = open_photo(encoded(Image.new("RGBA", (2, 2), (0, 0, 0, 128)), "PNG"))
    assert near(photo.getpixel((0, 0)), (127, 127, 127), 1)


def test_palette_with_a_transparent_colour():
    image = Image.new("P", (4, 4), 0)
    image.putpalette([0, 0, 0, *RED])
    image.paste(1, (2, 0, 4, 4))
    photo = open_photo(encoded(image, "PNG", transparency=0))
    assert photo.getpixel((0, 0)) == (255, 255, 255)
    assert photo.getpixel((3, 3)) == RED


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_sixteen_bit_grey_keeps_its_brightness(file_format):
    levels = np.array([[0, 257, 32896, 65535]], np.uint16)
    photo = open_photo(encoded(Image.fromarray(levels), file_format))
    assert [photo.getpixel((x, 0))[0] for x in range(4)] == [0, 1, 128, 255]


def sixteen_bit_rgb_png(red, green, blue):
    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    row = zlib.compress(b"\0" + struct.pack(">HHH", red, green, blue))
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + chunk(b"IHDR", header) + chunk(b"IDAT", row) + chunk(b"IEND", b"")


def test_sixteen_bit_colour():
    photo = open_photo(sixteen_bit_rgb_png(200 * 257, 30 * 257, 40 * 257))
    assert photo.getpixel((0, 0)) == RED


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0.0, 0.5, 1.0]], np.float32), [0, 128, 255]),
        (np.array([[0.0, 128.0, 255.0]], np.float32), [0, 128, 255]),
        (np.array([[-4.0, np.nan, 1.0]], np.float32), [0, 0, 255]),
        (np.array([[0.0, 5e5, 2e6]], np.float32), [0, 64, 255]),
        (np.array([[0, 32896, 65535]], np.int32), [0, 128, 255]),
        (np.array([[0, 1, 255]], np.int32), [0, 1, 255]),
    ],
)
def test_wide_pixels_are_scaled(values, expected):
    photo = open_photo(encoded(Image.fromarray(values), "TIFF"))
    assert [photo.getpixel((x, 0))[0] for x in range(3)] == expected


@pytest.mark.parametrize("file_format", ["GIF", "PNG", "WEBP", "TIFF", "AVIF"])
def test_an_animation_gives_its_first_frame(file_format):
    frames = [Image.new("RGB", (6, 6), colour) for colour in (RED, (0, 255, 0), (0, 0, 255))]
    data = encoded(frames[0], file_format, save_all=True, append_images=frames[1:])
    assert near(open_photo(data).getpixel((3, 3)), RED)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
@pytest.mark.parametrize(
    ("orientation", "size", "light"),
    [
        (1, (16, 8), (12, 4)),
        (2, (16, 8), (3, 4)),
        (3, (16, 8), (3, 4)),
        (4, (16, 8), (12, 4)),
        (5, (8, 16), (4, 12)),
        (6, (8, 16), (4, 12)),
        (7, (8, 16), (4, 3)),
        (8, (8, 16), (4, 3)),
    ],
)
def test_exif_rotation_is_applied_and_metadata_dropped(file_format, orientation, size, light):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    exif[0x010F] = "maker of the camera"
    photo = open_photo(
        encoded(left_dark_right_light(), file_format, exif=exif.tobytes(), quality=95)
    )
    assert photo.size == size
    assert min(photo.getpixel(light)) > 200
    assert photo.info == {}
    assert not photo.getexif()


def test_a_saved_photo_carries_no_metadata():
    exif = Image.Exif()
    exif[0x010F] = "maker of the camera"
    data = encoded(Image.new("RGB", (8, 8)), "JPEG", exif=exif, comment=b"a remark", dpi=(72, 72))
    again = encoded(open_photo(data), "JPEG")
    assert b"maker of the camera" in data
    assert b"maker of the camera" not in again
    assert b"a remark" not in again


def test_broken_exif_does_not_lose_the_photo():
    data = encoded(Image.new("RGB", (8, 8), RED), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert near(open_photo(data).getpixel((3, 3)), RED)


def test_one_pixel():
    assert open_photo(encoded(Image.new("RGB", (1, 1), RED), "PNG")).getpixel((0, 0)) == RED


@pytest.fixture(scope="module")
def large_jpeg():
    return encoded(Image.new("L", (12_000, 9_000), 90), "JPEG")


def test_a_108_megapixel_photo_opens(large_jpeg):
    photo = open_photo(large_jpeg)
    assert (photo.mode, photo.size) == ("RGB", (12_000, 9_000))


def test_a_108_megapixel_photo_is_decoded_at_a_reduced_size(large_jpeg, monkeypatch):
    decoded = []
    load = JpegImageFile.load
    monkeypatch.setattr(JpegImageFile, "load", lambda self: decoded.append(self.size) or load(self))
    photo = open_photo(large_jpeg, max_side=2048)
    assert decoded[0] == (3000, 2250)
    assert photo.size == (2048, 1536)
    assert near(photo.getpixel((1000, 700)), (90, 90, 90), 1)


def test_max_side_leaves_a_small_photo_as_it_is():
    image = Image.effect_noise((64, 48), 80).convert("RGB")
    data = encoded(image, "JPEG")
    assert open_photo(data, max_side=64).tobytes() == open_photo(data).tobytes()


def test_more_pixels_than_the_limit_are_refused_before_decoding(large_jpeg, monkeypatch):
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("was decoded"))
    with pytest.raises(PhotoError, match=r"108 megapixels \(12000 x 9000\).*limit of 100"):
        open_photo(large_jpeg, max_pixels=100_000_000)


def bomb(width, height):
    """A PNG of a few hundred bytes that claims to be huge."""
    data = bytearray(encoded(Image.new("L", (1, 1)), "PNG"))
    data[16:24] = struct.pack(">II", width, height)
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    return bytes(data)


@pytest.mark.parametrize("side", [10_960, 14_000, 65_000, 200_000])
def test_a_decompression_bomb_is_refused(side):
    with pytest.raises(PhotoError, match="limit of 120"):
        open_photo(bomb(side, side))


def test_a_text_file_named_jpg(tmp_path):
    path = tmp_path / "secret-folder" / "rash.jpg"
    path.parent.mkdir()
    path.write_text("This is no photo.\n" * 50, encoding="utf-8")
    with pytest.raises(PhotoError) as caught:
        open_photo(path)
    assert "'rash.jpg' is a text: send a photo" in str(caught.value)
    assert "secret-folder" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["C:\\Users\\anna\\rash.jpg", "/nowhere/anna/rash.jpg", "\0", "a" * 5000]
)
def test_a_missing_file_is_one_sentence_without_its_folder(name):
    with pytest.raises(PhotoError) as caught:
        open_photo(name)
    assert "cannot be" in str(caught.value)
    assert "anna" not in str(caught.value)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9])
@pytest.mark.parametrize("file_format", sorted(set(FORMATS) - {"GIF"}))
def test_a_truncated_photo(file_format, share):
    data = encoded(Image.effect_noise((200, 200), 90).convert("RGB"), file_format)
    with pytest.raises(PhotoError, match="damaged, incomplete"):
        open_photo(data[: int(len(data) * share)])


def tiff(**tags):
    info = {int(tag.removeprefix("tag")): value for tag, value in tags.items()}
    return encoded(Image.new("RGB", (160, 120), RED), "TIFF", tiffinfo=info)


OTHER_KINDS = {
    "film": [
        b"\0\0\0\x14ftypqt  \0\0\0\0qt  \0\0\0\x08wide",
        b"\0\0\0\x18ftypmp42\0\0\0\0isom",
        b"RIFF\0\0\0\0AVI LIST",
        b"\x1a\x45\xdf\xa3\x01\0\0\0webm",
    ],
    "pdf": [b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj"],
    "dicom": [bytes(128) + b"DICM\x02\0\0\0UL"],
    "raw": [
        tiff(tag50706=b"\1\4\0\0"),  # DNG, whose first image is a small preview
        tiff(tag254=1),  # NEF, ARW
        b"II*\0\x10\0\0\0CR\x02\0" + bytes(99),  # CR2
        b"\0\0\0\x18ftypcrx \0\0\0\1crx isom",  # CR3
        b"FUJIFILMCCD-RAW 0201",
    ],
    "svg": [b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>'],
    "web_page": [b"\xef\xbb\xbf\n<!DOCTYPE html><title>Rash</title>", b"<HTML><img></HTML>"],
    "text": [b"It itches.", "皮肤发痒".encode() * 999],
    "archive": [b"PK\x03\x04\x14\0\6\0", b"Rar!\x1a\7\1\0", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"],
    "other": [random.Random(0).randbytes(999), b"P6\n1 1\n255\n\0\0\0", b"8BPS\0\1"],
    "damaged": [b"\0\0\0\x1cftypheic\0\0\0\0mif1heic", b"\xff\xd8\xff\xe1\0"],
}


@pytest.mark.parametrize("ending", ["jpg", "heic", "bin"])
@pytest.mark.parametrize("kind", OTHER_KINDS)
def test_what_is_no_photo_is_told_by_its_first_bytes(kind, ending):
    for data in OTHER_KINDS[kind]:
        with pytest.raises(PhotoError) as caught:
            open_photo(data, name=f"C:\\anna\\IMG_0042.{ending}")
        assert str(caught.value).startswith(f"'IMG_0042.{ending}' ")
        assert (caught.value.key, caught.value.values["name"]) == (
            f"photo_{kind}",
            f"'IMG_0042.{ending}'",
        )


def test_a_refusal_is_one_sentence_with_its_remedy():
    film = OTHER_KINDS["film"][0]
    sentence = "is a film: take a photo, or send a still from it."
    with pytest.raises(PhotoError, match=f"^'IMG_0042.MOV' {sentence}$"):
        open_photo(film, name="/anna/IMG_\n0042\u202e.MOV")
    with pytest.raises(PhotoError, match=f"^The file {sentence}$"):
        open_photo(film)


def heic_of_exif(turned):
    """A HEIC with EXIF that says to turn it: with or without the file's own field, which counts."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    if turned:
        return encoded(left_dark_right_light(64, 32), "HEIF", exif=exif.tobytes())
    upright = Image.Exif()
    upright[ORIENTATION] = 1
    data = encoded(left_dark_right_light(64, 32), "HEIF", exif=upright.tobytes())
    assert data.count(upright.tobytes()[6:]) == 1
    return data.replace(upright.tobytes()[6:], exif.tobytes()[6:])


def test_a_heic_is_turned_once_by_its_own_field():
    photo = open_photo(heic_of_exif(turned=True))
    assert (photo.size, min(photo.getpixel((16, 60))) > 200) == ((32, 64), True)
    photo = open_photo(heic_of_exif(turned=False))
    assert (photo.size, min(photo.getpixel((60, 16))) > 200) == ((64, 32), True)


def test_the_primary_image_of_a_heic_is_opened():
    burst = [Image.new("RGB", (64, 64), colour) for colour in ("green", RED, "blue")]
    options = {"save_all": True, "append_images": burst[1:], "primary_index": 1}
    assert near(open_photo(encoded(burst[0], "HEIF", **options)).getpixel((30, 30)), RED)


def test_a_heic_of_ten_bits_keeps_its_brightness():
    levels = np.full((64, 64, 3), RED, np.uint16) * 257
    heif = pillow_heif.from_bytes("RGB;16", (64, 64), levels.tobytes())
    buffer = io.BytesIO()
    heif.save(buffer, quality=95)
    assert pillow_heif.open_heif(buffer.getvalue()).info["bit_depth"] == 10
    assert near(open_photo(buffer.getvalue()).getpixel((30, 30)), RED)


@pytest.mark.parametrize("file_format", ["HEIF", "AVIF", "WEBP"])
def test_a_files_transparency_lies_over_white(file_format):
    image = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 32, 64))
    photo = open_photo(encoded(image, file_format, quality=95))
    assert near(photo.getpixel((8, 32)), (0, 0, 0))
    assert near(photo.getpixel((56, 32)), (255, 255, 255))


@pytest.mark.parametrize("file_format", ["HEIF", "AVIF"])
@pytest.mark.parametrize("brand", [b"mif1", b"msf1"])
def test_the_common_brand_of_heic_and_avif_opens(file_format, brand):
    data = encoded(Image.new("RGB", (64, 64), RED), file_format)
    assert near(open_photo(data[:8] + brand + data[12:]).getpixel((30, 30)), RED)


@pytest.mark.parametrize(("side", "reason"), [(11_000, "limit of 120"), (65_000, "limit of 120")])
def test_a_heic_that_claims_too_much_is_refused_before_decoding(side, reason, monkeypatch):
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("was decoded"))
    data = encoded(Image.new("RGB", (64, 64), RED), "HEIF")
    place = data.index(b"ispe") + 8
    data = data[:place] + struct.pack(">II", side, side) + data[place + 8 :]
    with pytest.raises(PhotoError, match=reason):
        open_photo(data)


def swapped_profile():
    """An RGB profile in which red and green have changed places, and which is not called sRGB."""
    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for old, new in ((b"rXYZ", b"?XYZ"), (b"gXYZ", b"rXYZ"), (b"?XYZ", b"gXYZ")):
        data = data.replace(old, new)
    return data.replace("sRGB".encode("utf-16-be"), "odd!".encode("utf-16-be"))


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_a_colour_profile_is_honoured(file_format):
    image = Image.new("RGB", (64, 64), RED)
    data = encoded(image, file_format, icc_profile=swapped_profile(), quality=95)
    red, green, blue = RED
    assert near(open_photo(data).getpixel((30, 30)), (green, red, blue), 12)
    assert open_photo(data).info == {}


@pytest.mark.parametrize("profile", ["sRGB", b"broken" * 40, "GRAY"])
def test_other_colour_profiles_leave_the_photo_as_it_is(profile):
    if isinstance(profile, str):
        is_grey = profile == "GRAY"
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        if is_grey:
            profile = profile[:16] + b"GRAY" + profile[20:]
    image = Image.effect_noise((40, 30), 80).convert("RGB")
    data = encoded(image, "PNG", icc_profile=profile)
    assert open_photo(data).tobytes() == image.tobytes()


@pytest.mark.parametrize("empty", [b"", bytearray(), io.BytesIO()])
def test_nothing_uploaded(empty):
    with pytest.raises(PhotoError, match="is empty"):
        open_photo(empty)


def test_an_empty_file_and_a_folder(tmp_path):
    (tmp_path / "empty.png").touch()
    with pytest.raises(PhotoError, match=r"'empty\.png' is empty"):
        open_photo(tmp_path / "empty.png")
    with pytest.raises(PhotoError, match="cannot be found"):
        open_photo(tmp_path)


def test_no_source_at_all():
    with pytest.raises(PhotoError, match="No photo was given"):
        open_photo(None)


@pytest.mark.parametrize("shape", [(0, 0, 3), (0, 5), (4, 4, 7), (2, 2, 2, 3)])
def test_arrays_of_other_shapes(shape):
    with pytest.raises(PhotoError):
        open_photo(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3), (4, 5, 4)])
def test_arrays(shape):
    photo = open_photo(np.full(shape, 255, np.uint8))
    assert (photo.size, photo.getpixel((0, 0))) == ((5, 4), (255, 255, 255))


def test_every_kind_of_source_gives_the_same_photo(tmp_path):
    data = encoded(Image.effect_noise((20, 10), 90).convert("RGB"), "PNG")
    path = tmp_path / "photo.png"
    path.write_bytes(data)
    stream = io.BytesIO(data)
    stream.read()
    with Image.open(path) as image:
        sources = [data, path, str(path), stream, image, np.asarray(image)]
        photos = {open_photo(source).tobytes() for source in sources}
        assert image.size == (20, 10)
    assert len(photos) == 1
    assert not stream.closed


def test_a_photo_is_opened_once():
    photo = open_photo(encoded(Image.new("RGB", (9, 7), RED), "PNG"))
    assert open_photo(photo) is photo
    assert open_photo(photo, max_side=9) is photo
    assert open_photo(photo, max_side=8) is not photo
    with pytest.raises(PhotoError, match="more than the limit"):
        open_photo(photo, max_pixels=62)
    for changes in ({"mode": "L"}, {"info": {"exif": b"Exif"}}):
        other = photo.convert(changes.get("mode", "RGB"))
        other.info |= changes.get("info", {})
        assert open_photo(other) is not other


def test_the_callers_image_stays_as_it_is():
    image = Image.new("RGBA", (40, 20), (1, 2, 3, 4))
    image.info["remark"] = "mine"
    photo = open_photo(image, max_side=10)
    assert (image.mode, image.size, image.info) == ("RGBA", (40, 20), {"remark": "mine"})
    photo.putpixel((0, 0), (9, 9, 9))
    assert image.getpixel((0, 0)) == (1, 2, 3, 4)


def test_threads_do_not_disturb_each_other():
    files = [
        encoded(Image.new("RGB", (90, 60), (shade, 0, 0)), "PNG") for shade in range(0, 240, 30)
    ]
    seen = {}

    def work(number):
        seen[number] = {open_photo(files[number]).getpixel((5, 5))[0] for _ in range(20)}

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(files))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {number: {number * 30} for number in range(len(files))}


def test_pillows_switches_stay_as_they_are():
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
    open_photo(encoded(Image.new("RGB", (9, 9)), "PNG"))
    with pytest.raises(PhotoError):
        open_photo(bomb(100_000, 100_000))
    assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)


VALID = [
    encoded(Image.effect_noise((24, 18), 90).convert("RGB"), file_format) for file_format in FORMATS
]


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(VALID), st.data())
def test_damaged_bytes_open_or_give_a_photo_error(data, draw):
    changed = bytearray(data)
    for _ in range(draw.draw(st.integers(1, 8))):
        changed[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    end = draw.draw(st.integers(1, len(data)))
    try:
        photo = open_photo(bytes(changed[:end]), max_pixels=1_000_000)
    except PhotoError as error:
        assert "\n" not in str(error)
    else:
        assert photo.mode == "RGB"


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes_give_a_photo_error(data):
    with pytest.raises(PhotoError):
        open_photo(data)


def test_every_real_photo_opens():
    folder = TEST_DATA / "images"
    if not folder.is_dir():
        pytest.skip("real photos not present")
    paths = [path for path in folder.rglob("*") if path.suffix in (".jpg", ".png")]
    assert len(paths) >= 400
    for path in paths:
        photo = open_photo(path)
        assert photo.mode == "RGB"
        assert photo.info == {}
