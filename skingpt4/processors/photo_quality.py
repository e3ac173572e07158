"""Judges, without any model and at once, whether a photo of skin can be used.

Six simple measures, each with a threshold beyond which the page gives a hint. A hint is advice, not
a refusal; the evaluation sorts its photos by the first one. The thresholds were chosen on 440 real
clinical and dermoscopic photos (Fitzpatrick17k, PAD-UFES-20, ISIC 2017, OpenStax, Wikimedia; 321
with a known Fitzpatrick type): of them as they are, 1 is called blurred, 0 dark, bright, flat or
without skin, and 11 small, whatever the skin type. ``tests/processors/test_photo_quality.py``
measures the same photos, and spoiled copies of them.
"""

from dataclasses import dataclass
from enum import Enum

import numpy as np
from PIL import Image

# Photos are measured at this size, in pixels of the longer side; the model looks at 224 x 224.
MEASURED_SIDE = 512

# Side of the squares in which sharpness is measured, so that a blurred background does no harm.
TILE = 32

# Weights of red, green and blue in JPEG's brightness and its two colours (ITU-T T.871).
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)

CB = np.array([-0.168736, -0.331264, 0.5], dtype=np.float32)

CR = np.array([0.5, -0.418688, -0.081312], dtype=np.float32)

# Skin of every type is more red than blue: Cr - Cb above this. So is wood; it is a rough check.
SKIN_WARMTH = 8.0

# Shorter side in pixels; the model's view is 224 wide, and below this much of it is made up.
MIN_SIDE = 200

# Real photos: 2.4 to 210, half of them above 38. Blurred by 3 pixels: 99.5 % are below 4.
MIN_SHARPNESS = 4.0

# Real photos: 117 to 255, of Fitzpatrick types V and VI 162 and more. With a quarter of the light
# all are below; so low because deep brown skin that fills the frame without any highlight has 76.
MIN_BRIGHTNESS = 70.0

# Real photos: 0 to 0.41. Of those brightened to twice their values, 95 % are above.
MAX_GLARE = 0.45

# Real photos: 0.12 to 1.
MIN_CONTRAST = 0.1

# Real photos: 0.17 to 1.
MIN_SKIN = 0.15


# A screenshot's bars, above and below or beside the photo: lines of which at least half have the
# outermost line's colour, for a clock or a name may stand in them. Two things tell them from the
# white or black of a photo: most lines are flat to the last bit, and a bar ends at once, within the
# lines that scaling blurs, from nearly all of its colour to less than half.
BAR_LINES = 4

# Of 255: JPEG wavers by so much beside a photo's edge, and by less than one level elsewhere.
BAR_TOLERANCE, BAR_DEVIATION = 12, 1.0

BAR_SHARE = 0.9

BLURRED_LINES = 2

# Bars of several colours may lie within each other: a page's heading, an app's frame.
MOST_BARS = 12


class Problem(str, Enum):
    """What is wrong with a photo; its value is the key of the hint to show."""

    SMALL = "small"
    BLURRED = "blurred"
    DARK = "dark"
    BRIGHT = "bright"
    FLAT = "flat"
    NO_SKIN = "no_skin"


