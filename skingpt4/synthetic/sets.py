"""Writes the drawn world to disk: the folders of steps 0, 1 and 2, and the held-out cases.

Also pictures for people: the labelled contact sheet and a few larger example photographs.
"""

import json
import logging
import textwrap
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from skingpt4.common.errors import DatasetError
from skingpt4.common.files import clear_folder, write_text
from skingpt4.common.tables import write_table
from skingpt4.dermatology import CLASSES, FITZPATRICK_TYPES, QUESTIONS
from skingpt4.synthetic import text
from skingpt4.synthetic.render import DEFAULT_SIZE, jpeg_bytes, render
from skingpt4.synthetic.world import DrawnCase, Stream, sample_case

logger = logging.getLogger(__name__)

VERSION = 3
"""Raised whenever the same seed no longer gives the same photographs and texts."""

HELD_OUT = 1_000_000
"""Added to the seed for the held-out cases, so that no set ever shares their random numbers."""

AnnotationRow = dict[str, Any]


@dataclass(frozen=True)
class WorldOptions:
    """How large a world to write.

    Attributes:
        seed: Seed of the world, 0 <= seed < HELD_OUT.
        foundation: Images of step 0.
        questions: Text-only questions of step 0.
        dialogues: Text-only conversations of step 0.
        concept: Images of step 1.
        diagnosis: Images of step 2.
        cases_per_class: Held-out cases of each of the 15 classes.
        size: Image width and height in pixels, >= 32.
        workers: Processes that draw, >= 1.
        paper_balance: Draw classes as often as in the paper instead of equally often.
    """

    seed: int = 0
    foundation: int = 30000
    questions: int = 40000
    dialogues: int = 12000
    concept: int = 6000
    diagnosis: int = 6000
    cases_per_class: int = 10
    size: int = DEFAULT_SIZE
    workers: int = 2
    paper_balance: bool = False

    def __post_init__(self) -> None:
        counts = ("foundation", "questions", "dialogues", "concept", "diagnosis", "cases_per_class")
        limits = {**dict.fromkeys(counts, 0), "size": 32, "workers": 1, "seed": 0}
        for name, least in limits.items():
            if getattr(self, name) < least:
                raise DatasetError(
                    f"{name} is {getattr(self, name)}; give a value of at least {least}."
                )
        if self.seed >= HELD_OUT:
            raise DatasetError(f"seed is {self.seed}; give a value below {HELD_OUT}.")

    @property
    def class_weights(self) -> tuple[int, ...] | None:
        """Relative class frequencies of the training sets; None is equal."""
        return tuple(entry.step2_count for entry in CLASSES) if self.paper_balance else None


def diagnosis_annotations(case: DrawnCase, image_id: str) -> list[AnnotationRow]:
    """Step 2: the diagnosis, and for two images of three also a note (40 % of the annotations).

    Notes keep their own questions, as the paper's doctors' notes mix diagnosis and description.
    """
    plain = {"image_id": image_id, "caption": text.diagnosis_caption(case)}
    features = text.features_answer(case)
    # By number, not by chance: the shares are exact in every set.
    kind = int(image_id) % 6
    if kind < 2:
        return [plain]
    if kind < 4:
        return [plain, {"image_id": image_id, "question": QUESTIONS[1], "caption": features}]
    return [plain, {"image_id": image_id, "dialogue": text.four_answers(case)[:2]}]


Annotate = Callable[[DrawnCase, str], list[AnnotationRow]]

FOLDERS: tuple[tuple[str, Stream, Annotate, str], ...] = (
    # Steps 0 and 1 leave the question to the training prompts.
    (
        "step0_general",
        Stream.GENERAL,
        lambda case, name: [{"image_id": name, "caption": text.general_caption(case)}],
        "foundation",
    ),
    (
        "step1_concept",
        Stream.CONCEPT,
        lambda case, name: [{"image_id": name, "caption": text.concept_caption(case)}],
        "concept",
    ),
    ("step2_diagnosis", Stream.DIAGNOSIS, diagnosis_annotations, "diagnosis"),
)
"""Each image-text set: folder, stream of cases, what is said of an image, its option of size."""

TEXT_FOLDERS = ("step0_question", "step0_dialogue")

WRITTEN = (*(name for name, *_ in FOLDERS), *TEXT_FOLDERS, "cases", "cases.csv", "manifest.json")


