"""Pictures as part of the page itself, so that showing one leaves no file and needs no request."""

import base64
from io import BytesIO

from PIL import Image

JPEG_QUALITY = 88


def data_url(image: Image.Image, side: int | None = None) -> str:
    """Return an RGB image as a ``data:`` address, without metadata.

    Args:
        image: The image; it is left as it is.
        side: Longest side of the picture, in pixels; by default the image's own.
    """
    if side is not None:
        image = image.copy()
        image.thumbnail((side, side))
    buffer = BytesIO()
    image.save(buffer, format="JPEG", quality=JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