@dataclass(frozen=True)
class Quality:
    """Measures of a photo.

    Attributes:
        short_side: Its shorter side, in pixels; as all that follows, without a screenshot's bars.
        sharpness: How strongly its sharpest tenth has edges, for its brightness; 0 for none.
        brightness: The 95 % quantile of its brightness, 0 to 255.
        glare: Share of pixels that are as bright as can be in some colour, 0 to 1.
        contrast: How much darker the 5 % quantile is, as a share of the 95 % quantile, 0 to 1.
        skin: Share of pixels with a colour that skin can have, 0 to 1.
    """

    short_side: int
    sharpness: float
    brightness: float
    glare: float
    contrast: float
    skin: float

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What to tell the person, the most important first; empty for a good photo.

        In bad light nothing else can be judged, so then only the light is named.
        """
        found = [Problem.SMALL] if self.short_side < MIN_SIDE else []
        if self.brightness < MIN_BRIGHTNESS:
            return (*found, Problem.DARK)
        if self.glare > MAX_GLARE:
            return (*found, Problem.BRIGHT)
        if self.contrast < MIN_CONTRAST:
            return (*found, Problem.FLAT)
        if self.sharpness < MIN_SHARPNESS:
            found.append(Problem.BLURRED)
        if self.skin < MIN_SKIN:
            found.append(Problem.NO_SKIN)
        return tuple(found)


def measure(photo: Image.Image) -> Quality:
    """Measure a photo; 10 to 40 ms.

    Args:
        photo: An RGB image of any size.
    """
    view = _scaled(photo)
    left, top, right, bottom = photo_box(np.asarray(view, dtype=np.float32))
    if (left, top, right, bottom) != (0, 0, *view.size):
        # From the whole photo again: in a tall screenshot's view it is small, and so looks sharp.
        across, down = photo.width / view.width, photo.height / view.height
        left, right = round(left * across), round(right * across)
        photo = photo.crop((left, round(top * down), right, round(bottom * down)))
        view = _scaled(photo)
    pixels = np.asarray(view, dtype=np.float32)  # [H, W, 3]
    grey = pixels @ LUMA  # [H, W]
    dark, bright = (float(value) for value in np.percentile(grey, [5, 95]))

    # Sharpness: the Laplacian's deviation within a tile, of the sharpest tenth of all tiles. The
    # deviation over the whole photo would call a sharp lesion before a smooth background blurred.
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    laplacian = 4 * grey[1:-1, 1:-1] - around  # [H - 2, W - 2]
    rows, columns = (side // TILE for side in laplacian.shape)
    if rows and columns:
        tiles = laplacian[: rows * TILE, : columns * TILE].reshape(rows, TILE, columns, TILE)
        edges = float(np.percentile(tiles.std(axis=(1, 3)), 90))
    else:
        edges = float(laplacian.std()) if laplacian.size else 0.0
    return Quality(
        short_side=min(photo.size),
        # For the photo's own brightness: the edges of dark skin are as sharp, but less high.
        sharpness=edges * 255 / max(bright, 1.0),
        brightness=bright,
        glare=float((pixels.max(axis=-1) >= 254).mean()),
        contrast=1 - dark / max(bright, 1.0),
        skin=float((pixels @ (CR - CB) > SKIN_WARMTH).mean()),
    )


def shows_skin(photo: Image.Image) -> bool:
    """Tell whether there is skin in a photo; without any, whatever a model names is made up.

    It is asked before a condition is named. In bad light that cannot be judged, and counts as skin.

    Args:
        photo: An RGB image of any size.
    """
    return Problem.NO_SKIN not in measure(photo).problems


def _scaled(photo: Image.Image) -> Image.Image:
    scale = MEASURED_SIDE / max(photo.size)
    if scale >= 1:  # never scaled up, which would invent pixels
        return photo
    width, height = (max(1, round(side * scale)) for side in photo.size)
    # Reducing by whole factors first makes a large photo several times faster.
    return photo.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0)


def photo_box(pixels: np.ndarray) -> tuple[int, int, int, int]:
    """Find the photo between the flat bars that a screenshot has around it.

    Args:
        pixels: ``[H, W, 3]``, of the size in which photos are measured.

    Returns:
        Its left, top, right and bottom; the whole image if there is none, or a strip.
    """
    height, width = pixels.shape[:2]
    left, top, right, bottom = whole = (0, 0, width, height)
    for _ in range(MOST_BARS):
        before = (left, top, right, bottom)
        top += _bar(pixels[top:bottom, left:right])
        bottom -= _bar(pixels[top:bottom, left:right][::-1])
        left += _bar(pixels[top:bottom, left:right].swapaxes(0, 1))
        right -= _bar(pixels[top:bottom, left:right].swapaxes(0, 1)[::-1])
        if (left, top, right, bottom) == before:
            break
    return (left, top, right, bottom) if min(right - left, bottom - top) >= TILE else whole


def _bar(lines: np.ndarray) -> int:
    """Count the lines ``[n, m, 3]`` at the start that are a bar."""
    if min(lines.shape[:2]) < TILE:
        return 0
    lines = lines[:, ::4]  # every fourth pixel tells as much
    colour = np.median(lines[0], axis=0)

    def share(some: np.ndarray) -> np.ndarray:
        return (np.abs(some - colour).max(axis=-1) <= BAR_TOLERANCE).mean(axis=1)

    if share(lines[:BAR_LINES]).min() < 0.5:  # nearly every side of a photo: done at once
        return 0
    shares = share(lines)  # [n]
    if shares.min() >= 0.5:  # flat from end to end: no photo begins here
        return 0
    end = int(np.argmax(shares < 0.5))
    is_flat = np.median(lines[:end].std(axis=1).max(axis=-1)) <= BAR_DEVIATION
    is_bar = is_flat and shares[end - BAR_LINES : end - 1].min() >= BAR_SHARE
    # With the blurred lines of its end, in which a bar inside would not be known.
    return end + BLURRED_LINES if is_bar else 0
