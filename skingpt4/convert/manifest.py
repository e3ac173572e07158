"""What a converted set says of itself: a manifest of its photos, and a report on the conversion.

The manifest tells what each photo is, without a word on who it is of.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import pandas as pd

from skingpt4.common.errors import DatasetError
from skingpt4.common.files import write_text
from skingpt4.common.tables import read_table, write_table
from skingpt4.documents.document import Table

# Beside the splits, so that a split's folder holds what upstream's readers know and no more.
MANIFEST_NAME = "manifest.csv"
REPORT_NAME = "report.md"
SKIPPED_NAME = "skipped.csv"
REPORT_FILES = (REPORT_NAME, SKIPPED_NAME)

# Between concepts, none of which has one in its name.
SEPARATOR = ";"

# In the report, for what a source does not say.
UNKNOWN = "unknown"


@dataclass(frozen=True)
class ManifestRow:
    """One photo of a converted set.

    Attributes:
        image: Its id in ``filter_cap.json``, or its key in the shards.
        split: ``train``, ``val`` or ``test``.
        sha256: Of the file as written.
        source_sha256: Of the original file, by which its owner can find it here.
        dhash: 256-bit difference hash, 64 hexadecimal digits.
        source: The data set that it is from.
        label: The disease in words; empty if unknown.
        disease_class: One of the 15 classes, ``Others``, or empty.
        concepts: SKINCON's names, separated by semicolons.
        skin_type: Fitzpatrick type; empty if unknown.
        group: A running number for each patient or lesion.
    """

    image: str
    split: str
    sha256: str
    source_sha256: str
    dhash: str
    source: str
    label: str
    disease_class: str
    concepts: str
    skin_type: str
    group: str

    @property
    def concept_names(self) -> tuple[str, ...]:
        """The concepts one by one."""
        return tuple(filter(None, self.concepts.split(SEPARATOR)))


COLUMNS = tuple(field.name for field in fields(ManifestRow))


def find_manifest(storage: Path) -> Path | None:
    """Return the manifest of a set, which lies beside its splits or in the set itself."""
    places = (storage / MANIFEST_NAME, storage.parent / MANIFEST_NAME)
    return next((place for place in places if place.is_file()), None)


def read_manifest(path: Path) -> list[ManifestRow]:
    """Read a manifest.

    Raises:
        DatasetError: If it cannot be read or lacks a column.
    """
    try:
        table = read_table(path, COLUMNS, DatasetError)
    except DatasetError as error:
        raise DatasetError(
            f"The manifest '{path}' is not one that dataset/convert.py wrote ({error}); convert "
            "the set again, or remove the file."
        ) from None
    # Others may have added columns, or moved them.
    return [ManifestRow(*row) for row in table[list(COLUMNS)].itertuples(index=False)]


@dataclass(frozen=True)
class Skipped:
    """A record that was left out: where it stands, why, and which label or image it is about."""

    place: str
    reason: str
    about: str = ""


@dataclass(frozen=True)
class Conversion:
    """What a conversion did.

    Attributes:
        rows: The photos written.
        skipped: The records left out.
        texts: How many texts go with the photos.
        settings: What decided the content.
        suspects: Images with a text that may tell who it is about.
    """

    rows: Sequence[ManifestRow]
    skipped: Sequence[Skipped]
    texts: int
    settings: Mapping[str, str]
    suspects: Sequence[str] = ()


def write_report(folder: Path, conversion: Conversion) -> None:
    """Write ``report.md`` and ``skipped.csv``."""
    write_text(folder / REPORT_NAME, "\n".join(_report(conversion)) + "\n")
    # Original files may be named here, which is why it lies beside the splits and not in one.
    skipped = [asdict(skip) for skip in conversion.skipped]
    columns = [field.name for field in fields(Skipped)]
    write_table(folder / SKIPPED_NAME, pd.DataFrame(skipped, columns=columns))


def _report(conversion: Conversion) -> Iterator[str]:
    """Yield the report's lines: counts, settings, warnings, then a table for each kind of count."""
    rows, skipped = conversion.rows, conversion.skipped
    yield "# Conversion report\n"
    left_out = f"{len(skipped)} records left out ({SKIPPED_NAME} names each)"
    yield f"{len(rows)} photos with {conversion.texts} texts; {left_out}.\n"
    yield from (f"- {name}: {value}" for name, value in conversion.settings.items())
    # Numbers only: the report is shown on a terminal, and the texts may name a patient.
    if conversion.suspects:
        yield (
            f"\n**Look at these {len(conversion.suspects)} before anyone else does**: a text "
            "of theirs holds something like a name, date, number or address of a person: image "
            f"{', '.join(conversion.suspects)}."
        )
    tables = {
        "split": Counter(row.split for row in rows),
        "source": Counter(row.source for row in rows),
        "class": Counter(row.disease_class or UNKNOWN for row in rows),
        "label": Counter(row.label or UNKNOWN for row in rows),
        "concept": Counter(name for row in rows for name in row.concept_names),
        "skin type": Counter(row.skin_type or UNKNOWN for row in rows),
        "left out because": Counter(skip.reason for skip in skipped),
    }
    for name, counts in tables.items():
        # A set that says nothing of, say, skin types needs no table of one row "unknown".
        if set(counts) - {UNKNOWN}:
            what = "records" if name == "left out because" else "photos"
            cells = tuple((key, str(count)) for key, count in counts.most_common())
            yield "\n" + Table("", (name, what), cells).markdown().rstrip()
