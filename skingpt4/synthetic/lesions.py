"""Lesion geometry: where lesions lie, and the field of distances that all marks draw on."""

from dataclasses import dataclass

import numpy as np

from skingpt4.synthetic.skin import Array, Canvas, smoothstep
from skingpt4.synthetic.world import Arrangement, Lesions, Shape

REACH = 2.2
"""How far, in lesion radii, a lesion's own coordinates extend (halos, shadows, stalks)."""


@dataclass(frozen=True)
class Spot:
    """One lesion: centre and radius in image widths, its axis angle in radians and stretch."""

    x: float
    y: float
    radius: float
    angle: float
    stretch: float


@dataclass
class Field:
    """All lesions of a group as pixel fields `[H, W]`, each pixel seen from its nearest lesion.

    Attributes:
        spots: The lesions.
        d: Distance from the centre; 1 on the outline, REACH far away.
        u, v: Coordinates along and across the lesion's axis, in radii.
        x, y: Offset from the lesion's centre, in radii.
        radius: Radius of the nearest lesion in image widths.
        ident: A random value in 0..1 per lesion.
        edge: Softness of the outline in radii.
        shape: Outline family; rings and targets are hollow.
    """

    spots: list[Spot]
    d: Array
    u: Array
    v: Array
    x: Array
    y: Array
    radius: Array
    ident: Array
    edge: float
    shape: Shape

    @property
    def mask(self) -> Array:
        """Coverage in 0..1 of the lesions, hollow for rings and targets."""
        inside = smoothstep(1.0 + self.edge, 1.0 - self.edge, self.d)
        if self.shape is Shape.RING:
            return inside * (0.16 + 0.84 * smoothstep(0.55, 0.75, self.d))
        if self.shape is Shape.TARGET:
            rim = smoothstep(0.62, 0.78, self.d) + smoothstep(0.42, 0.25, self.d)
            return inside * (0.12 + 0.88 * rim)
        return inside

    def within(self, outer: float, soft: float = 0.12) -> Array:
        """Coverage of the lesions shrunk (or grown) to `outer` radii, ignoring hollows."""
        return smoothstep(outer + soft, outer - soft, self.d)


def place_lesions(
    group: Lesions, rng: np.random.Generator, hosts: list[Spot], others: list[Spot]
) -> list[Spot]:
    """Choose centre, radius and axis of each lesion.

    Args:
        group: The sampled group.
        rng: The case's random numbers.
        hosts: Lesions of the first group, for arrangements ON and AROUND.
        others: Lesions of later groups; new ones keep clear of them where there is room.
    """
    centres = _centres(group, rng, hosts)
    taken = others if group.arrangement in _RELATIVE else hosts + others
    # Groups keep apart if that leaves any lesion at all.
    margin = 0.6 * group.radius
    centres = [
        place
        for place in centres
        if all(np.hypot(place[0] - s.x, place[1] - s.y) > s.radius + margin for s in taken)
    ] or centres
    axis = rng.uniform(0.0, np.pi)
    # Large lesions of a band are ovals along it, as dermatomes and scratches are.
    stretch = 1.9 if group.arrangement is Arrangement.LINEAR and group.radius > 0.12 else 1.0
    spots = []
    for x, y, angle in centres:
        radius = group.radius * rng.uniform(0.75, 1.2)
        turn = angle if stretch > 1.0 else axis + rng.normal(0.0, 0.5)
        spots.append(Spot(x, y, radius, turn, stretch * rng.uniform(0.9, 1.12)))
    return spots


Centres = list[tuple[float, float, float]]
_RELATIVE = (Arrangement.ON, Arrangement.AROUND)


def _spread(
    count: int, gap: float, rng: np.random.Generator, centre: tuple[float, float], reach: float
) -> Centres:
    """Up to `count` centres in a disc-like square, best-candidate spaced by at least ~`gap`."""
    points = np.empty((0, 2))
    for _ in range(count):
        # Best candidate of 12 (Mitchell 1991): even spacing without a grid.
        candidates = np.clip(rng.uniform(-reach, reach, (12, 2)) + centre, 0.04, 0.96)
        if len(points):
            gaps = np.linalg.norm(candidates[:, None] - points[None], axis=2).min(axis=1)  # [12]
            best = candidates[gaps.argmax()]
            # Full: rather fewer lesions than overlapping ones.
            if gaps.max() < gap:
                break
        else:
            best = candidates[0]
        points = np.vstack([points, best])
    return [(float(x), float(y), float(rng.uniform(0.0, np.pi))) for x, y in points]


