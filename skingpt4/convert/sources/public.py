"""Public data sets that are one table and a folder of photos: each is a row of data.

Their labels are mapped to the paper's 15 classes by ``labels/<name>.csv``; those mappings are our
reading of the paper's class names.
"""

import ast
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from skingpt4.common.errors import DatasetError
from skingpt4.convert.fingerprints import image_files
from skingpt4.convert.records import SPLITS, Record
from skingpt4.convert.sources.lookup import Row, SourceFiles, read_labels, skin_type
from skingpt4.dermatology import CONCEPTS

DDI_TONES = {"12": "I-II", "34": "III-IV", "56": "V-VI"}
"""DDI's groups of Fitzpatrick types."""

WRONG = "3 Wrongly labelled"
"""What Fitzpatrick17k's dermatologists noted in column ``qc`` of photos with a wrong label."""

ISIC_NAMES = ("image", "image_id", "image_name", "isic_id")

NEITHER = "NV"
"""ISIC 2017 has columns for melanoma and seborrheic keratosis; the rest are nevi."""


@dataclass(frozen=True)
class PublicSet:
    """How to read one data set.

    Attributes:
        name: As it calls itself.
        labels: Its table of labels.
        about: One line of help.
        columns: Those its table must have.
        image: Name of a row's photo.
        label: A row's label in the set's own spelling.
        skin: A row's skin type.
        group: A row's patient or lesion.
        skip: Why a row cannot be used.
    """

    name: str
    labels: str
    about: str
    columns: tuple[str, ...]
    image: Callable[[Row], str]
    label: Callable[[Row], str]
    skin: Callable[[Row], str] = lambda row: ""
    group: Callable[[Row], str] = lambda row: ""
    skip: Callable[[Row], str] = lambda row: ""


def _isic_image(row: Row) -> str:
    return next((row[name] for name in ISIC_NAMES if row.get(name)), "")


def _isic_label(row: Row) -> str:
    """Return the column that is 1 (ISIC 2017 to 2019)."""
    marked = [name for name, value in row.items() if value in ("1", "1.0")]
    if not marked and "seborrheic_keratosis" in row:
        return NEITHER
    return marked[0] if len(marked) == 1 else ""


PUBLIC = {
    "fitzpatrick17k": PublicSet(
        "Fitzpatrick17k",
        "fitzpatrick17k",
        "Fitzpatrick17k: fitzpatrick17k.csv",
        ("md5hash", "label", "fitzpatrick_scale"),
        image=lambda row: row["md5hash"],
        label=lambda row: row["label"],
        skin=lambda row: skin_type(row["fitzpatrick_scale"]),
        skip=lambda row: "marked as wrongly labelled" if row.get("qc") == WRONG else "",
    ),
    "ham10000": PublicSet(
        "HAM10000",
        "ham10000",
        "HAM10000: HAM10000_metadata.csv",
        ("image_id", "dx", "lesion_id"),
        image=lambda row: row["image_id"],
        label=lambda row: row["dx"],
        group=lambda row: row["lesion_id"],
    ),
    "isic": PublicSet(
        "ISIC",
        "isic",
        "ISIC challenges 2017 to 2019: their ground truth CSV",
        (),
        image=_isic_image,
        label=_isic_label,
        group=lambda row: row.get("lesion_id", ""),
    ),
    "pad_ufes_20": PublicSet(
        "PAD-UFES-20",
        "pad_ufes_20",
        "PAD-UFES-20: metadata.csv",
        ("img_id", "diagnostic", "patient_id"),
        image=lambda row: row["img_id"],
        label=lambda row: row["diagnostic"],
        skin=lambda row: skin_type(row.get("fitspatrick", "")),
        group=lambda row: row["patient_id"],
    ),
    "ddi": PublicSet(
        "DDI",
        "ddi",
        "DDI: ddi_metadata.csv",
        ("DDI_file", "disease", "skin_tone"),
        image=lambda row: row["DDI_file"],
        label=lambda row: row["disease"],
        skin=lambda row: DDI_TONES.get(row["skin_tone"], ""),
    ),
}


def read_public(row: PublicSet) -> Callable[[SourceFiles], Iterator[Record]]:
    """Return the reader of a data set."""

    def read(files: SourceFiles) -> Iterator[Record]:
        table = files.table(*row.columns)
        labels = read_labels(row.labels)
        for number, entry in enumerate(table.rows):
            words, disease_class = labels[row.label(entry)]
            unknown = f"its label is not in labels/{row.labels}.csv"
            yield Record(
                place=table.place(number),
                image=files.find(row.image(entry)),
                source=row.name,
                label=words or row.label(entry),
                disease_class=disease_class,
                skin_type=row.skin(entry),
                group=row.group(entry),
                skip=row.skip(entry) or ("" if words else unknown),
            )

    return read


