"""One drawing function per clinical concept.

A mark reads a `Field` (where the lesions are) and changes a `Canvas` (colour, height, gloss).
`MARKS` lists them in drawing order, from colours over bodies to what lies on top.
Heights are in lesion radii before `_raise` scales them.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from skingpt4.synthetic.lesions import Field
from skingpt4.synthetic.skin import Array, Canvas, rgb, smoothstep

Mark = Callable[[Canvas, Field], None]
MARKS: dict[str, Mark] = {}
COLOURS = frozenset(
    (
        "Erythema",
        "Salmon",
        "Brown(Hyperpigmentation)",
        "White(Hypopigmentation)",
        "Yellow",
        "Black",
        "Purple",
        "Blue",
        "Gray",
    )
)
"""Marks that share a lesion's area instead of covering each other."""

# Each colour as seen on type I and on type VI skin (sRGB in 0..1); between them it is mixed.
PALETTE: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "red": ((0.79, 0.34, 0.31), (0.47, 0.10, 0.12)),
    "salmon": ((0.97, 0.61, 0.48), (0.68, 0.37, 0.29)),
    "brown": ((0.45, 0.27, 0.15), (0.12, 0.055, 0.02)),
    "white": ((1.0, 0.97, 0.93), (0.90, 0.80, 0.74)),
    "yellow": ((0.96, 0.79, 0.30), (0.78, 0.60, 0.16)),
    "black": ((0.06, 0.05, 0.06), (0.03, 0.025, 0.03)),
    "blue": ((0.29, 0.38, 0.61), (0.17, 0.24, 0.46)),
    "gray": ((0.52, 0.53, 0.55), (0.38, 0.39, 0.41)),
    "purple": ((0.51, 0.31, 0.55), (0.32, 0.13, 0.39)),
    "blood": ((0.55, 0.03, 0.04), (0.42, 0.02, 0.03)),
    "raw": ((0.86, 0.20, 0.22), (0.70, 0.16, 0.18)),
    "pus": ((0.97, 0.93, 0.66), (0.93, 0.88, 0.60)),
    "honey": ((0.76, 0.54, 0.24), (0.64, 0.43, 0.16)),
    "keratin": ((0.97, 0.95, 0.92), (0.84, 0.80, 0.77)),
    "pink": ((0.98, 0.79, 0.76), (0.70, 0.46, 0.41)),
    "ivory": ((0.97, 0.93, 0.84), (0.82, 0.72, 0.60)),
    "petechia": ((0.42, 0.05, 0.16), (0.22, 0.01, 0.08)),
}


def mark(concept: str) -> Callable[[Mark], Mark]:
    """Register the drawing function of a concept."""

    def register(function: Mark) -> Mark:
        MARKS[concept] = function
        return function

    return register


def shade_of(canvas: Canvas, name: str) -> Array:
    """A palette colour as it looks on the canvas's skin type `[3]`."""
    light, dark = (rgb(*value) for value in PALETTE[name])
    return light + (dark - light) * np.float32(canvas.darkness)


def _raise(canvas: Canvas, field: Field, profile: Array) -> None:
    """Add a relief given in lesion radii."""
    canvas.height += profile * field.radius


def _dome(field: Field, reach: float = 1.0) -> Array:
    """A hemisphere-like profile, 1 in the middle and 0 on the outline."""
    return np.sqrt(np.clip(1.0 - (field.d / reach) ** 2, 0.0, 1.0))


def _tint(
    canvas: Canvas, field: Field, name: str, mask: Array | None = None, strength: float = 1.0
) -> None:
    """Stain the lesions, or what `mask` covers; several colours share the area in patches."""
    mask = strength * (field.mask if mask is None else mask)  # [H, W]
    if canvas.tints:
        share = canvas.tint_phase * canvas.tint_count - canvas.tints
        mask = mask * smoothstep(-0.2, 0.2, share) * smoothstep(1.2, 0.8, share)
    canvas.tints += 1
    canvas.stain(mask, shade_of(canvas, name))


# Colours: each stains the skin, so that its fine texture stays.


@mark("Erythema")
def erythema(canvas: Canvas, field: Field) -> None:
    """Redness, mottled and uneven; on dark skin a deep violaceous red."""
    # A small red lesion has a halo; a broad one would drown its surroundings in red.
    halo = (
        field.mask
        if field.radius.max() > 0.13
        else np.maximum(field.mask, 0.55 * smoothstep(1.6, 0.9, field.d))
    )
    mottle = 0.82 + 0.16 * canvas.noise(7) + 0.14 * canvas.noise(18) + 0.14 * canvas.noise(46)
    _tint(canvas, field, "red", np.clip(halo * (mottle + 0.12 * (field.ident - 0.5)), 0.0, 1.0))


mark("Salmon")(partial(_tint, name="salmon"))