def _centres(group: Lesions, rng: np.random.Generator, hosts: list[Spot]) -> Centres:
    """Choose where the lesions of a group lie, by its arrangement: x, y and axis of each."""
    count, radius = group.count, group.radius
    match group.arrangement:
        case Arrangement.SINGLE | Arrangement.FIELD:
            if count > 1:
                return _spread(count, 1.7 * radius, rng, (0.5, 0.5), 0.24)
            x, y = rng.uniform(0.42, 0.58, 2)
            return [(float(x), float(y), 0.0)]
        case Arrangement.SCATTERED:
            # Few lesions must lie whole in the picture; many may be cut by its edge.
            reach = 0.44 - 0.9 * radius if count < 4 else 0.46 - 0.5 * radius
            return _spread(count, 1.35 * radius, rng, (0.5, 0.5), reach)
        case Arrangement.GROUPED:
            centre = rng.uniform(0.44, 0.56, 2)
            # The crowd's area grows with the number of lesions.
            reach = min(0.36, 0.85 * radius * np.sqrt(count) + 0.04)
            return _spread(count, 1.1 * radius, rng, (centre[0], centre[1]), reach)
        case Arrangement.LINEAR:
            angle, bend = rng.uniform(0.0, np.pi), rng.uniform(-0.12, 0.12)
            along = np.linspace(-0.4, 0.4, count) if count > 1 else np.zeros(1)  # [count]
            # A parabola through the middle: 0 at both ends of the band.
            across = bend * (1.0 - (along / 0.4) ** 2) + rng.normal(0.0, 0.015, len(along))
            xs = 0.5 + along * np.cos(angle) - across * np.sin(angle)
            ys = 0.5 + along * np.sin(angle) + across * np.cos(angle)
            return [(float(a), float(b), angle) for a, b in zip(xs, ys, strict=True)]
        case Arrangement.SYMMETRIC:
            # Far enough from the middle that the two sides stay two.
            away, places = max(0.2, radius * 0.85), []
            for row in np.linspace(0.22, 0.78, (count + 1) // 2 + 2)[1:-1]:
                shift = rng.uniform(-0.06, 0.06)
                for side in (-1, 1):
                    x = 0.5 + side * (away + rng.uniform(0.0, 0.06))
                    places.append((float(x), float(row + shift + rng.normal(0, 0.015)), 0.0))
            return places[: max(2, count)]
        case Arrangement.ON:
            if count == 1 and len(hosts) == 1:
                return [(hosts[0].x, hosts[0].y, 0.0)]
            share, places = -(-count // len(hosts)), []  # rounded up: no host is left bare
            for host in hosts:
                places += _spread(share, 1.3 * radius, rng, (host.x, host.y), host.radius * 0.72)
            return places[:count]
        case Arrangement.AROUND:
            places = []
            for turn in np.arange(count) + rng.uniform(-0.35, 0.35, count):
                host, angle = hosts[int(turn) % len(hosts)], 2.0 * np.pi * turn / count
                away = host.radius * rng.uniform(1.2, 1.8)
                x, y = host.x + away * np.cos(angle), host.y + away * np.sin(angle)
                places.append((float(np.clip(x, 0.03, 0.97)), float(np.clip(y, 0.03, 0.97)), 0.0))
            return places


# Amplitudes of the outline's waves, from coarse (2 per turn) to fine.
_WOBBLE: dict[Shape, tuple[float, ...]] = {
    Shape.BLOB: (0.05, 0.05, 0.035, 0.025),
    Shape.ROUND: (0.02, 0.015),
    Shape.RING: (0.04, 0.03, 0.02),
    Shape.TARGET: (0.05, 0.03),
    Shape.IRREGULAR: (0.1, 0.08, 0.05, 0.035, 0.025),
    Shape.SQUARE: (0.01, 0.01, 0.012),
    Shape.POLYGON: (0.03, 0.02),
}

# How strongly fine noise frays the outline.
_RAGGED = {Shape.IRREGULAR: 0.05, Shape.BLOB: 0.02, Shape.RING: 0.035, Shape.SQUARE: 0.05}


def lesion_field(spots: list[Spot], shape: Shape, edge: float, canvas: Canvas) -> Field:
    """Rasterise lesions into one field; where they overlap, the nearest outline wins."""
    size = canvas.size
    d, u, v, x, y, radius, ident = np.full((7, size, size), REACH, np.float32)
    field = Field(spots, d, u, v, x, y, radius, ident, edge, shape)
    for spot in spots:
        _stamp(field, spot, size, canvas.rng)
    # Only near the outline: noise in the middle would move domes and dimples.
    ragged = canvas.noise(22) * 0.6 + canvas.noise(44) * 0.4
    field.d *= 1.0 + _RAGGED.get(shape, 0.015) * ragged * smoothstep(0.55, 0.95, field.d)
    return field


def _stamp(field: Field, spot: Spot, size: int, rng: np.random.Generator) -> None:
    """Write one lesion's coordinates where it is the nearest."""
    # Only the lesion's own window is computed; far pixels keep REACH.
    half = spot.radius * spot.stretch * REACH
    left, right = (int(np.clip((spot.x + k * half) * size, 0, size)) for k in (-1, 1))
    top, bottom = (int(np.clip((spot.y + k * half) * size, 0, size)) for k in (-1, 1))
    if left >= right or top >= bottom:
        return
    window = np.s_[top:bottom, left:right]
    x = ((np.arange(left, right, dtype=np.float32) + 0.5) / size - spot.x) / spot.radius
    y = ((np.arange(top, bottom, dtype=np.float32) + 0.5) / size - spot.y) / spot.radius
    cos, sin = np.float32(np.cos(spot.angle)), np.float32(np.sin(spot.angle))
    u = (x * cos + y[:, None] * sin) / np.float32(spot.stretch)
    v = y[:, None] * cos - x * sin
    d = _outline_distance(u, v, field.shape, rng)
    # Where lesions overlap, each pixel belongs to the one whose outline is nearer.
    near = d < field.d[window]
    across, down = np.broadcast_arrays(x, y[:, None])
    values = (d, u, v, across, down)
    for part, value in zip((field.d, field.u, field.v, field.x, field.y), values, strict=True):
        part[window][near] = value[near]
    field.radius[window][near] = spot.radius
    field.ident[window][near] = rng.random()


def _outline_distance(u: Array, v: Array, shape: Shape, rng: np.random.Generator) -> Array:
    """Distance from the centre in units of the outline's radius in that direction."""
    theta = np.arctan2(v, u)  # [h, w], as the window
    outline = np.ones_like(theta)
    for wave, amplitude in enumerate(_WOBBLE[shape], start=2):
        height = np.float32(rng.normal(0.0, amplitude))
        outline += height * np.cos(wave * theta + np.float32(rng.uniform(0.0, 6.3)))
    if shape is Shape.SQUARE:
        # A superellipse of power 6: a square with rounded corners.
        power = (np.abs(u) * 1.1) ** 6 + (np.abs(v) * 1.1) ** 6
        return np.clip(power ** np.float32(1 / 6) / outline, 0.0, REACH)
    if shape is Shape.POLYGON:
        # Five to seven straight sides.
        sector = np.pi / int(rng.integers(5, 8))
        outline *= np.cos(sector) ** 0.5 / np.cos((theta % (2 * sector)) - sector)
    reach = np.hypot(u, v)
    # Towards the middle every lesion is round, so that domes have no creases.
    inner = 0.55 if shape is Shape.POLYGON else 0.25
    outline = 1.0 + (np.maximum(outline, 0.4) - 1.0) * smoothstep(inner, 0.9, reach)
    return np.clip(reach / outline, 0.0, REACH)