WEIGHTS = "weighted_skin_condition_label"

SKIN = "dermatologist_fitzpatrick_skin_type_label_"

SLOTS = ("1", "2", "3")


def read_scin(files: SourceFiles) -> Iterator[Record]:
    """Yield a record for each photo; the photos of a case are one group."""
    table = files.table("case_id", "image_1_path")
    judged = {row["case_id"]: row for row in files.table("case_id", WEIGHTS).rows}
    labels = read_labels("scin")
    for number, case in enumerate(table.rows):
        verdict = judged.get(case["case_id"], {})
        label, reason = _label(verdict.get(WEIGHTS, ""))
        words, disease_class = labels[label]
        if not reason and not words:
            reason = "its label is not in labels/scin.csv"
        for path in filter(None, (case.get(f"image_{slot}_path") for slot in SLOTS)):
            yield Record(
                place=table.place(number),
                image=files.find(path),
                source="SCIN",
                label=words or label,
                disease_class=disease_class,
                skin_type=_skin_type(verdict),
                group=case["case_id"],
                skip=reason,
            )


def _label(text: str) -> tuple[str, str]:
    """Return the condition of the greatest weight, or why there is none."""
    try:
        weights: dict[str, float] = dict(ast.literal_eval(text or "{}"))
        greatest = max(weights.values(), default=0)
    except (ValueError, TypeError, SyntaxError):
        return "", f"its {WEIGHTS} cannot be read"
    if not weights:
        return "", "dermatologists gave it no label"
    first = [name for name, weight in weights.items() if weight == greatest]
    return (first[0], "") if len(first) == 1 else ("", "no label has the greatest weight alone")


def _skin_type(verdict: Row) -> str:
    """Return what most dermatologists saw; the first of several equally frequent."""
    seen = Counter(filter(None, (skin_type(verdict.get(SKIN + slot, "")) for slot in SLOTS)))
    return seen.most_common(1)[0][0] if seen else ""


IMAGE = "ImageID"

REJECTED = "Do not consider this image"

NAMES = tuple(concept.name for concept in CONCEPTS)


def read_skincon(files: SourceFiles) -> Iterator[Record]:
    """Yield a record for each photo; concepts keep the order of the table's columns."""
    files.table(IMAGE, *NAMES)
    types = _skin_types(files)
    for table in files.all_tables(IMAGE, *NAMES):
        columns = [name for name in table.columns if name in NAMES]
        for number, row in enumerate(table.rows):
            concepts = tuple(name for name in columns if row[name] in ("1", "1.0"))
            rejected = row.get(REJECTED) in ("1", "1.0")
            reason = "SKINCON says not to consider it" if rejected else ""
            yield Record(
                place=table.place(number),
                image=files.find(row[IMAGE]),
                source="SKINCON",
                concepts=concepts,
                skin_type=types.get(row[IMAGE], ""),
                skip=reason,
            )


def _skin_types(files: SourceFiles) -> dict[str, str]:
    types = {
        f"{row['md5hash']}.jpg": skin_type(row["fitzpatrick_scale"])
        for table in files.all_tables("md5hash", "fitzpatrick_scale")
        for row in table.rows
    }
    return types | {
        row["DDI_file"]: DDI_TONES.get(row["skin_tone"], "")
        for table in files.all_tables("DDI_file", "skin_tone")
        for row in table.rows
    }


NAMED = re.compile(r"([a-z]+(?:-[a-z]+)*)-\d+", re.IGNORECASE)
"""File names that tell the disease, such as ``psoriasis-guttate-12`` (93 % of them)."""


def read_dermnet(files: SourceFiles) -> Iterator[Record]:
    """Yield a record for each photo in a folder that bears one of Dermnet's 23 names.

    Raises:
        DatasetError: If there is no such folder.
    """
    labels = read_labels("dermnet")
    folders = [
        folder
        for root in files.images
        for folder in sorted(path for path in [root, *root.rglob("*")] if path.is_dir())
        if folder.name in labels.rows
    ]
    if not folders:
        raise DatasetError(
            f"No folder of Dermnet, such as 'Acne and Rosacea Photos', is in "
            f"{', '.join(map(repr, map(str, files.images))) or 'no --images'}; check --images."
        )
    for folder in folders:
        words, disease_class = labels[folder.name]
        for file in image_files(folder):
            yield Record(
                place=f"{folder.name}/{file.name}",
                image=file,
                source="Dermnet",
                label=(_disease(file) if files.disease_names else "") or words,
                disease_class=disease_class,
                split=folder.parent.name if folder.parent.name in SPLITS else "",
            )


def _disease(file: Path) -> str:
    """Return the disease that a file's name tells; empty if it tells none."""
    match = NAMED.fullmatch(file.stem)
    return match[1].lower().replace("-", " ") if match else ""