@mark("Brown(Hyperpigmentation)")
def brown(canvas: Canvas, field: Field) -> None:
    """More melanin than around, unevenly."""
    mottle = 0.88 + 0.12 * canvas.noise(14) + 0.1 * canvas.noise(30) + 0.15 * (field.ident - 0.5)
    _tint(canvas, field, "brown", np.clip(field.mask * mottle, 0.0, 1.0))


mark("White(Hypopigmentation)")(partial(_tint, name="white", strength=0.95))


@mark("Yellow")
def yellow(canvas: Canvas, field: Field) -> None:
    """Waxy yellow."""
    _tint(canvas, field, "yellow", field.within(0.8, 0.2) * field.mask)


# Flat colours need no drawing of their own; their place in the order is what counts.
mark("Black")(partial(_tint, name="black"))
mark("Purple")(partial(_tint, name="purple"))
mark("Blue")(partial(_tint, name="blue"))
mark("Gray")(partial(_tint, name="gray"))


@mark("Poikiloderma")
def poikiloderma(canvas: Canvas, field: Field) -> None:
    """Mottling: brown, pale and red areas side by side."""
    # Two fields: pale is where brown is not, red falls where it likes.
    first = canvas.noise(15) + 0.5 * canvas.noise(34)
    second = canvas.noise(18) + 0.5 * canvas.noise(34)
    canvas.stain(field.mask * smoothstep(0.05, 0.6, first) * 0.75, shade_of(canvas, "brown"))
    canvas.stain(field.mask * smoothstep(-0.05, -0.6, first) * 0.7, shade_of(canvas, "white"))
    canvas.stain(field.mask * smoothstep(0.1, 0.6, second) * 0.75, shade_of(canvas, "red"))


# Bodies


@mark("Macule")
def macule(canvas: Canvas, field: Field) -> None:
    """A small flat spot: a slight change of colour, no relief."""
    # A change of the skin's own tone, so that a macule shows on every skin type.
    canvas.stain(field.mask * 0.45, canvas.tone * np.float32(0.65))


@mark("Patch")
def patch(canvas: Canvas, field: Field) -> None:
    """A broad flat area: fine relief is smoothed, the border marked by a thin darker line."""
    rim = smoothstep(0.8, 0.97, field.d) * field.within(1.03, 0.06)
    canvas.color *= 1.0 - (0.06 * field.mask + 0.2 * rim)[..., None]
    # Flat is what tells a patch from a plaque.
    canvas.height *= 1.0 - 0.7 * field.within(0.95)


@mark("Papule")
def papule(canvas: Canvas, field: Field) -> None:
    """A small raised bump."""
    # Steep at the foot, so that even a bump of a few pixels throws a shade.
    _raise(canvas, field, 0.52 * smoothstep(1.1, 0.1, field.d))
    canvas.stain(field.within(1.0, 0.15) * 0.25, canvas.tone * rgb(0.95, 0.75, 0.72))


@mark("Plaque")
def plaque(canvas: Canvas, field: Field) -> None:
    """A broad raised area with a steep rim."""
    plateau = smoothstep(1.04, 0.82, field.d)  # flat-topped, with a steep rim
    _raise(canvas, field, 0.2 * plateau * (0.4 + 0.6 * field.mask))
    # The rim's shadow marks the step, whatever side the lamp is on.
    shadow = smoothstep(0.86, 0.99, field.d) * smoothstep(1.14, 1.0, field.d)
    canvas.color *= 1.0 - 0.28 * shadow[..., None]


@mark("Nodule")
def nodule(canvas: Canvas, field: Field) -> None:
    """A large solid dome with a shadow at its foot."""
    _raise(canvas, field, 0.35 * _dome(field) + 0.35 * smoothstep(1.05, 0.1, field.d))
    # A dark ring at the foot separates the dome from flat skin of the same colour.
    foot = smoothstep(1.3, 1.0, field.d) * smoothstep(0.9, 1.0, field.d)
    canvas.color *= 1.0 - 0.25 * foot[..., None]
    canvas.gloss += 0.2 * field.within(0.95)


@mark("Wheal")
def wheal(canvas: Canvas, field: Field) -> None:
    """A smooth pale-pink swelling with a red flare around it."""
    # Histamine's flare: vessels around widen, the swollen middle is pressed pale.
    flare = smoothstep(1.65, 1.02, field.d) * smoothstep(0.65, 1.0, field.d)
    canvas.stain(flare * (0.6 + 0.15 * canvas.noise(10)), shade_of(canvas, "red"))
    middle = smoothstep(1.0, 0.5, field.d) * (0.88 + 0.15 * canvas.noise(12))
    canvas.stain(middle * 0.95, shade_of(canvas, "pink"))
    _raise(canvas, field, 0.2 * smoothstep(1.12, 0.5, field.d))
    canvas.gloss += 0.15 * middle


