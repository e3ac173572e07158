"""Opens any user's photo safely, in one place: format allow-list, pixel cap, upright, plain RGB.

Whatever comes in (a file, bytes, an array, a Pillow image of any mode), what goes out is an 8-bit
sRGB image without metadata, or one `PhotoError` sentence that names what came instead and never
shows more of a path than its last part.
"""

import codecs
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import pillow_heif
from PIL import ExifTags, Image, ImageCms, TiffImagePlugin, UnidentifiedImageError

from skingpt4.common.errors import PhotoError
from skingpt4.common.files import is_file

logger = logging.getLogger(__name__)

PhotoSource = str | Path | bytes | BinaryIO | Image.Image | np.ndarray

# Pillow's names of the readers allowed. Its JPEG reader opens MPO, the two-lens form, too; AVIF
# stands before HEIF, for a file of their common brand `mif1` is tried as one and then the other.
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "HEIF")

FORMATS_TEXT = "JPEG, PNG, WebP, HEIC, AVIF, TIFF, BMP or GIF"
# A 12,000 x 9,000 photo (108 megapixels) passes; Pillow refuses 179 megapixels by itself.
MAX_PIXELS = 120_000_000

# What can be wrong with a file, the commonest things that people send in place of a photo first.
# Each follows the file's name; the page's other languages have them as `photo_<kind>`.
REFUSALS = {
    "film": "is a film: take a photo, or send a still from it.",
    "pdf": "is a PDF document: send the photo itself, or a screenshot of its page.",
    "dicom": "is a DICOM file: save it as JPEG or PNG in your viewer, and send that.",
    "raw": "is a camera's raw file: save it as JPEG on the camera or computer, and send that.",
    "svg": "is an SVG drawing: send a photo.",
    "web_page": "is a web page: save the photo that it shows, and send that.",
    "text": "is a text: send a photo, and write the text as your question.",
    "archive": "is an archive or an Office document: take the photo out of it, and send that.",
    "other": "is not a {formats} image: save it as one of these, and send that.",
    "damaged": "cannot be decoded: it is damaged, incomplete or of an unusual kind; send the "
    "original file again, or save it as JPEG or PNG.",
    "missing": "cannot be found; check the path and choose a file.",
    "empty": "is empty; choose another file.",
    "no_pixels": "is {width} x {height} and has no pixels; choose another file.",
    "large": "has {megapixels:.3g} megapixels ({width} x {height}), more than the limit of "
    "{limit:.3g}; scale it down and try again.",
    "huge": "has more pixels than the limit of {limit:.3g} megapixels; scale it down and try "
    "again.",
}

# Kinds by the bytes at an offset; the first that fits counts. Endings tell nothing: a browser or a
# messenger may have changed them. Of the ISO media family (`ftyp`), all but photos are films.
SIGNATURES = {
    "pdf": [(0, b"%PDF-")],
    "dicom": [(128, b"DICM")],
    # ZIP and Office since 2007, Office before, RAR, 7-Zip, gzip.
    "archive": [
        *((0, b"PK\x03\x04"), (0, b"\xd0\xcf\x11\xe0"), (0, b"Rar!")),
        *((0, b"7z\xbc\xaf"), (0, b"\x1f\x8b")),
    ],
    # Canon, Fujifilm, Panasonic, Olympus; what looks like TIFF is known by its tags.
    "raw": [
        *((4, b"ftypcrx "), (0, b"FUJIFILMCCD-RAW"), (0, b"IIU\0")),
        *((0, b"IIRO"), (0, b"IIRS")),
    ],
    # JPEG, PNG, GIF, WebP, TIFF, HEIC and AVIF that no reader opens.
    "damaged": [
        *((0, b"\xff\xd8\xff"), (0, b"\x89PNG"), (0, b"GIF8"), (8, b"WEBP"), (0, b"II*\0")),
        *((0, b"MM\0*"), (4, b"ftyphe"), (4, b"ftypmif1"), (4, b"ftypmsf1"), (4, b"ftypavi")),
    ],
    # MP4, QuickTime and 3GP, old QuickTime, AVI, Matroska and WebM, Windows Media, MPEG.
    "film": [
        *((4, b"ftyp"), (4, b"moov"), (4, b"mdat"), (4, b"wide"), (8, b"AVI ")),
        *((0, b"\x1a\x45\xdf\xa3"), (0, b"0&\xb2u"), (0, b"\0\0\1\xb3"), (0, b"\0\0\1\xba")),
    ],
}
# More than the farthest signature, and enough of a web page to know it.
HEAD_BYTES = 2048

