"""The manifest of a converted set: what each photo is, without a word on who it is of."""

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from skingpt4.common.checkpoint import write_atomically
from skingpt4.common.errors import DatasetError

MANIFEST_NAME = "manifest.csv"
SEPARATOR = ";"


@dataclass(frozen=True)
class ManifestRow:
    """One photo of a converted set.

    Attributes:
        image: Its id in ``filter_cap.json``, or its key in the shards.
        split: ``train``, ``val`` or ``test``.
        sha256: Of the file as written.
        source_sha256: Of the original file, by which whoever has it can find it here.
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


def write_manifest(folder: Path, rows: Sequence[ManifestRow]) -> None:
    """Write ``manifest.csv`` into a folder."""

    def write(path: Path) -> None:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(asdict(row) for row in rows)

    write_atomically(folder / MANIFEST_NAME, write)


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
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            return [ManifestRow(**{name: row[name] for name in COLUMNS}) for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error, KeyError) as error:
        raise DatasetError(
            f"The manifest '{path}' is not one that dataset/convert.py wrote ({error}); convert "
            "the set again, or remove the file."
        ) from None
