"""Finding and reading what a source consists of: tables by their columns, photos by their names."""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import resources
from pathlib import Path

from skingpt4.common.errors import DatasetError
from skingpt4.convert.fingerprints import image_files, is_file
from skingpt4.dermatology import CLASSES, FITZPATRICK_TYPES

OTHERS = "Others"
"""The paper's name for what belongs to none of its 15 classes."""

CLASS_NAMES = (*(entry.name for entry in CLASSES), OTHERS)

SKIN_TYPE = re.compile(r"(?:FST)?([1-6])(?:\.0)?")

Row = dict[str, str]


@dataclass(frozen=True)
class Table:
    """A CSV file: its rows, and the line on which each stands."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    def place(self, number: int) -> str:
        """Name a row, counted from 0, for people."""
        return f"line {number + 2} of {self.path.name}"


@dataclass(frozen=True)
class SourceFiles:
    """What a source is read from.

    Attributes:
        images: Folders of photos.
        tables: CSV files.
        columns: Names that a table of one's own has for ours, such as ``{"image": "path"}``.
        disease_names: Take the disease from the names of Dermnet's files where they tell it.
    """

    images: Sequence[Path] = ()
    tables: Sequence[Path] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    disease_names: bool = False

    def table(self, *columns: str) -> Table:
        """Return the first table that has the columns.

        Raises:
            DatasetError: If none has them.
        """
        found = self.all_tables(*columns)
        if not found:
            raise DatasetError(
                f"None of the {len(self.tables)} tables given has the columns "
                f"{', '.join(columns) or 'of this data set'}; name the right file with --table."
            )
        return found[0]

    def all_tables(self, *columns: str) -> list[Table]:
        """Return every table that has the columns."""
        return [table for table in self._read if set(columns) <= set(table.columns)]

    def find(self, name: str) -> Path | None:
        """Find a photo by its path in a folder, or by its name with or without its ending."""
        for folder in self._roots:
            if name and is_file(folder / name):
                return folder / name
        base = Path(name).name
        return self._by_name.get(base) or self._by_name.get(Path(base).stem)

    @cached_property
    def _read(self) -> list[Table]:
        return [read_table(path) for path in self.tables]

    @cached_property
    def _roots(self) -> list[Path]:
        return [*self.images, *(path.parent for path in self.tables)]

    @cached_property
    def _by_name(self) -> dict[str, Path]:
        """Map names, and names without ending, to files; the first folder that has one wins."""
        found: dict[str, Path] = {}
        for folder in self.images:
            if not folder.is_dir():
                raise DatasetError(f"The image folder '{folder}' does not exist; check --images.")
            for file in image_files(folder):
                found.setdefault(file.name, file)
                found.setdefault(file.stem, file)
        return found


def read_table(path: Path) -> Table:
    """Read a CSV file; blanks around values are dropped.

    Raises:
        DatasetError: If it is missing, not UTF-8, or empty.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = tuple((name or "").strip() for name in reader.fieldnames or ())
            reader.fieldnames = list(columns)
            rows = tuple({name: (row[name] or "").strip() for name in columns} for row in reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"The table '{path}' is no readable UTF-8 CSV ({error}).") from None
    if not rows:
        raise DatasetError(f"The table '{path}' has no row below its header; check the file.")
    return Table(path, columns, rows)


@dataclass(frozen=True)
class Labels:
    """A data set's own labels: how each is written in a caption, and the class it belongs to."""

    name: str
    rows: Mapping[str, tuple[str, str]]

    def __getitem__(self, label: str) -> tuple[str, str]:
        """Return ``(words, class)``; ``("", "")`` for a label that is not in the table."""
        return self.rows.get(label, ("", ""))


def read_labels(name: str) -> Labels:
    """Read one of our label tables, ``labels/<name>.csv`` in this package.

    Raises:
        DatasetError: If a class is none of the paper's.
    """
    place = resources.files("skingpt4") / "data" / "labels" / f"{name}.csv"
    with resources.as_file(place) as path:
        table = read_table(path)
    for number, row in enumerate(table.rows):
        if row["class"] and row["class"] not in CLASS_NAMES:
            raise DatasetError(f"The class '{row['class']}' in {table.place(number)} is unknown.")
    return Labels(name, {row["label"]: (row["name"], row["class"]) for row in table.rows})


def skin_type(value: str) -> str:
    """Return ``3``, ``3.0`` or ``FST3`` as ``III``; empty for anything else."""
    match = SKIN_TYPE.fullmatch(value)
    return FITZPATRICK_TYPES[int(match[1]) - 1] if match else ""