CONTROL_BYTES = frozenset(range(32)) - frozenset(b"\t\n\f\r")

# TIFF tags: of Adobe's raw form, which many phones write, and of an image that is a reduced copy.
DNG_VERSION, NEW_SUBFILE_TYPE = 50706, 254

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

# A HEIC file's embedded thumbnail, depth map and other extras are never shown: only the primary
# image is read, which of a burst or a live photo is the one that the phone shows.
pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)


def open_photo(
    source: PhotoSource,
    max_pixels: int = MAX_PIXELS,
    max_side: int | None = None,
    name: str | None = None,
) -> Image.Image:
    """Open a photo as a plain upright sRGB image.

    Rotation is applied, then all metadata is dropped. Transparency is laid over white, more than 8
    bits are scaled to 8, CMYK, palettes and wider colour spaces are converted, and an animation
    gives its first frame. Nothing is decoded before the header's size is known to be within the
    cap.

    Args:
        source: Path, bytes, binary file (left open), Pillow image (left as it is) or an array
            ``[H, W]``, ``[H, W, 3]`` or ``[H, W, 4]`` of uint8.
        max_pixels: Largest width x height to decode.
        max_side: If given, scale down so that no side is longer, in pixels. A JPEG is then decoded
            at a reduced size, which is several times faster for a very large one.
        name: What an error calls it; by default a path's last part.

    Returns:
        An RGB image that shares nothing with `source`; but one that was opened here before is given
        back as it is, so that a photo is opened once however many ask for it.

    Raises:
        PhotoError: If there is no photo, or it cannot be found, read, recognised or decoded, or it
            is too large. Its `values` have the name in quotes, or "" for none.
    """
    if name is None:
        name = str(source) if isinstance(source, str | Path) else ""
    # A file's name may be shown; its folder, which may hold a patient's name, never is.
    part = "".join(filter(str.isprintable, re.split(r"[\\/]", name)[-1]))
    name = f"'{part}'" if part else ""
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
        with _stream(source, name) as stream, _reader(stream, name) as image:
            _check_size(image, max_pixels, name)
            if max_side is not None:
                # Only JPEG can do this: it decodes at 1/2, 1/4 or 1/8, never below the size asked.
                image.draft(None, (max_side, max_side))
            return _plain_rgb(image, max_side)
    except PhotoError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _refused("huge", name, limit=max_pixels / 1e6) from error
    except Exception as error:  # decoders raise every kind of exception on hostile bytes
        raise _refused("damaged", name) from error


@contextmanager
def _stream(source: object, name: str) -> Iterator[BinaryIO]:
    """Give a non-empty binary stream, closed afterwards only if it was opened here."""
    with ExitStack() as opened:
        if isinstance(source, bytes | bytearray | memoryview):
            stream: BinaryIO = BytesIO(source)
        elif isinstance(source, str | Path):
            if not is_file(Path(source)):  # also keeps devices and pipes from blocking
                raise _refused("missing", name)
            stream = opened.enter_context(Path(source).open("rb"))
        elif hasattr(source, "read"):
            stream = cast(BinaryIO, source)
        else:
            sentence = f"No photo was given; choose a {FORMATS_TEXT} file."
            raise PhotoError(sentence, "photo_none", formats=FORMATS_TEXT)
        stream.seek(0)
        if not stream.read(1):
            raise _refused("empty", name)
        yield stream


