"""Public data sets: a row of data for each that is one table and a folder of photos.

SCIN, SKINCON and Dermnet have readers of their own. Labels are mapped to the paper's 15 classes by
``data/labels/<name>.csv``; those mappings are our reading of the paper's class names.
"""

import ast
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from skingpt4.common.errors import DatasetError
from skingpt4.convert.fingerprints import image_files
from skingpt4.convert.records import SPLITS, SourceRecord
from skingpt4.convert.sources.lookup import SourceFiles, read_labels, skin_type
from skingpt4.dermatology import CONCEPTS

# How a column says that something applies.
YES = ("1", "1.0")
# Words and class of a label that is in no table.
UNLABELLED = ("", "")

# DDI's groups of Fitzpatrick types.
DDI_TONES = {"12": "I-II", "34": "III-IV", "56": "V-VI"}

# ISIC 2017 has columns for melanoma and seborrheic keratosis; the rest are nevi.
NEITHER = "NV"


@dataclass(frozen=True)
class PublicSet:
    """In which columns a data set's table says what.

    Attributes:
        name: As the set calls itself.
        about: One line of help.
        columns: Those by which its table is known.
        image: Of the photo's name; of several, the first that is filled.
        label: Of the label; empty where each label has a column of its own that is 1.
        skin: Of the skin type.
        group: Of the patient or lesion.
        skin_types: How skin types are written, where not as numbers.
        wrong: A column and what it holds where the set itself calls a label wrong.
    """

    name: str
    about: str
    columns: tuple[str, ...]
    image: tuple[str, ...]
    label: str = ""
    skin: str = ""
    group: str = ""
    skin_types: Mapping[str, str] = field(default_factory=dict)
    wrong: tuple[str, str] = ("", "")


# By the name of the table of labels.
PUBLIC = {
    "fitzpatrick17k": PublicSet(
        "Fitzpatrick17k",
        "Fitzpatrick17k: fitzpatrick17k.csv",
        columns=("md5hash", "label", "fitzpatrick_scale"),
        image=("md5hash",),
        label="label",
        skin="fitzpatrick_scale",
        wrong=("qc", "3 Wrongly labelled"),  # two dermatologists' check of 504 photos
    ),
    "ham10000": PublicSet(
        "HAM10000",
        "HAM10000: HAM10000_metadata.csv",
        columns=("image_id", "dx", "lesion_id"),
        image=("image_id",),
        label="dx",
        group="lesion_id",
    ),
    "isic": PublicSet(
        "ISIC",
        "ISIC challenges 2017 to 2019: their ground truth CSV",
        columns=(),  # every year has other ones
        image=("image", "image_id", "image_name", "isic_id"),
        group="lesion_id",
    ),
    "pad_ufes_20": PublicSet(
        "PAD-UFES-20",
        "PAD-UFES-20: metadata.csv",
        columns=("img_id", "diagnostic", "patient_id"),
        image=("img_id",),
        label="diagnostic",
        skin="fitspatrick",  # the set's own spelling
        group="patient_id",
    ),
    "ddi": PublicSet(
        "DDI",
        "DDI: ddi_metadata.csv",
        columns=("DDI_file", "disease", "skin_tone"),
        image=("DDI_file",),
        label="disease",
        skin="skin_tone",
        skin_types=DDI_TONES,
    ),
}


def read_public(key: str, files: SourceFiles) -> Iterator[SourceRecord]:
    """Yield a record for each row of a data set of `PUBLIC`."""
    public = PUBLIC[key]
    table = files.table(*public.columns)
    labels = read_labels(key)
    column, mark = public.wrong
    for place, row in table.rows.items():
        label = row.get(public.label, "")
        # ISIC has a column for each diagnosis; several marked ones are no label.
        if not public.label:
            marked = [name for name, value in row.items() if value in YES]
            if not marked and "seborrheic_keratosis" in row:
                marked = [NEITHER]
            label = marked[0] if len(marked) == 1 else ""
        words, disease_class = labels.get(label, UNLABELLED)
        skip = "" if words else f"its label is not in labels/{key}.csv"
        if column and row.get(column) == mark:
            skip = "marked as wrongly labelled"
        written = row.get(public.skin, "")
        tones = public.skin_types
        yield SourceRecord(
            place=place,
            image=files.find(next((row[name] for name in public.image if row.get(name)), "")),
            source=public.name,
            label=words or label,
            disease_class=disease_class,
            skin_type=tones.get(written, "") if tones else skin_type(written),
            group=row.get(public.group, ""),
            skip=skip,
        )


WEIGHTS = "weighted_skin_condition_label"
SCIN_SKIN = "dermatologist_fitzpatrick_skin_type_label_"
# A case has up to three photos, and up to three dermatologists judged it.
SLOTS = ("1", "2", "3")


