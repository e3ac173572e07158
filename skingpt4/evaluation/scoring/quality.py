"""How good a photo is, in one word, for the subgroup table: small, dark, bright, blurred or good.

The thresholds are ours and only sort photos into groups; they are no judgement of fitness.
"""

from pathlib import Path

import numpy as np
from scipy.ndimage import laplace

from skingpt4.common.errors import PhotoError
from skingpt4.processors.photo import open_photo

GOOD, SMALL, DARK, BRIGHT, BLURRED = "good", "small", "dark", "bright", "blurred"

UNREADABLE = "unreadable"

SMALLEST_SIDE = 112
"""Pixels; half of what the full model sees (224)."""

DARKEST, BRIGHTEST = 0.15, 0.9
"""Mean grey level, 0 to 1."""

SIDE = 224

FLATTEST = 1e-4
"""Variance of the Laplacian of grey levels (0 to 1) at 224 pixels: the usual measure of blur."""


def photo_quality(path: Path) -> str:
    """Return the first thing that is wrong with a photo, or ``good``."""
    try:
        photo = open_photo(path)
    except PhotoError:
        return UNREADABLE
    if min(photo.size) < SMALLEST_SIDE:
        return SMALL
    grey = np.asarray(photo.convert("L").resize((SIDE, SIDE)), dtype=float) / 255
    if grey.mean() < DARKEST:
        return DARK
    if grey.mean() > BRIGHTEST:
        return BRIGHT
    return BLURRED if laplace(grey).var() < FLATTEST else GOOD