@mark("Cyst")
def cyst(canvas: Canvas, field: Field) -> None:
    """A smooth skin-coloured swelling with a small dark pore beside its centre."""
    _raise(canvas, field, 0.15 * _dome(field) + 0.4 * smoothstep(1.12, 0.0, field.d))
    canvas.stain(field.within(0.75, 0.35) * 0.25, shade_of(canvas, "ivory"))
    foot = smoothstep(1.3, 1.0, field.d) * smoothstep(0.88, 1.0, field.d)
    canvas.color *= 1.0 - 0.2 * foot[..., None]
    canvas.gloss += 0.12 * field.within(0.9)
    # Off the centre: in the middle it would read as an umbilication.
    away = (field.u - 0.2) ** 2 + (field.v - 0.16) ** 2
    pore = np.exp(-away / np.float32(0.13 * 0.13))
    canvas.paint(np.clip(1.6 * pore, 0.0, 0.92), rgb(0.10, 0.07, 0.06))


@mark("Abscess")
def abscess(canvas: Canvas, field: Field) -> None:
    """A tense red swelling with pus shining through its top."""
    canvas.stain(smoothstep(1.6, 0.4, field.d) * 0.85, shade_of(canvas, "raw"))
    _raise(canvas, field, 0.55 * smoothstep(1.25, 0.0, field.d))
    # Noise makes the pus break through unevenly, unlike a pustule's round top.
    pus = smoothstep(0.66, 0.3, field.d + 0.14 * canvas.noise(14) + 0.08 * canvas.noise(28))
    canvas.paint(pus * 0.9, shade_of(canvas, "pus") * rgb(0.9, 0.9, 0.72))
    canvas.gloss += 0.5 * field.within(0.8)


@mark("Sclerosis")
def sclerosis(canvas: Canvas, field: Field) -> None:
    """Tight, hard, ivory skin with a waxy shine and a lilac rim."""
    area = field.within(0.9, 0.14)
    rim = smoothstep(0.75, 1.0, field.d) * smoothstep(1.35, 1.02, field.d)
    canvas.stain(rim * 0.45, shade_of(canvas, "purple"))
    canvas.paint(area * (0.7 + 0.1 * canvas.noise(6)), shade_of(canvas, "ivory"))
    # Hard skin has lost its fine relief; that makes the waxy shine believable.
    canvas.height *= 1.0 - 0.9 * area
    shine = area * smoothstep(0.2, 1.0, np.sin(7.0 * field.v + 2.5 * canvas.noise(3)))
    canvas.paint(shine * 0.6, rgb(1.0, 1.0, 0.98))
    canvas.color *= 1.0 - 0.06 * (area - shine)[..., None]


@mark("Induration")
def induration(canvas: Canvas, field: Field) -> None:
    """A firm swelling with dimpled orange-peel skin."""
    _raise(canvas, field, 0.2 * smoothstep(1.1, 0.1, field.d))
    # Pores stay tied down while the skin between them swells: orange peel.
    peel = canvas.cells(15)
    pit = smoothstep(0.42, 0.1, peel.centre) * field.within(1.0, 0.2)
    canvas.height -= 0.011 * pit
    canvas.color *= 1.0 - 0.2 * pit[..., None]


@mark("Atrophy")
def atrophy(canvas: Canvas, field: Field) -> None:
    """A sunken thin centre, pale and finely wrinkled like cigarette paper."""
    area = field.within(0.68, 0.14)
    _raise(canvas, field, -0.2 * area)
    canvas.stain(area * 0.66, shade_of(canvas, "pink") * rgb(0.97, 0.95, 0.97))
    # In image widths, not radii: wrinkles are as fine on a large lesion as on a small one.
    folds = 130.0 * field.v * field.radius + 3.0 * canvas.noise(6) + 1.2 * canvas.noise(20)
    wrinkle = area * np.sin(folds) * np.clip(0.75 + 0.5 * canvas.noise(14), 0.2, 1.2)
    canvas.height += 0.0022 * wrinkle
    canvas.color *= 1.0 + 0.11 * wrinkle[..., None]


@mark("Lichenification")
def lichenification(canvas: Canvas, field: Field) -> None:
    """Thick skin with coarse, crossing skin lines."""
    area = field.within(0.95, 0.2)
    warp = canvas.noise(6) * 0.9
    # 17 lines an image width, again independent of the lesion's size.
    spacing = np.float32(2.0 * np.pi * 17.0)
    across, along = field.u * field.radius * spacing, field.v * field.radius * spacing
    # Two sets of lines, 90 degrees apart; the nearer one gives the depth of the groove.
    ridges = np.minimum(
        np.abs(np.sin(0.5 * (across + along) + warp)), np.abs(np.sin(0.5 * (across - along) - warp))
    )
    groove = smoothstep(0.34, 0.08, ridges) * area
    canvas.color *= 1.0 - 0.42 * groove[..., None]
    canvas.height += 0.005 * area - 0.007 * groove