def write_world(output: Path, options: WorldOptions, overwrite: bool = False) -> None:
    """Write every set, the held-out cases and the manifest below `output`.

    The files depend on the options only, not on the number of workers.

    Raises:
        DatasetError: `output` holds something and `overwrite` is false.
    """
    clear_folder(output, WRITTEN, overwrite)
    counts: dict[str, dict[str, dict[str, int]]] = {}
    for name, stream, annotate, option in FOLDERS:
        counts[name] = _write_folder(output / name, stream, annotate, option, options)
    for name, talk, number in zip(
        TEXT_FOLDERS,
        (text.text_question, text.text_dialogue),
        (options.questions, options.dialogues),
        strict=True,
    ):
        annotations: list[AnnotationRow] = []
        for index in range(number):
            case = sample_case(options.seed, Stream.DIALOGUE, index, options.class_weights)
            # The case has drawn its numbers from (…, 1); its words must not repeat them.
            rng = np.random.default_rng((*case.draw_seed, 2))
            annotations.append({"dialogue": talk(case, rng)})
        _write_json(output / name / "filter_cap.json", {"annotations": annotations})
    cases = held_out_cases(options.seed, options.cases_per_class)
    names = [str(number) for number in range(1, len(cases) + 1)]
    _draw_all(output / "cases", names, cases, options)
    columns = ["id", "image", "class", "disease", "concepts", "fitzpatrick"]
    rows = [
        [n, f"cases/{n}.jpg", c.class_name, c.disease, ";".join(c.concepts), c.fitzpatrick]
        for n, c in zip(names, cases, strict=True)
    ]
    write_table(output / "cases.csv", pd.DataFrame(rows, columns=columns))
    counts["cases"] = _count(cases)
    settings = {name: value for name, value in asdict(options).items() if name != "workers"}
    _write_json(output / "manifest.json", {"version": VERSION, **settings, "counts": counts})
    logger.info("wrote the drawn world with seed %d", options.seed)


def _write_folder(
    path: Path, stream: Stream, annotate: Annotate, option: str, options: WorldOptions
) -> dict[str, dict[str, int]]:
    """Write one image-text set; return how often classes, concepts and skin types occur in it."""
    cases = [
        sample_case(options.seed, stream, index, options.class_weights)
        for index in range(getattr(options, option))
    ]
    names = [str(number) for number in range(1, len(cases) + 1)]
    _draw_all(path / "image", names, cases, options)
    annotations = [
        note for name, case in zip(names, cases, strict=True) for note in annotate(case, name)
    ]
    _write_json(path / "filter_cap.json", {"annotations": annotations})
    return _count(cases)


def held_out_cases(seed: int, per_class: int) -> list[DrawnCase]:
    """The evaluation cases of a world, `per_class` of each class, skin types balanced."""
    number = per_class * len(CLASSES)
    return [sample_case(seed + HELD_OUT, Stream.CASES, index) for index in range(number)]


def _draw_all(
    folder: Path, names: Sequence[str], cases: Sequence[DrawnCase], options: WorldOptions
) -> None:
    """Draw the cases into JPEG files, several at a time, with a progress bar."""
    folder.mkdir(parents=True)
    jobs = [(c, folder / f"{n}.jpg", options.size) for n, c in zip(names, cases, strict=True)]
    label = folder.name if folder.name != "image" else folder.parent.name
    with tqdm(total=len(jobs), desc=label, unit="image") as bar:
        if options.workers == 1:
            for job in jobs:
                _draw_one(job)
                bar.update()
            return
        # In any order: a file's content depends on its case alone.
        with Pool(options.workers) as pool:
            for _ in pool.imap_unordered(_draw_one, jobs, chunksize=32):
                bar.update()


def _draw_one(job: tuple[DrawnCase, Path, int]) -> None:
    """Draw one case into its file; at the top level, so that a process of the pool finds it."""
    case, path, size = job
    path.write_bytes(jpeg_bytes(case, size))


def _write_json(path: Path, content: dict[str, Any]) -> None:
    """Write readable UTF-8 JSON."""
    write_text(path, json.dumps(content, ensure_ascii=False, indent=1) + "\n")


def _count(cases: Sequence[DrawnCase]) -> dict[str, dict[str, int]]:
    """Count how often each class, concept and skin type occurs."""
    return {
        "classes": dict(Counter(case.class_name for case in cases)),
        "concepts": dict(Counter(concept for case in cases for concept in case.concepts)),
        "fitzpatrick": dict(Counter(case.fitzpatrick for case in cases)),
    }


EXAMPLE_DISEASES = ("psoriasis", "melanoma", "acne", "tinea ringworm", "herpes zoster", "vitiligo")
"""One photograph each, on the skin types I..VI in this order."""

TILE, GAP, LABEL, HEAD = 128, 4, 190, 22


def find_case(seed: int, disease: str, fitzpatrick: str) -> DrawnCase:
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