def read_scin(files: SourceFiles) -> Iterator[SourceRecord]:
    """Yield a record for each photo; the photos of a case are one group."""
    cases = files.table("case_id", "image_1_path")
    judged = {row["case_id"]: row for row in files.table("case_id", WEIGHTS).rows.values()}
    labels = read_labels("scin")
    # Two tables, joined by case: what a case's photos are called, and what was seen in them.
    for place, case in cases.rows.items():
        verdict = judged.get(case["case_id"], {})
        # A Python dictionary as text: what dermatologists saw, weighted by how sure they were.
        label, skip = "", ""
        try:
            weights: dict[str, float] = dict(ast.literal_eval(verdict.get(WEIGHTS) or "{}"))
            greatest = max(weights.values(), default=0)
            first = [name for name, weight in weights.items() if weight == greatest]
        except (ValueError, TypeError, SyntaxError):
            first, skip = [], f"its {WEIGHTS} cannot be read"
        if len(first) == 1:
            label = first[0]
        elif first:
            skip = "no label has the greatest weight alone"
        elif not skip:
            skip = "dermatologists gave it no label"
        words, disease_class = labels.get(label, UNLABELLED)
        if not skip and not words:
            skip = "its label is not in labels/scin.csv"
        # What most of them saw; the first of several equally frequent.
        seen = Counter(skin_type(verdict.get(SCIN_SKIN + slot, "")) for slot in SLOTS)
        del seen[""]
        for path in filter(None, (case.get(f"image_{slot}_path") for slot in SLOTS)):
            yield SourceRecord(
                place=place,
                image=files.find(path),
                source="SCIN",
                label=words or label,
                disease_class=disease_class,
                skin_type=next((name for name, _ in seen.most_common(1)), ""),
                group=case["case_id"],
                skip=skip,
            )


SKINCON_IMAGE = "ImageID"
SKINCON_REJECTED = "Do not consider this image"
CONCEPT_COLUMNS = tuple(concept.name for concept in CONCEPTS)


def read_skincon(files: SourceFiles) -> Iterator[SourceRecord]:
    """Yield a record for each photo; concepts keep the order of the table's columns."""
    files.table(SKINCON_IMAGE, *CONCEPT_COLUMNS)
    # SKINCON has no skin types; Fitzpatrick17k's and DDI's own tables have, if they are given too.
    types: dict[str, str] = {}
    for table in files.all_tables("md5hash", "fitzpatrick_scale"):
        for row in table.rows.values():
            types[f"{row['md5hash']}.jpg"] = skin_type(row["fitzpatrick_scale"])
    for table in files.all_tables("DDI_file", "skin_tone"):
        for row in table.rows.values():
            types[row["DDI_file"]] = DDI_TONES.get(row["skin_tone"], "")
    for table in files.all_tables(SKINCON_IMAGE, *CONCEPT_COLUMNS):
        columns = [name for name in table.columns if name in CONCEPT_COLUMNS]
        for place, row in table.rows.items():
            rejected = row.get(SKINCON_REJECTED) in YES
            yield SourceRecord(
                place=place,
                image=files.find(row[SKINCON_IMAGE]),
                source="SKINCON",
                concepts=tuple(name for name in columns if row[name] in YES),
                skin_type=types.get(row[SKINCON_IMAGE], ""),
                skip="SKINCON says not to consider it" if rejected else "",
            )


# File names that tell the disease, such as ``psoriasis-guttate-12`` (93 % of them).
DERMNET_FILE = re.compile(r"([a-z]+(?:-[a-z]+)*)-\d+", re.IGNORECASE)


def read_dermnet(files: SourceFiles) -> Iterator[SourceRecord]:
    """Yield a record for each photo in a folder that bears one of Dermnet's 23 names.

    Raises:
        DatasetError: If there is no such folder.
    """
    labels = read_labels("dermnet")
    # The 23 may lie in train and test, as the set on Kaggle has them, or side by side.
    folders = [
        folder
        for root in files.images
        for folder in sorted(path for path in [root, *root.rglob("*")] if path.is_dir())
        if folder.name in labels
    ]
    if not folders:
        raise DatasetError(
            f"No folder of Dermnet, such as 'Acne and Rosacea Photos', is in "
            f"{', '.join(map(repr, map(str, files.images))) or 'no --images'}; check --images."
        )
    for folder in folders:
        words, disease_class = labels[folder.name]
        for file in image_files(folder):
            match = DERMNET_FILE.fullmatch(file.stem) if files.disease_names else None
            yield SourceRecord(
                place=f"{folder.name}/{file.name}",
                image=file,
                source="Dermnet",
                label=match[1].lower().replace("-", " ") if match else words,
                disease_class=disease_class,
                split=folder.parent.name if folder.parent.name in SPLITS else "",
            )