def _reader(stream: BinaryIO, name: str) -> Image.Image:
    """Read a file's header with one of the readers allowed, or say what else it is."""
    stream.seek(0)
    head = stream.read(HEAD_BYTES)
    # Of a camera's raw form of TIFF, Pillow would open a preview.
    if head[:4] in (b"II*\0", b"MM\0*"):
        tags = TiffImagePlugin.ImageFileDirectory_v2(head[:8])
        stream.seek(tags.next)
        tags.load(stream)
        # CR2 has a mark of its own; the first image of NEF, ARW and PEF is a reduced one.
        is_reduced = tags.get(NEW_SUBFILE_TYPE) == 1
        if head[8:10] == b"CR" or DNG_VERSION in tags or is_reduced:
            raise _refused("raw", name)
    stream.seek(0)
    try:
        return Image.open(stream, formats=FORMATS)
    except UnidentifiedImageError as error:
        raise _refused(_kind(head), name) from error


def _refused(kind: str, name: str, **values: object) -> PhotoError:
    values |= {"formats": FORMATS_TEXT}
    sentence = f"{name or 'The file'} {REFUSALS[kind].format(**values)}"
    return PhotoError(sentence, f"photo_{kind}", name=name, **values)


def _kind(head: bytes) -> str:
    """Tell from its first bytes what a file is that no reader knows: a key of `REFUSALS`."""
    for kind, signatures in SIGNATURES.items():
        if any(head.startswith(signature, offset) for offset, signature in signatures):
            return kind
    try:
        # A decoder that waits for more, for the bytes may end within a character.
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(head).lstrip().lower()
    except UnicodeDecodeError:
        return "other"
    if not CONTROL_BYTES.isdisjoint(head):
        return "other"
    if "<svg" in text:
        return "svg"
    return "web_page" if text.startswith(("<!doctype html", "<html")) else "text"


def _check_size(image: Image.Image, max_pixels: int, name: str) -> None:
    width, height = image.size
    if not width * height:
        raise _refused("no_pixels", name, width=width, height=height)
    if width * height > max_pixels:
        megapixels, limit = width * height / 1e6, max_pixels / 1e6
        sizes = {"megapixels": megapixels, "limit": limit, "width": width, "height": height}
        raise _refused("large", name, **sizes)


def _plain_rgb(image: Image.Image, max_side: int | None) -> Image.Image:
    """Decode into a new upright 8-bit sRGB image without metadata.

    Copies are spared, for a 108 megapixel image takes 432 MB each time.
    """
    image.load()
    profile = image.info.get("icc_profile")
    # Not `ImageOps.exif_transpose`: it keeps the other EXIF fields on the image, and rewrites them.
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # broken metadata raises anything, and the pixels are fine
        orientation = None
    # A HEIC is turned by its decoder, as its own fields say; EXIF only repeats them.
    if orientation in TURNS and image.format != "HEIF":
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
    if profile:
        _to_srgb(photo, profile)
    photo.info = {}
    return photo


def _to_srgb(photo: Image.Image, profile: bytes) -> None:
    """Convert a wider colour space in place: Display P3 and Adobe RGB look pale as sRGB."""
    try:
        space = ImageCms.ImageCmsProfile(BytesIO(profile))
        described = space.profile.profile_description or ""
        if space.profile.xcolor_space.strip() == "RGB" and "sRGB" not in described:
            # A profile for each photo: lcms does not promise that threads may share one.
            srgb = ImageCms.createProfile("sRGB")
            ImageCms.profileToProfile(photo, space, srgb, inPlace=True)
    except Exception as error:  # broken, as metadata can be, while the pixels are fine
        logger.warning("A photo's colour profile is left out: %s", type(error).__name__)


def _eight_bit(image: Image.Image) -> Image.Image:
    """Scale a 16-bit, 32-bit or float image to 8-bit grey."""
    values = np.nan_to_num(np.asarray(image, dtype=np.float32))
    high = float(values.max())
    # A file does not say what its white is: take the smallest usual peak that no value exceeds.
    lowest = {"F": 1.0, "I": 255.0}.get(image.mode, 65535.0)
    peak = next((peak for peak in WIDE_PEAKS if lowest <= peak and high <= peak), high)
    return Image.fromarray((values.clip(0, peak) * (255 / peak)).round().astype(np.uint8))
