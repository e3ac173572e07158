"""From case to photograph: skin, lesions, light, camera."""

import io

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from skingpt4.synthetic.diseases import Arrangement
from skingpt4.synthetic.lesions import Spot, lesion_field, place_lesions
from skingpt4.synthetic.marks import COLOURS, MARKS
from skingpt4.synthetic.skin import Array, Canvas, draw_skin, rgb, smoothstep
from skingpt4.synthetic.world import Case, Lesions

DEFAULT_SIZE = 144
JPEG_QUALITY = 92
CLOTHS = ((0.16, 0.2, 0.24), (0.55, 0.65, 0.72), (0.78, 0.78, 0.76), (0.25, 0.42, 0.44))
"""sRGB colours of what may lie behind a limb."""


def render(case: Case, size: int = DEFAULT_SIZE) -> Image.Image:
    """Draw the photograph of a case; the same case and size always give the same pixels.

    Args:
        case: What to draw.
        size: Width and height in pixels, >= 32.

    Returns:
        An RGB image.
    """
    canvas = Canvas(size, np.random.default_rng(case.draw_seed), case.fitzpatrick)
    draw_skin(canvas)
    draw_lesions(canvas, case)
    _unify(canvas)
    return photograph(canvas)


def jpeg_bytes(case: Case, size: int = DEFAULT_SIZE) -> bytes:
    """The case's photograph as a JPEG file."""
    buffer = io.BytesIO()
    render(case, size).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def draw_lesions(canvas: Canvas, case: Case) -> None:
    """Draw every group of lesions, each mark in the order of the table of marks."""
    placed: list[tuple[Lesions, list[Spot]]] = []
    for group in case.groups:
        hosts = placed[0][1] if placed else []
        others = [spot for _, spots in placed[1:] for spot in spots]
        placed.append((group, place_lesions(group, canvas.rng, hosts, others)))
    # Broad areas lie below everything else.
    for group, spots in sorted(
        placed, key=lambda pair: pair[0].arrangement is not Arrangement.FIELD
    ):
        _draw_group(canvas, group, spots)


def _draw_group(canvas: Canvas, group: Lesions, spots: list[Spot]) -> None:
    """Draw the marks of one group of lesions."""
    field = lesion_field(spots, group.shape, group.edge, canvas)
    colours = len(COLOURS.intersection(group.marks))
    canvas.share_colours(colours, int(0.7 / group.radius) + 2, field.d < 1.0)
    for concept, draw in MARKS.items():
        if concept in group.marks:
            draw(canvas, field)


def _unify(canvas: Canvas) -> None:
    """Let one fine mottling run over skin and lesions alike, so that nothing looks pasted on."""
    mottle = 0.035 * canvas.noise(28) + 0.045 * canvas.noise(64)
    canvas.color *= 1.0 + mottle[..., None] * rgb(0.8, 1.0, 1.05)
    canvas.height += 0.0007 * canvas.noise(52)


def photograph(canvas: Canvas) -> Image.Image:
    """Light the canvas and take its picture."""
    lit = _lighten(canvas)
    if canvas.rng.random() < 0.2:
        lit = _body_edge(canvas, lit)
    return _camera(canvas, lit)


def _lighten(canvas: Canvas) -> Array:
    """Shade the relief with one lamp; wet and shiny places reflect it."""
    rng = canvas.rng
    relief = gaussian_filter(canvas.height, 0.0045 * canvas.size)
    down, right = np.gradient(relief * canvas.size)
    slope = np.sqrt(1.0 + right**2 + down**2)
    facing = -(right * canvas.light[0] + down * canvas.light[1])
    shade = np.clip((0.85 + 0.55 * facing) / slope**0.5 + 0.15, 0.38, 1.45)
    shine = canvas.gloss * np.clip((0.55 * facing + 0.83) / slope, 0.0, 1.0) ** 18
    glow = 1.0 + 0.16 * rng.random() * _ramp(canvas, rng.uniform(0.0, 2.0 * np.pi))
    lit = canvas.color * (shade * glow)[..., None]
    return lit + (1.0 - lit) * np.clip(0.9 * shine, 0.0, 0.9)[..., None]


def _ramp(canvas: Canvas, angle: float) -> Array:
    """A linear gradient over the picture, -1..1 along `angle`."""
    line = np.linspace(-1.0, 1.0, canvas.size, dtype=np.float32)
    return np.float32(np.cos(angle)) * line + np.float32(np.sin(angle)) * line[:, None]


def _body_edge(canvas: Canvas, lit: Array) -> Array:
    """Let a limb end near one side of the picture, before a plain cloth."""
    rng = canvas.rng
    cloth = rgb(*CLOTHS[rng.integers(len(CLOTHS))])
    across = _ramp(canvas, rng.choice(4) * np.pi / 2 + rng.normal(0.0, 0.12))
    edge = across + 0.05 * canvas.noise(2) - rng.uniform(0.8, 0.94)
    rounding = smoothstep(-0.32, 0.02, edge)
    limb = lit * (1.0 - 0.55 * rounding**2)[..., None]
    outside = smoothstep(-0.006, 0.014, edge)[..., None]
    fabric = cloth * (1.0 + 0.08 * canvas.noise(40, 40))[..., None]
    return limb + (fabric - limb) * outside


def _camera(canvas: Canvas, lit: Array) -> Image.Image:
    """Vignette, white balance, exposure, blur, sensor noise."""
    rng, size = canvas.rng, canvas.size
    line = np.linspace(-1.0, 1.0, size, dtype=np.float32)
    vignette = 1.0 - rng.uniform(0.0, 0.16) * (line**2 + line[:, None] ** 2) / 2.0
    balance = np.float32(rng.normal(1.0, 0.02, 3)) * np.float32(rng.normal(1.0, 0.045))
    sigma = rng.uniform(0.15, 0.6) * size / DEFAULT_SIZE
    blurred = gaussian_filter(lit * vignette[..., None] * balance, (sigma, sigma, 0))
    grain = rng.standard_normal(blurred.shape, np.float32) * np.float32(rng.uniform(0.004, 0.014))
    pixels = np.clip((blurred + grain) * 255.0 + 0.5, 0.0, 255.0).astype(np.uint8)
    return Image.fromarray(pixels)
