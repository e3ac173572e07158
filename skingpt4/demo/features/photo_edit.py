"""Turning and cropping: an edit is a few numbers, and the original stays as it was."""

from dataclasses import dataclass, replace

from PIL import Image, ImageDraw, ImageEnhance

# What makes so many quarter turns clockwise; Pillow counts the other way round.
TURNED = {
    1: Image.Transpose.ROTATE_270,
    2: Image.Transpose.ROTATE_180,
    3: Image.Transpose.ROTATE_90,
}

# Least side of a crop, as a share of the photo's.
SMALLEST = 0.1

# Brightness of what a crop would leave out.
DIMMED = 0.4


@dataclass(frozen=True)
class Window:
    """The part of a photo to keep; it has the photo's proportions.

    Attributes:
        x: Its middle, from 0 (left) to 1 (right).
        y: Its middle, from 0 (top) to 1 (bottom).
        size: Its sides as a share of the photo's, above 0, at most 1.
    """

    x: float = 0.5
    y: float = 0.5
    size: float = 1.0

    def box(self, image: Image.Image) -> tuple[int, int, int, int]:
        """Return left, top, right and bottom in an image's pixels, moved to lie inside it."""
        share = min(max(self.size, SMALLEST), 1.0)
        sides = [max(1, round(side * share)) for side in image.size]
        # A window over the edge is moved inside, not cut: it keeps its proportions.
        corner = [
            min(max(round(middle * whole - side / 2), 0), whole - side)
            for middle, whole, side in zip((self.x, self.y), image.size, sides, strict=True)
        ]
        return corner[0], corner[1], corner[0] + sides[0], corner[1] + sides[1]


WHOLE = Window()


@dataclass(frozen=True)
class Edit:
    """What was done to a photo: first quarter turns clockwise, then a crop."""

    turns: int = 0
    window: Window = WHOLE

    def turned(self, quarters: int) -> "Edit":
        """Turn what is seen clockwise; the same part of the photo is kept."""
        edit = self
        for _ in range(quarters % 4):
            # A point at the left edge comes to the top; one at the top, to the right edge.
            seen = edit.window
            edit = Edit((edit.turns + 1) % 4, replace(seen, x=1 - seen.y, y=seen.x))
        return edit

    def upright(self, original: Image.Image) -> Image.Image:
        """Return the original, only turned."""
        return original.transpose(TURNED[self.turns]) if self.turns else original.copy()

    def apply(self, original: Image.Image) -> Image.Image:
        """Return the edited photo; the original is left alone."""
        upright = self.upright(original)
        return upright.crop(self.window.box(upright))


def outline(photo: Image.Image, window: Window) -> Image.Image:
    """Show what a crop would keep: the rest is dimmed, and a white line drawn around it."""
    box = window.box(photo)
    shown = ImageEnhance.Brightness(photo).enhance(DIMMED)
    shown.paste(photo.crop(box), box)
    width = max(2, max(photo.size) // 250)
    ImageDraw.Draw(shown).rectangle(
        (*box[:2], box[2] - 1, box[3] - 1), outline="white", width=width
    )
    return shown
