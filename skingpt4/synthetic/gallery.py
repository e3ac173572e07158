"""Pictures for people: the labelled contact sheet and a few larger example photographs."""

import textwrap
from itertools import count
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from skingpt4.dermatology import CLASSES, FITZPATRICK_TYPES
from skingpt4.synthetic.render import render
from skingpt4.synthetic.world import Case, Stream, sample_case

EXAMPLE_DISEASES = ("psoriasis", "melanoma", "acne", "tinea ringworm", "herpes zoster", "vitiligo")
"""One photograph each, on the skin types I..VI in this order."""

TILE, GAP, LABEL, HEAD = 128, 4, 190, 22


def find_case(seed: int, disease: str, fitzpatrick: str) -> Case:
    """The first case of the show stream with this disease and skin type."""
    # The stream goes round diseases and skin types, so that a match always comes.
    candidates = (sample_case(seed, Stream.SHOW, index) for index in count())
    return next(
        case for case in candidates if (case.disease, case.fitzpatrick) == (disease, fitzpatrick)
    )


def write_contact_sheet(path: Path, seed: int = 0, tile: int = TILE) -> None:
    """Draw the 15 classes (rows) on the six skin types (columns) into one labelled picture.

    The diseases of a class take turns along its row.

    Args:
        path: Where to write; the ending chooses PNG or JPEG.
        seed: Seed of the world.
        tile: Width and height of one photograph in pixels.
    """
    step = tile + GAP
    size = (LABEL + step * len(FITZPATRICK_TYPES), HEAD + step * len(CLASSES))
    sheet = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for column, skin_type in enumerate(FITZPATRICK_TYPES):
        pen.text((LABEL + column * step + tile // 2, 4), f"type {skin_type}", "black", font, "ma")
    for row, entry in enumerate(CLASSES):
        top = HEAD + row * step
        # The name without its bracket, in lines that fit the margin.
        title = textwrap.fill(entry.name.split(" (")[0], 25)
        label = "\n".join([title, *(f"  {name}" for name in entry.diseases)])
        pen.multiline_text((6, top + tile // 2), label, "black", font, "lm", spacing=5)
        for column, skin_type in enumerate(FITZPATRICK_TYPES):
            case = find_case(seed, entry.diseases[column % len(entry.diseases)], skin_type)
            # Drawn at twice the size: a thumbnail of a photo, not a photo of thumbnail size.
            photo = render(case, 2 * tile).resize((tile, tile), Image.Resampling.LANCZOS)
            sheet.paste(photo, (LABEL + column * step, top))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, quality=85)


def write_examples(folder: Path, seed: int = 0, size: int = 448) -> None:
    """Draw one larger photograph of each of EXAMPLE_DISEASES, named after the disease.

    Args:
        folder: Where to write the JPEG files; made if missing.
        seed: Seed of the world.
        size: Width and height in pixels.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for disease, skin_type in zip(EXAMPLE_DISEASES, FITZPATRICK_TYPES, strict=True):
        name = disease.replace(" ", "_")
        render(find_case(seed, disease, skin_type), size).save(folder / f"{name}.jpg", quality=88)
