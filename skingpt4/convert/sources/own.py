"""Data of one's own: a table with a row for each photo, or a folder of photos for each label."""

from collections.abc import Iterator

from skingpt4.common.errors import DatasetError
from skingpt4.convert.fingerprints import image_files
from skingpt4.convert.records import SPLITS, SourceRecord
from skingpt4.convert.sources.lookup import CLASS_NAMES, SourceFiles, skin_type
from skingpt4.dermatology import CONCEPTS, FITZPATRICK_TYPES
from skingpt4.labeler import label_text

# What a table may hold; ``image`` it must. Concepts are separated by semicolons.
COLUMNS = (
    "image",
    "caption",
    "question",
    "label",
    "class",
    "concepts",
    "fitzpatrick",
    "patient",
    "split",
    "source",
)

# What a manifest says of photos whose source is not named.
OWN = "own"
CONCEPT_NAMES = tuple(concept.name for concept in CONCEPTS)


def read_csv(files: SourceFiles) -> Iterator[SourceRecord]:
    """Yield a record for each row of the tables.

    Raises:
        DatasetError: If ``columns`` names one of ours that does not exist.
    """
    unknown = [name for name in files.columns if name not in COLUMNS]
    if unknown:
        raise DatasetError(
            f"--columns names '{unknown[0]}', which is none of ours: {', '.join(COLUMNS)}."
        )
    theirs = {name: files.columns.get(name, name) for name in COLUMNS}
    files.table(theirs["image"])  # raises where no table has photos
    for table in files.all_tables(theirs["image"]):
        for place, cells in table.rows.items():
            row = {name: cells.get(column, "") for name, column in theirs.items()}
            concepts = tuple(part.strip() for part in row["concepts"].split(";") if part.strip())
            strange = [name for name in concepts if name not in CONCEPT_NAMES]
            # A row at fault is a record with a reason: the report lists all of them at once.
            skip = ""
            if strange:
                skip = f"its concept '{', '.join(strange)}' is none of SKINCON's 48"
            elif row["class"] and row["class"] not in CLASS_NAMES:
                skip = f"its class '{row['class']}' is none of the 15"
            elif row["split"] and row["split"] not in SPLITS:
                skip = f"its split '{row['split']}' is none of {', '.join(SPLITS)}"
            written = row["fitzpatrick"]
            yield SourceRecord(
                place=place,
                image=files.find(row["image"]),
                source=row["source"] or OWN,
                label=row["label"],
                disease_class=row["class"] or _class_of(row["label"]),
                concepts=concepts,
                caption=row["caption"],
                question=row["question"],
                skin_type=written if written in FITZPATRICK_TYPES else skin_type(written),
                group=row["patient"],
                split=row["split"],
                skip=skip,
            )


def _class_of(label: str) -> str:
    """Return the class that a label names; empty if it names none or several."""
    if label in CLASS_NAMES:
        return label
    # "Plaque psoriasis" names one; "eczema or psoriasis" names two, and so none.
    named = label_text(label).mentioned
    return named[0] if len(named) == 1 else ""


def read_folders(files: SourceFiles) -> Iterator[SourceRecord]:
    """Yield a record for each photo; its folder's name, below ``--images``, is its label.

    Folders may lie below ``train``, ``val`` and ``test``.

    Raises:
        DatasetError: If there is no photo in a folder of its own.
    """
    found = False
    for root in files.images:
        for file in image_files(root):
            parents = file.relative_to(root).parent.parts
            split = parents[0] if parents and parents[0] in SPLITS else ""
            names = parents[1:] if split else parents
            # A photo that lies beside the folders has no label.
            if not names:
                continue
            found = True
            label = names[0].replace("_", " ").strip()
            yield SourceRecord(
                place=str(file.relative_to(root)),
                image=file,
                source=OWN,
                label=label,
                disease_class=_class_of(label),
                split=split,
            )
    if not found:
        raise DatasetError(
            "There is no photo in a folder of its own below --images; a folder's name is the label."
        )