# Changes of shape


@mark("Dome-shaped")
def dome_shaped(canvas: Canvas, field: Field) -> None:
    """A full hemisphere with one soft highlight and a shaded foot."""
    _raise(canvas, field, 0.4 * _dome(field))
    # The one soft highlight is what reads as a sphere.
    glow = 0.7 * _lit_spot(canvas, field, 0.42, 0.24)
    canvas.paint(glow, rgb(1.0, 0.97, 0.94))
    foot = smoothstep(1.28, 1.0, field.d) * smoothstep(0.92, 1.02, field.d)
    canvas.color *= 1.0 - 0.3 * foot[..., None]


@mark("Flat topped")
def flat_topped(canvas: Canvas, field: Field) -> None:
    """A level shiny top with bevelled sides."""
    top = field.within(0.72, 0.1)
    _raise(canvas, field, 0.42 * smoothstep(1.02, 0.76, field.d))
    # Brighter by a factor and a step: dark skin needs the step, pale skin the factor.
    canvas.color += (canvas.color * 1.32 + 0.06 - canvas.color) * top[..., None]
    bevel = smoothstep(0.7, 0.84, field.d) * field.within(1.02, 0.06)
    canvas.color *= 1.0 - 0.25 * bevel[..., None]


@mark("Warty/Papillomatous")
def warty(canvas: Canvas, field: Field) -> None:
    """A rough surface of small lobes with dark clefts and a few pale horn pearls."""
    lobes = canvas.cells(32)
    area = field.within(0.95, 0.1)
    # Each cell a half sphere; together they are the rough surface.
    canvas.height += 0.012 * area * np.sqrt(np.clip(1.0 - lobes.centre**2, 0.0, 1.0))
    canvas.color *= 1.0 - 0.42 * (smoothstep(0.32, 0.02, lobes.border) * area)[..., None]
    canvas.color *= 1.0 + 0.35 * ((lobes.ident - 0.5) * area)[..., None]
    # One lobe in ten is capped by horn.
    pearl = smoothstep(0.38, 0.2, lobes.centre) * (lobes.ident > 0.9) * area
    canvas.paint(0.7 * pearl, shade_of(canvas, "honey") * rgb(1.1, 1.2, 1.6))


@mark("Exophytic/Fungating")
def exophytic(canvas: Canvas, field: Field) -> None:
    """Coarse lobes growing outward like a cauliflower, over a shadow."""
    # Lobes far coarser than a wart's.
    lobes = canvas.cells(13)
    area = field.within(1.0, 0.08)
    shadow = smoothstep(1.35, 1.0, field.d) * smoothstep(0.9, 1.0, field.d)
    canvas.color *= 1.0 - 0.45 * shadow[..., None]
    _raise(canvas, field, 0.35 * _dome(field))
    canvas.height += 0.05 * area * np.sqrt(np.clip(1.0 - lobes.centre**2, 0.0, 1.0))
    canvas.color *= 1.0 - 0.5 * (smoothstep(0.22, 0.02, lobes.border) * area)[..., None]


@mark("Pedunculated")
def pedunculated(canvas: Canvas, field: Field) -> None:
    """The lesion hangs on a narrow skin-coloured stalk and throws a shadow."""
    along = field.u
    # Narrowest where the stalk leaves the lesion.
    neck = 0.34 + 0.1 * np.abs(along - 1.35)
    outside = smoothstep(0.92, 1.0, field.d) * smoothstep(0.7, 0.85, along)
    length = smoothstep(2.0, 1.5, along)
    stalk = smoothstep(neck + 0.06, neck - 0.06, np.abs(field.v)) * outside * length
    shadow = smoothstep(neck + 0.4, neck, np.abs(field.v)) * outside * length
    canvas.color *= 1.0 - 0.5 * (shadow * (1.0 - stalk))[..., None]
    canvas.paint(0.9 * stalk, canvas.tone * rgb(1.05, 0.86, 0.82))
    _raise(canvas, field, 0.35 * stalk * np.sqrt(np.clip(1.0 - (field.v / neck) ** 2, 0.0, 1.0)))
    # The body hangs over: shadow all round, except on the stalk.
    under = smoothstep(1.3, 1.0, field.d) * smoothstep(0.93, 1.03, field.d) * (1.0 - stalk)
    canvas.color *= 1.0 - 0.4 * under[..., None]


