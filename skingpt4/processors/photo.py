"""Opens any user's photo safely, in one place: format allow-list, pixel cap, upright, plain RGB.

Whatever comes in (a file, bytes, an array, a Pillow image of any mode), what goes out is an 8-bit
RGB image without metadata, or one `PhotoError` sentence that never shows more of a path than its
last part.
"""

import re
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from skingpt4.common.errors import PhotoError

PhotoSource = str | Path | bytes | BinaryIO | Image.Image | np.ndarray

# Pillow's names of the readers allowed; its JPEG reader opens MPO, the two-lens form, too.
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")

FORMATS_TEXT = "JPEG, PNG, WebP, TIFF, BMP or GIF"
# A 12,000 x 9,000 photo (108 megapixels) passes; Pillow refuses 179 megapixels by itself.
MAX_PIXELS = 120_000_000

WIDE_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")
# What white may be in a 32-bit or float image: the first of these not below its maximum.
WIDE_PEAKS = (1.0, 255.0, 65535.0)

# What makes a photo of each EXIF orientation upright.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Pillow warns from 89 megapixels on; here MAX_PIXELS decides, and a bigger photo is an error.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def open_photo(
    source: PhotoSource, max_pixels: int = MAX_PIXELS, max_side: int | None = None
) -> Image.Image:
    """Open a photo as a plain upright RGB image.

    EXIF rotation is applied, then all metadata is dropped. Transparency is laid over white, 16-bit
    and float images are scaled to 8 bits, CMYK and palettes are converted, and an animation gives
    its first frame. Nothing is decoded before the header's size is known to be within the cap.

    Args:
        source: Path, bytes, binary file (left open), Pillow image (left as it is) or an array
            ``[H, W]``, ``[H, W, 3]`` or ``[H, W, 4]`` of uint8.
        max_pixels: Largest width x height to decode.
        max_side: If given, scale down so that no side is longer, in pixels. A JPEG is then decoded
            at a reduced size, which is several times faster for a very large one.

    Returns:
        An RGB image that shares nothing with `source`; but one that was opened here before is given
        back as it is, so that a photo is opened once however many ask for it.

    Raises:
        PhotoError: If there is no photo, or it cannot be found, read, recognised or decoded, or it
            is too large.
    """
    # A file's name may be shown; its folder, which may hold a patient's name, never is.
    name = re.split(r"[\\/]", str(source))[-1] if isinstance(source, str | Path) else ""
    name = f"The photo '{name}'" if name else "The photo"
    try:
        if isinstance(source, np.ndarray):
            source = Image.fromarray(source)
        if isinstance(source, Image.Image):
            _check_size(source, max_pixels, name)
            # A file has a class of its own, and what metadata it had lives on in a copy's `info`.
            is_plain = type(source) is Image.Image and source.mode == "RGB" and not source.info
            if is_plain and (max_side is None or max(source.size) <= max_side):
                return source
            return _plain_rgb(source, max_side)
        with _stream(source, name) as stream, Image.open(stream, formats=FORMATS) as image:
            _check_size(image, max_pixels, name)
            if max_side is not None:
                # Only JPEG can do this: it decodes at 1/2, 1/4 or 1/8, never below the size asked.
                image.draft(None, (max_side, max_side))
            return _plain_rgb(image, max_side)
    except PhotoError:
        raise
    except UnidentifiedImageError as error:
        raise PhotoError(
            f"{name} is not a {FORMATS_TEXT} image; save it in one of these formats and try again."
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PhotoError(
            f"{name} has more pixels than the limit of {max_pixels / 1e6:.3g} megapixels; "
            "scale it down and try again."
        ) from error
    except Exception as error:  # decoders raise every kind of exception on hostile bytes
        raise PhotoError(
            f"{name} cannot be decoded: it is damaged, incomplete or of an unusual kind; "
            "send the original file again, or save it as JPEG or PNG."
        ) from error


@contextmanager
def _stream(source: object, name: str) -> Iterator[BinaryIO]:
    """Give a non-empty binary stream, closed afterwards only if it was opened here."""
    with ExitStack() as opened:
        if isinstance(source, bytes | bytearray | memoryview):
            stream: BinaryIO = BytesIO(source)
        elif isinstance(source, str | Path):
            if not Path(source).is_file():  # also keeps devices and pipes from blocking
                raise PhotoError(f"{name} cannot be found; check the path and choose a file.")
            stream = opened.enter_context(Path(source).open("rb"))
        elif hasattr(source, "read"):
            stream = cast(BinaryIO, source)
        else:
            raise PhotoError(f"No photo was given; choose a {FORMATS_TEXT} file.")
        stream.seek(0)
        if not stream.read(1):
            raise PhotoError(f"{name} is empty; choose another file.")
        yield stream


def _check_size(image: Image.Image, max_pixels: int, name: str) -> None:
    width, height = image.size
    if not width * height:
        raise PhotoError(f"{name} is {width} x {height} and has no pixels; choose another file.")
    if width * height > max_pixels:
        raise PhotoError(
            f"{name} has {width * height / 1e6:.3g} megapixels ({width} x {height}), more than the "
            f"limit of {max_pixels / 1e6:.3g}; scale it down and try again."
        )


def _plain_rgb(image: Image.Image, max_side: int | None) -> Image.Image:
    """Decode into a new upright 8-bit RGB image without metadata.

    Copies are spared, for a 108 megapixel image takes 432 MB each time.
    """
    image.load()
    # Not `ImageOps.exif_transpose`: it keeps the other EXIF fields on the image, and rewrites them.
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # broken metadata raises anything, and the pixels are fine
        orientation = None
    if orientation in TURNS:
        image = image.transpose(TURNS[orientation])
    if image.mode in WIDE_MODES:
        image = _eight_bit(image)
    # White, as on paper: dropping the alpha would bring up whatever colour lies under it.
    if image.has_transparency_data:
        rgba = image if image.mode == "RGBA" else image.convert("RGBA")
        photo = Image.new("RGB", image.size, "white")
        photo.paste(rgba, mask=rgba)
    else:
        photo = image.convert("RGB")
    if max_side is not None:
        photo.thumbnail((max_side, max_side), Image.Resampling.BICUBIC, reducing_gap=3.0)
    photo.info = {}
    return photo


def _eight_bit(image: Image.Image) -> Image.Image:
    """Scale a 16-bit, 32-bit or float image to 8-bit grey."""
    values = np.nan_to_num(np.asarray(image, dtype=np.float32))
    high = float(values.max())
    # A file does not say what its white is: take the smallest usual peak that no value exceeds.
    lowest = {"F": 1.0, "I": 255.0}.get(image.mode, 65535.0)
    peak = next((peak for peak in WIDE_PEAKS if lowest <= peak and high <= peak), high)
    return Image.fromarray((values.clip(0, peak) * (255 / peak)).round().astype(np.uint8))
