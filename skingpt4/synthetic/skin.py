"""Healthy skin: tone by Fitzpatrick type, mottling, skin lines, pores, hairs."""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.spatial import cKDTree

from skingpt4.dermatology import FITZPATRICK_TYPES

Array = NDArray[np.floating[Any]]

# sRGB in 0..1, estimated by eye from clinical photographs of each type.
SKIN_TONES: dict[str, tuple[float, float, float]] = {
    "I": (0.93, 0.79, 0.72),
    "II": (0.89, 0.72, 0.62),
    "III": (0.82, 0.63, 0.50),
    "IV": (0.68, 0.48, 0.35),
    "V": (0.49, 0.32, 0.22),
    "VI": (0.34, 0.22, 0.16),
}


def smoothstep(low: float | Array, high: float | Array, x: Array) -> Array:
    """0 below `low`, 1 above `high`, smooth between; with low > high it falls instead."""
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def rgb(red: float, green: float, blue: float) -> Array:
    """A colour, or a factor per channel, `[3]`."""
    return np.array([red, green, blue], np.float32)


@dataclass(frozen=True)
class CellNoise:
    """Worley noise `[H, W]`: polygonal cells such as skin lines, flakes or lobes have.

    Attributes:
        centre: Distance to the nearest cell centre, in cell spacings.
        border: Distance gap between the two nearest centres; 0 on cell borders.
        ident: A random value in 0..1 per cell.
    """

    centre: Array
    border: Array
    ident: Array


@lru_cache(maxsize=24)
def _cell_tile(size: int, cells: int) -> CellNoise:
    """A fixed tile 1.5 images wide from which crops are taken; drawn once per process."""
    side = size + size // 2
    rng = np.random.default_rng((size, cells))
    spacing = size / cells
    # One cell more on every side, so that borders do not stop at the edge.
    grid = np.arange(-1, side / spacing + 2)
    points = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)  # [n, 2]
    points = (points + rng.uniform(-0.5, 0.5, points.shape)) * spacing
    pixels = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).astype(np.float64)
    # Bent lookups bend the borders: straight Voronoi edges look like cracked mud. The shifts grow
    # from a few bumps, so that they are smooth at the scale of a cell.
    bumps = int(1.5 * cells)
    axes = [rng.normal(0.0, 1.0, (bumps, bumps)).astype(np.float32) for _ in range(2)]
    grown = [Image.fromarray(a).resize((side, side), Image.Resampling.BICUBIC) for a in axes]
    pixels += 0.13 * spacing * np.stack([np.asarray(a) for a in grown], axis=-1)
    distance, nearest = cKDTree(points).query(pixels.reshape(-1, 2), k=2)  # [side², 2] each
    near, second = (distance[:, k].reshape(side, side) / spacing for k in (0, 1))
    ident = rng.random(len(points))[nearest[:, 0]].reshape(side, side)
    return CellNoise(*(part.astype(np.float32) for part in (near, second - near, ident)))