@mark("Translucent")
def translucent(canvas: Canvas, field: Field) -> None:
    """A pearly, glassy body: pale glow along the rim and small highlights."""
    rim = smoothstep(0.35, 0.85, field.d) * field.within(0.97, 0.08)
    pearl = shade_of(canvas, "keratin") * rgb(0.98, 0.86, 0.87)
    canvas.paint(rim * np.clip(0.55 + 0.2 * canvas.noise(9), 0.3, 0.8), pearl)
    beads = canvas.cells(15)
    bead = smoothstep(0.3, 0.05, beads.centre) * (beads.ident > 0.35) * rim
    canvas.paint(0.8 * bead, rgb(1.0, 1.0, 1.0))
    canvas.gloss += 0.6 * field.within(0.95)


# What lies in and on the lesion


@mark("Pigmented")
def pigmented(canvas: Canvas, field: Field) -> None:
    """A dark net of pigment."""
    # The borders of the cells are the net, the cells its holes.
    net = canvas.cells(26)
    mesh = smoothstep(0.3, 0.1, net.border) * field.within(1.12, 0.12)
    canvas.paint(0.85 * mesh, shade_of(canvas, "brown") * np.float32(0.3))
    hole = smoothstep(0.3, 0.55, net.border) * field.within(1.0, 0.12)
    canvas.color *= 1.0 + 0.35 * hole[..., None]


@mark("Xerosis")
def xerosis(canvas: Canvas, field: Field) -> None:
    """Dry skin: a pale cracked network and fine powder."""
    area = field.within(1.15, 0.25)
    # Large plates that curl at their seams, powder between.
    coarse, fine = canvas.cells(15), canvas.cells(34)
    seam = smoothstep(0.17, 0.04, coarse.border) + 0.5 * smoothstep(0.16, 0.04, fine.border)
    curled = np.clip(seam, 0.0, 1.0) * np.clip(0.8 + 0.35 * canvas.noise(9), 0.25, 1.0) * area
    canvas.paint(0.72 * curled, shade_of(canvas, "keratin") * np.float32(0.93))
    canvas.paint(0.16 * area * (coarse.ident > 0.5), shade_of(canvas, "keratin"))
    canvas.height -= 0.003 * curled


@mark("Telangiectasia")
def telangiectasia(canvas: Canvas, field: Field) -> None:
    """Thin branching red vessels."""
    paths = [path for spot in field.spots for path in _vessels(canvas, spot.x, spot.y, spot.radius)]
    # As wide as two pixels of a 224-pixel picture: thinner ones vanish in it.
    vessels = canvas.strokes(paths, 0.0095) * field.within(1.1, 0.15)
    red = rgb(0.66, 0.02, 0.10) * np.float32(1.0 - 0.4 * canvas.darkness)
    canvas.paint(0.9 * vessels, red)


def _vessels(canvas: Canvas, x: float, y: float, radius: float) -> list[Array]:
    """Random walks from near the centre outwards, each with two side branches."""
    rng = canvas.rng
    paths: list[Array] = []
    for angle in np.linspace(0.0, 2.0 * np.pi, 6)[:-1] + rng.uniform(0.0, 6.0):
        turns = angle + np.cumsum(rng.normal(0.0, 0.5, 9))
        steps = np.stack([np.cos(turns), np.sin(turns)], axis=1) * radius / 8.0
        start = np.array([x, y]) + 0.25 * radius * np.array([np.cos(angle), np.sin(angle)])
        trunk = start + np.cumsum(steps, axis=0)
        paths.append(trunk)
        # One branch to each side, at different heights, as vessels fork.
        for joint, side in ((3, 0.9), (5, -0.9)):
            bend = turns[joint] + side + np.cumsum(rng.normal(0.0, 0.3, 5))
            twig = np.stack([np.cos(bend), np.sin(bend)], axis=1) * radius / 9.0
            paths.append(np.vstack([trunk[joint], trunk[joint] + np.cumsum(twig, axis=0)]))
    return paths


@mark("Purpura/Petechiae")
def purpura(canvas: Canvas, field: Field) -> None:
    """Many pin-point to lentil-sized bleeds, dark wine red, denser here and there."""
    grains = canvas.cells(20)
    # Sizes vary by grain and by place, so that they crowd in some spots.
    size = 0.22 + 0.3 * grains.ident + 0.12 * canvas.noise(6)
    dots = smoothstep(size, size - 0.14, grains.centre) * (grains.ident > 0.3)
    canvas.paint(0.9 * dots * field.within(1.0, 0.2), shade_of(canvas, "petechia"))


@mark("Comedo")
def comedo(canvas: Canvas, field: Field) -> None:
    """Blackheads: black dots with a pale rim."""
    # A wide, low dome: the plug sits in a follicle that it stretches.
    _raise(canvas, field, 0.4 * _dome(field, 1.5))
    canvas.paint(0.4 * smoothstep(1.7, 1.3, field.d), canvas.tone * np.float32(1.1))
    canvas.paint(0.95 * field.within(0.92, 0.25), rgb(0.08, 0.055, 0.05))


