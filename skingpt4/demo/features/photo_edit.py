"""Turning and cropping: an edit is a few numbers, and the original stays as it was."""

from dataclasses import dataclass

from PIL import Image

# What makes so many quarter turns clockwise; Pillow counts the other way round.
TURNED = {
    1: Image.Transpose.ROTATE_270,
    2: Image.Transpose.ROTATE_180,
    3: Image.Transpose.ROTATE_90,
}

# Least side of a crop, as a share of the photo's.
SMALLEST = 0.1


@dataclass(frozen=True)
class Edit:
    """What was done to a photo: first quarter turns clockwise, then a crop.

    Attributes:
        turns: Quarter turns, 0 to 3.
        box: Left, top, right and bottom of the part to keep, from 0 to 1 of the turned photo.
    """

    turns: int = 0
    box: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        """Bring what a browser sent into range: a crop is inside the photo and can be seen."""
        # In this order of comparison, what is no number at all becomes 1.
        left, top, right, bottom = (max(0.0, min(1.0, float(edge))) for edge in self.box)
        left, top = min(left, 1 - SMALLEST), min(top, 1 - SMALLEST)
        right, bottom = max(right, left + SMALLEST), max(bottom, top + SMALLEST)
        object.__setattr__(self, "box", (left, top, right, bottom))
        object.__setattr__(self, "turns", int(self.turns) % 4)

    def apply(self, original: Image.Image) -> Image.Image:
        """Return the edited photo; the original is left alone."""
        upright = original.transpose(TURNED[self.turns]) if self.turns else original
        sides = upright.size * 2  # width, height, width, height
        left, top, right, bottom = (
            round(edge * side) for edge, side in zip(self.box, sides, strict=True)
        )
        return upright.crop((left, top, max(right, left + 1), max(bottom, top + 1)))


WHOLE = Edit()
