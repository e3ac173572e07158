"""Photos and figures as bytes, and bytes as part of a page."""

import base64
from io import BytesIO
from pathlib import Path

from matplotlib.figure import Figure

from skingpt4.processors.photo import open_photo

JPEG, PNG = "image/jpeg", "image/png"

QUALITY = 85

FIGURE_DPI = 110


def jpeg(path: Path, side: int) -> bytes:
    """Return a photo, upright and without its metadata, at most `side` pixels wide and high.

    Raises:
        PhotoError: If it cannot be opened.
    """
    photo = open_photo(path)
    photo.thumbnail((side, side))
    buffer = BytesIO()
    photo.save(buffer, format="JPEG", quality=QUALITY)
    return buffer.getvalue()


def data_url(data: bytes, mime: str = JPEG) -> str:
    """Write a file's bytes as an address that needs no file."""
    return f"data:{mime};base64,{base64.b64encode(data).decode('ascii')}"


def figure_png(figure: Figure) -> bytes:
    """Draw a figure as PNG; the same figure gives the same bytes."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=FIGURE_DPI, metadata={"Software": None})
    return buffer.getvalue()