@mark("Burrow")
def burrow(canvas: Canvas, field: Field) -> None:
    """A thin wavy gray-white tunnel with a dark dot at its end."""
    # Each lesion its own phase, or all burrows would bend alike.
    wave = 0.2 * np.sin(5.0 * field.u + 6.0 * field.ident) + 0.05 * canvas.noise(14)
    reach = smoothstep(1.06, 0.96, np.abs(field.u))
    off = np.abs(field.v - wave)
    canvas.stain(0.75 * smoothstep(0.42, 0.12, off) * reach, shade_of(canvas, "red"))
    canvas.paint(0.92 * smoothstep(0.14, 0.07, off) * reach, shade_of(canvas, "keratin"))
    _raise(canvas, field, 0.1 * smoothstep(0.3, 0.0, off) * reach)
    # The mite: where the wave ends.
    tip = 0.2 * np.sin(5.0 + 6.0 * field.ident)
    dot = (field.u - 1.0) ** 2 + (field.v - tip) ** 2
    canvas.paint(0.9 * smoothstep(0.03, 0.01, dot), rgb(0.14, 0.08, 0.06))


@mark("Scar")
def scar(canvas: Canvas, field: Field) -> None:
    """A pale, smooth, shiny, drawn-in band with fine cross folds."""
    # A spindle, as a wound that closed.
    width = 0.34 * np.sqrt(np.clip(1.15 - field.u**2, 0.0, 1.15)) + 0.1 * canvas.noise(16)
    off = np.abs(field.v - 0.18 * np.sin(2.2 * field.u + 6.0 * field.ident))
    band = smoothstep(width + 0.13, width - 0.13, off) * (np.abs(field.u) < 1.1)
    canvas.stain(
        0.35 * smoothstep(width + 0.4, width, off) * field.within(1.2),
        canvas.tone * rgb(0.9, 0.66, 0.62),
    )
    canvas.height *= 1.0 - 0.8 * band
    canvas.paint(0.8 * band, shade_of(canvas, "pink") * rgb(1.03, 1.1, 1.1))
    _raise(canvas, field, 0.08 * band)
    # Across the band: a scar pulls lengthwise.
    fold = band * smoothstep(0.6, 1.0, np.sin(11.0 * field.u + 2.0 * canvas.noise(12)))
    canvas.color *= 1.0 - 0.1 * fold[..., None]
    canvas.gloss += 0.6 * band


@mark("Scale")
def scale(canvas: Canvas, field: Field) -> None:
    """White flakes, large ones over fine ones, lying on the lesion."""
    large, fine = canvas.cells(20), canvas.cells(40)
    area = field.within(0.93, 0.1) * smoothstep(0.2, 0.6, field.mask)
    # Flakes cling here and are gone there.
    where = np.clip(0.62 + 0.5 * canvas.noise(9), 0.0, 1.0)
    plate = smoothstep(0.0, 0.34, large.border) * smoothstep(0.5, 0.58, large.ident * where + 0.15)
    powder = smoothstep(0.0, 0.3, fine.border) * smoothstep(0.5, 0.62, fine.ident * where + 0.25)
    flake = np.maximum(plate, 0.8 * powder) * area
    # Fine noise keeps white areas from looking painted.
    thickness = np.clip(0.85 + 0.2 * canvas.noise(50), 0.5, 1.0)
    canvas.paint(0.95 * flake * thickness, shade_of(canvas, "keratin"))
    canvas.height += 0.005 * flake * (0.5 + large.ident)


@mark("Crust")
def crust(canvas: Canvas, field: Field) -> None:
    """Dried serum: rough, partly glassy honey to brown clods; on broad areas only islands of it."""
    large, fine = canvas.cells(16), canvas.cells(40)
    ragged = field.d + 0.2 * canvas.noise(12) + 0.16 * canvas.noise(30)
    # One crust over a hand-sized area does not occur; it breaks into islands.
    islands = np.where(field.radius > 0.2, 0.3 - 0.8 * canvas.noise(5), np.float32(0.0))
    area = smoothstep(0.95, 0.7, ragged + islands)
    brown = shade_of(canvas, "honey") * rgb(0.58, 0.46, 0.4)
    canvas.paint(0.94 * area, shade_of(canvas, "honey"))
    # Older, thicker clods are browner.
    dark = smoothstep(-0.1, 0.5, canvas.noise(18) + 0.7 * (large.ident - 0.5))
    canvas.paint(0.75 * area * dark, brown)
    seams = 0.4 * smoothstep(0.2, 0.0, large.border) + 0.25 * smoothstep(0.25, 0.0, fine.border)
    canvas.color *= 1.0 - (seams * area)[..., None]
    canvas.height += area * (0.012 + 0.012 * large.ident + 0.006 * fine.ident)
    canvas.gloss += 0.35 * area


