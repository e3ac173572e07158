"""From case to photograph: skin, lesions, light, camera."""

import io

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from skingpt4.synthetic.lesions import Spot, lesion_field, place_lesions
from skingpt4.synthetic.marks import COLOURS, MARKS
from skingpt4.synthetic.skin import Array, Canvas, draw_skin, rgb, smoothstep
from skingpt4.synthetic.world import Arrangement, DrawnCase, Lesions

DEFAULT_SIZE = 144
JPEG_QUALITY = 92
CLOTHS = ((0.16, 0.2, 0.24), (0.55, 0.65, 0.72), (0.78, 0.78, 0.76), (0.25, 0.42, 0.44))
"""sRGB colours of what may lie behind a limb."""


def render(case: DrawnCase, size: int = DEFAULT_SIZE) -> Image.Image:
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
    # One fine mottling runs over skin and lesions alike, so that nothing looks pasted on.
    mottle = 0.035 * canvas.noise(28) + 0.045 * canvas.noise(64)  # [H, W]
    canvas.color *= 1.0 + mottle[..., None] * rgb(0.8, 1.0, 1.05)
    canvas.height += 0.0007 * canvas.noise(52)
    return take_picture(canvas, light(canvas))


def jpeg_bytes(case: DrawnCase, size: int = DEFAULT_SIZE) -> bytes:
    """The case's photograph as a JPEG file."""
    buffer = io.BytesIO()
    render(case, size).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def draw_lesions(canvas: Canvas, case: DrawnCase) -> None:
    """Draw every group of lesions, each mark in the order of the table of marks."""
    placed: list[tuple[Lesions, list[Spot]]] = []
    for group in case.groups:
        hosts = placed[0][1] if placed else []
        others = [spot for _, spots in placed[1:] for spot in spots]
        placed.append((group, place_lesions(group, canvas.rng, hosts, others)))
    # Broad areas lie below everything else.
    placed.sort(key=lambda pair: pair[0].arrangement is not Arrangement.FIELD)
    for group, spots in placed:
        field = lesion_field(spots, group.shape, group.edge, canvas)
        # Colours share the lesions in patches; the smaller the lesion, the finer they must be.
        colours = len(COLOURS.intersection(group.marks))
        canvas.share_colours(colours, int(0.7 / group.radius) + 2, field.d < 1.0)
        # The table's order, not the group's: colours, then bodies, then what lies on top.
        for concept, draw in MARKS.items():
            if concept in group.marks:
                draw(canvas, field)


def light(canvas: Canvas) -> Array:
    """Shade the relief with one lamp; wet and shiny places reflect it.

    Returns:
        The lit scene, sRGB `[H, W, 3]`, not yet limited to 0..1.
    """
    rng = canvas.rng
    # A little blur stands for light that travels below the surface before it leaves the skin.
    relief = gaussian_filter(canvas.height, 0.0045 * canvas.size)
    down, right = np.gradient(relief * canvas.size)  # both [H, W], in pixels a pixel
    slope = np.sqrt(1.0 + right**2 + down**2)
    facing = -(right * canvas.light[0] + down * canvas.light[1])
    # Limits keep steep walls from going black and crests from burning out.
    shade = np.clip((0.85 + 0.55 * facing) / slope**0.5 + 0.15, 0.38, 1.45)
    # Blinn-Phong: a high power makes a small, wet highlight.
    shine = canvas.gloss * np.clip((0.55 * facing + 0.83) / slope, 0.0, 1.0) ** 18
    glow = 1.0 + 0.16 * rng.random() * _ramp(canvas, rng.uniform(0.0, 2.0 * np.pi))
    lit = canvas.color * (shade * glow)[..., None]
    lit += (1.0 - lit) * np.clip(0.9 * shine, 0.0, 0.9)[..., None]
    if rng.random() >= 0.2:
        return lit
    # In one photo of five a limb ends near one side, before a plain cloth.
    cloth = rgb(*CLOTHS[rng.integers(len(CLOTHS))])
    across = _ramp(canvas, rng.choice(4) * np.pi / 2 + rng.normal(0.0, 0.12))
    edge = across + 0.05 * canvas.noise(2) - rng.uniform(0.8, 0.94)  # [H, W], 0 on the limb's edge
    rounding = smoothstep(-0.32, 0.02, edge)
    limb = lit * (1.0 - 0.55 * rounding**2)[..., None]
    outside = smoothstep(-0.006, 0.014, edge)[..., None]
    fabric = cloth * (1.0 + 0.08 * canvas.noise(40, 40))[..., None]
    return limb + (fabric - limb) * outside


def _ramp(canvas: Canvas, angle: float) -> Array:
    """Return a linear gradient over the picture `[H, W]`, -1..1 along `angle`."""
    line = np.linspace(-1.0, 1.0, canvas.size, dtype=np.float32)
    return np.float32(np.cos(angle)) * line + np.float32(np.sin(angle)) * line[:, None]


def take_picture(canvas: Canvas, lit: Array) -> Image.Image:
    """Photograph the lit scene: vignette, white balance, exposure, blur, sensor noise."""
    rng, size = canvas.rng, canvas.size
    line = np.linspace(-1.0, 1.0, size, dtype=np.float32)
    vignette = 1.0 - rng.uniform(0.0, 0.16) * (line**2 + line[:, None] ** 2) / 2.0  # [H, W]
    balance = np.float32(rng.normal(1.0, 0.02, 3)) * np.float32(rng.normal(1.0, 0.045))  # [3]
    # Blur grows with the picture, so that every size looks equally sharp.
    sigma = rng.uniform(0.15, 0.6) * size / DEFAULT_SIZE
    blurred = gaussian_filter(lit * vignette[..., None] * balance, (sigma, sigma, 0))
    # Noise comes after the blur: it is the sensor's, not the scene's.
    grain = rng.standard_normal(blurred.shape, np.float32) * np.float32(rng.uniform(0.004, 0.014))
    pixels = np.clip((blurred + grain) * 255.0 + 0.5, 0.0, 255.0).astype(np.uint8)
    return Image.fromarray(pixels)