@dataclass
class Canvas:
    """The picture while it is drawn; every field is `[size, size]` or `[size, size, 3]`.

    Attributes:
        size: Width and height in pixels.
        rng: The case's random numbers.
        fitzpatrick: Skin type, "I".."VI".
        color: sRGB albedo in 0..1.
        height: Relief in image widths.
        gloss: Strength of highlights, 0 (matt) to about 1 (wet).
        tone: The healthy skin's mean colour `[3]`.
        light: Unit vector `[2]` in the picture towards the lamp, always from above.
        tints: How many colours have been laid on the present lesions so far.
        tint_count: How many colours they will get.
        tint_phase: Patchy field `[H, W]` in 0..1; a colour covers one interval of it.
        grain: Brightness of the healthy skin `[H, W]` relative to `tone`.
    """

    size: int
    rng: np.random.Generator
    fitzpatrick: str
    color: Array = field(init=False)
    height: Array = field(init=False)
    gloss: Array = field(init=False)
    tone: Array = field(init=False)
    light: Array = field(init=False)
    tint_phase: Array = field(init=False)
    grain: Array = field(init=False)
    tints: int = 0
    tint_count: int = 0

    def __post_init__(self) -> None:
        # People of one type differ in brightness, a little in hue.
        jitter = self.rng.normal(1.0, 0.035) * (1.0 + self.rng.normal(0.0, 0.015, 3))
        tone = np.clip(np.array(SKIN_TONES[self.fitzpatrick]) * jitter, 0.08, 0.97)
        self.tone = tone.astype(np.float32)
        # From above: lit from below, a bump reads as a hollow.
        angle = self.rng.uniform(-0.8, -0.2) * np.pi
        self.light = np.array([np.cos(angle), np.sin(angle)], np.float32)
        self.color = np.broadcast_to(self.tone, (self.size, self.size, 3)).copy()
        self.grain = self.tint_phase = np.ones((self.size, self.size), np.float32)
        self.height = np.zeros((self.size, self.size), np.float32)
        self.gloss = np.full((self.size, self.size), 0.08, np.float32)

    @property
    def darkness(self) -> float:
        """0 for type I to 1 for type VI."""
        return FITZPATRICK_TYPES.index(self.fitzpatrick) / (len(FITZPATRICK_TYPES) - 1)

    def noise(self, cells: int, cells_y: int | None = None) -> Array:
        """Smooth random field `[H, W]`, roughly in -1..1, with about `cells` bumps across."""
        # A margin of cells, cut off below, keeps the edges as varied as the middle.
        grid = self.rng.normal(0.0, 0.6, ((cells_y or cells) + 3, cells + 3)).astype(np.float32)
        image = Image.fromarray(grid)
        box = (1.0, 1.0, cells + 2.0, (cells_y or cells) + 2.0)
        resized = image.resize((self.size, self.size), Image.Resampling.BICUBIC, box)
        return np.asarray(resized)

    def cells(self, count: int) -> CellNoise:
        """A random crop of Worley noise with about `count` cells across the image."""
        tile = _cell_tile(self.size, count)
        top, left = self.rng.integers(0, self.size // 2, 2)
        window = np.s_[top : top + self.size, left : left + self.size]
        return CellNoise(tile.centre[window], tile.border[window], tile.ident[window])

    def strokes(self, paths: list[Array], width: float) -> Array:
        """Coverage `[H, W]` in 0..1 of lines through the points (x, y in image widths)."""
        # Twice as large, then averaged: smooth lines.
        scale = 2 * self.size
        image = Image.new("L", (scale, scale))
        pen = ImageDraw.Draw(image)
        for path in paths:
            points = [tuple(point) for point in (path * scale).tolist()]
            pen.line(points, fill=255, width=max(1, round(width * scale)), joint="curve")
        small = image.resize((self.size, self.size), Image.Resampling.BOX)
        return np.asarray(small, np.float32) / 255.0

    def share_colours(self, count: int, patches: int, area: NDArray[np.bool_]) -> None:
        """Prepare for `count` colours that share `area` equally in patches.

        Args:
            count: How many colours will come.
            patches: About how many patches there are across the image.
            area: Boolean `[H, W]`, the inside of the lesions.
        """
        self.tints, self.tint_count = 0, count
        if count > 1 and area.any():
            # Ranks, not values: every colour gets an equal share of the area.
            blend = self.noise(patches) + 0.1 * self.noise(24)
            ranked = np.sort(blend[area])
            self.tint_phase = np.searchsorted(ranked, blend).astype(np.float32) / len(ranked)

    def stain(self, mask: Array, target: Array) -> None:
        """Shift skin under `mask` to the colour `target`, keeping its fine texture."""
        self.color += (target * self.grain[..., None] - self.color) * mask[..., None]

    def paint(self, mask: Array, target: Array) -> None:
        """Cover what lies under `mask` with the colour `target`."""
        self.color += (target - self.color) * mask[..., None]


def draw_skin(canvas: Canvas) -> None:
    """Give the blank canvas the look of healthy skin."""
    # Blood shows in green and blue more than in red.
    blotch = canvas.noise(3) * 0.035 + canvas.noise(9) * 0.02  # [H, W]
    canvas.color *= 1.0 + blotch[..., None] * rgb(0.7, 1.1, 1.2)
    lines = canvas.cells(int(canvas.rng.choice([30, 38, 46])))
    # Skin lines are seen by their shade more than by their depth.
    furrow = smoothstep(0.28, 0.0, lines.border)
    canvas.height -= furrow * 0.0008 * canvas.rng.uniform(0.5, 1.2)
    canvas.color *= 1.0 - furrow[..., None] * 0.035
    # One cell in four has a pore.
    pores = smoothstep(0.2, 0.05, lines.centre) * (lines.ident > 0.75)
    canvas.color *= 1.0 - pores[..., None] * 0.1
    canvas.height += canvas.noise(2) * 0.012
    if canvas.rng.random() < 0.45:
        # Thin curved body hairs, all combed in about one direction.
        number = int(canvas.rng.integers(4, 16))
        comb = canvas.rng.uniform(0.0, 2.0 * np.pi)
        steps = np.linspace(0.0, 1.0, 7)
        paths: list[Array] = []
        for _ in range(number):
            # Each hair leaves the common direction a little, and bends.
            angle = comb + canvas.rng.normal(0.0, 0.35) + steps * canvas.rng.normal(0.0, 0.6)
            length = canvas.rng.uniform(0.06, 0.16)
            step = np.stack([np.cos(angle), np.sin(angle)], axis=1) * length / len(steps)
            paths.append(np.cumsum(step, axis=0) + canvas.rng.uniform(0.0, 1.0, 2))
        hair = canvas.strokes(paths, 0.0022)
        canvas.paint(hair * 0.4, canvas.tone * rgb(0.3, 0.25, 0.22))
    # Taken last: colours laid on later keep this texture.
    canvas.grain = (canvas.color / canvas.tone).mean(axis=2)