@mark("Acuminate")
def acuminate(canvas: Canvas, field: Field) -> None:
    """A pointed cone with a horny tip."""
    _raise(canvas, field, 1.0 * np.clip(1.0 - field.d, 0.0, 1.0))
    canvas.paint(0.95 * smoothstep(0.5, 0.3, field.d), shade_of(canvas, "keratin"))


@mark("Erosion")
def erosion(canvas: Canvas, field: Field) -> None:
    """The top layer is gone: a moist, raw red, slightly sunken area with a thin ragged rim."""
    # No colour of the skin is left inside: what is seen is the layer below.
    area = smoothstep(0.96, 0.86, field.d + 0.08 * canvas.noise(18))
    canvas.paint(0.9 * area, shade_of(canvas, "raw") * (1.0 + 0.1 * float(canvas.rng.normal())))
    canvas.color *= 1.0 + 0.12 * (canvas.noise(30) * area)[..., None]
    rim = smoothstep(0.84, 0.96, field.d) * smoothstep(1.1, 1.0, field.d)
    canvas.paint(0.6 * rim, shade_of(canvas, "keratin") * rgb(0.95, 0.88, 0.8))
    _raise(canvas, field, -0.1 * area)
    canvas.gloss += 0.7 * area


@mark("Ulcer")
def ulcer(canvas: Canvas, field: Field) -> None:
    """A deep crater with a raised wall and a dark red and yellowish floor."""
    pit = smoothstep(0.62, 0.46, field.d + 0.08 * canvas.noise(12))
    # The wall lies outside the pit, or the crater would fill itself.
    wall = smoothstep(0.45, 0.65, field.d) * smoothstep(0.95, 0.72, field.d)
    _raise(canvas, field, 0.22 * wall - 0.55 * pit)
    canvas.paint(0.95 * pit, shade_of(canvas, "blood") * rgb(0.75, 1.0, 1.0))
    # Dead tissue: yellowish patches on the floor.
    slough = pit * smoothstep(0.05, 0.35, canvas.noise(20))
    canvas.paint(0.8 * slough, rgb(0.72, 0.62, 0.34))
    canvas.gloss += 0.3 * pit


@mark("Excoriation")
def excoriation(canvas: Canvas, field: Field) -> None:
    """Scratch marks: parallel dark red lines with dotted crusts, fading at their ends."""
    clods, sway = canvas.cells(40), 0.06 * canvas.noise(14)
    worn = np.clip(0.85 + 0.35 * canvas.noise(16), 0.25, 1.0) * smoothstep(
        1.05, 0.75, np.abs(field.u)
    )
    # A fingernail is as wide on a small lesion as on a large one.
    width = np.clip(0.0135 / field.radius, 0.05, 0.12)
    for at in np.array([-0.55, -0.12, 0.3, 0.62]) + canvas.rng.normal(0.0, 0.08, 4):
        off = np.abs(field.v - np.float32(at) - sway)
        canvas.stain(
            0.3 * smoothstep(0.3, 0.1, off) * field.within(1.0, 0.2), shade_of(canvas, "red")
        )
        line = np.clip((1.0 - off / width) * 1.6, 0.0, 1.0) * worn
        canvas.paint(0.92 * line, shade_of(canvas, "blood"))
        canvas.paint(0.8 * line * (clods.ident > 0.72), rgb(0.22, 0.05, 0.04))


@mark("Fissure")
def fissure(canvas: Canvas, field: Field) -> None:
    """Deep clefts: black-red jagged cracks with pale lips."""
    sway = 0.3 * canvas.noise(7) + 0.14 * canvas.noise(20)
    # A crack runs out to nothing.
    ends = smoothstep(1.0, 0.7, np.abs(field.u))
    for at in (-0.36, 0.32):
        off = np.abs(field.v - at - sway)
        width = 0.07 * ends * np.clip(0.8 + 0.5 * canvas.noise(12), 0.35, 1.3)
        canvas.paint(0.4 * ends * smoothstep(width + 0.09, width, off), shade_of(canvas, "keratin"))
        cleft = smoothstep(width + 0.015, width - 0.015, off) * ends
        canvas.paint(0.95 * cleft, rgb(0.25, 0.02, 0.02))
        _raise(canvas, field, -0.12 * cleft)


@mark("Pustule")
def pustule(canvas: Canvas, field: Field) -> None:
    """A small raised pus-filled top on a red base."""
    # The red base is wider than the pustule: inflammation spreads.
    canvas.stain(smoothstep(1.75, 1.0, field.d) * 0.85, shade_of(canvas, "red"))
    _raise(canvas, field, 0.5 * _dome(field, 1.2))
    canvas.paint(0.97 * field.within(0.68, 0.24), shade_of(canvas, "pus"))


