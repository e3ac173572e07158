"""Public data sets that are one table and a folder of photos: each is a row of data.

Their labels are mapped to the paper's 15 classes by ``labels/<name>.csv``; those mappings are our
reading of the paper's class names.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from skingpt4.datasets.records import Record
from skingpt4.datasets.sources.files import Row, SourceFiles, read_labels, skin_type

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
