"""Photos and figures as bytes, and bytes as part of a page."""

import base64
from io import BytesIO
from typing import TYPE_CHECKING

from PIL import Image

from skingpt4.processors.photo import PhotoSource, open_photo

if TYPE_CHECKING:
    from matplotlib.figure import Figure

JPEG, PNG = "image/jpeg", "image/png"

# Of JPEG, from 0 to 95: no difference is seen at the sizes of a report or a form.
QUALITY = 85

FIGURE_DPI = 110


def jpeg(photo: PhotoSource, side: int | None = None, quality: int = QUALITY) -> bytes:
    """Encode a photo as JPEG, upright and without the metadata that it came with.

    Args:
        photo: A file, or an RGB image, which is left as it is.
        side: Longest side in pixels; by default the photo's own.
        quality: Pillow's, from 0 to 95.

    Raises:
        PhotoError: If it cannot be opened.
    """
    # An opened image is one of ours already, so only its size may have to change.
    image = photo if isinstance(photo, Image.Image) else open_photo(photo)
    if side is not None:
        image = image.copy() if image is photo else image  # thumbnail() works in place
        image.thumbnail((side, side))
    buffer = BytesIO()
    # Pillow would copy a comment from the image; EXIF, ICC and XMP only when told to.
    image.save(buffer, format="JPEG", quality=quality, exif=b"", comment=b"")
    return buffer.getvalue()


def data_url(content: bytes, mime: str = JPEG) -> str:
    """Return a file's bytes as a ``data:`` URL, so that a page shows it without a request."""
    return f"data:{mime};base64,{base64.b64encode(content).decode('ascii')}"


def figure_png(figure: "Figure") -> bytes:
    """Draw a figure as PNG; the same figure gives the same bytes."""
    buffer = BytesIO()
    # Matplotlib writes its version into the file, which would change the bytes with each release.
    figure.savefig(buffer, format="png", dpi=FIGURE_DPI, metadata={"Software": None})
    return buffer.getvalue()