@mark("Vesicle")
def vesicle(canvas: Canvas, field: Field) -> None:
    """A small clear blister: glassy, gray-white, with a dark rim and a highlight."""
    _blister(canvas, field, rgb(0.90, 0.83, 0.72), 0.5)
    canvas.paint(
        0.95 * np.minimum(1.5 * _lit_spot(canvas, field, 0.42, 0.18), 1.0), rgb(1.0, 1.0, 1.0)
    )


@mark("Bulla")
def bulla(canvas: Canvas, field: Field) -> None:
    """A large tense blister with amber fluid that gathers at its lower side."""
    _blister(canvas, field, rgb(0.93, 0.80, 0.60), 0.42)
    # Gravity: the picture's y points down, so fluid is where y is large.
    level = smoothstep(-0.15, 0.5, field.y) * field.within(0.88, 0.08)
    canvas.paint(0.45 * level, rgb(0.80, 0.55, 0.26))
    canvas.paint(
        0.95 * np.minimum(1.5 * _lit_spot(canvas, field, 0.5, 0.13), 1.0), rgb(1.0, 1.0, 1.0)
    )
    canvas.paint(0.55 * _lit_spot(canvas, field, -0.62, 0.16), rgb(1.0, 0.96, 0.88))


@mark("Umbilicated")
def umbilicated(canvas: Canvas, field: Field) -> None:
    """A dimple in the middle."""
    # Dark as well as deep: on a small dome the relief alone is not seen.
    dimple = smoothstep(0.46, 0.22, field.d)
    _raise(canvas, field, -0.45 * dimple)
    canvas.color *= 1.0 - 0.55 * dimple[..., None]


def _blister(canvas: Canvas, field: Field, fluid: Array, body: float) -> None:
    """A fluid-filled dome with a thin dark and, inside it, a bright rim."""
    # Clear fluid shows the skin below, darker on darker types.
    tinge = fluid * np.float32(1.0 - 0.28 * canvas.darkness)
    canvas.paint(body * field.within(0.93, 0.1), tinge)
    inner = smoothstep(0.55, 0.82, field.d) * smoothstep(0.96, 0.86, field.d)
    canvas.paint(0.3 * inner, np.minimum(1.15 * tinge, 1.0))
    rim = smoothstep(0.86, 0.98, field.d) * smoothstep(1.12, 1.0, field.d)
    canvas.color *= 1.0 - 0.42 * rim[..., None]
    _raise(canvas, field, 0.25 * _dome(field) + 0.25 * smoothstep(1.05, 0.2, field.d))
    canvas.gloss += 0.4 * field.within(0.9)


def _lit_spot(canvas: Canvas, field: Field, toward: float, size: float) -> Array:
    """A highlight of every lesion, `toward` radii from its centre on the side of the lamp."""
    x, y = field.x - toward * canvas.light[0], field.y - toward * canvas.light[1]
    return np.exp(-(x * x + y * y) / np.float32(2.0 * size * size))


@mark("Exudate")
def exudate(canvas: Canvas, field: Field) -> None:
    """Oozing serum: amber wet film with bright reflections."""
    wet = canvas.noise(7) + 0.35 * canvas.noise(22)
    # Serum runs together, so coarse noise decides where it lies.
    film = smoothstep(-0.3, 0.15, wet) * field.within(1.02, 0.12)
    amber = rgb(0.90, 0.66, 0.30) * np.float32(1.0 - 0.25 * canvas.darkness)
    canvas.paint(0.55 * film, amber)
    drops = canvas.cells(17)
    bead = film * (drops.ident > 0.3)
    canvas.height += 0.012 * bead * smoothstep(0.6, 0.1, drops.centre)
    size = 0.12 + 0.16 * drops.ident
    canvas.paint(0.95 * bead * smoothstep(size, size - 0.12, drops.centre), rgb(1.0, 1.0, 1.0))
    canvas.gloss += 0.9 * film


@mark("Friable")
def friable(canvas: Canvas, field: Field) -> None:
    """Easily bleeding tissue: wet blood oozing over it and down."""
    # Blood comes from points and runs, in no pattern of its own.
    ooze = smoothstep(-0.05, 0.22, canvas.noise(9) + 0.35 * canvas.noise(26)) * field.within(
        0.98, 0.08
    )
    canvas.paint(0.95 * ooze, shade_of(canvas, "blood"))
    canvas.gloss += 1.0 * ooze
    drops = canvas.cells(17)
    glint = smoothstep(0.2, 0.06, drops.centre) * (drops.ident > 0.4)
    canvas.paint(0.85 * ooze * glint, rgb(1.0, 0.88, 0.88))
