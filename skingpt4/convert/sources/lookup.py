"""Finding and reading what a source consists of: tables by their columns, photos by their names."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import resources
from pathlib import Path

from skingpt4.common.errors import DatasetError
from skingpt4.common.files import is_file
from skingpt4.common.tables import read_table
from skingpt4.convert.fingerprints import image_files
from skingpt4.dermatology import CLASSES, FITZPATRICK_TYPES

# The paper's name for what belongs to none of its 15 classes.
OTHERS = "Others"

# What a label table or a table of one's own may say.
CLASS_NAMES = (*(entry.name for entry in CLASSES), OTHERS)
# Numbers as tables write them: pandas makes 3.0 of 3 where a column has gaps, SCIN writes FST3.
SKIN_TYPE = re.compile(r"(?:FST)?([1-6])(?:\.0)?")

# A row of a table, by column.
Cells = Mapping[str, str]


@dataclass(frozen=True)
class SourceTable:
    """A table of a source: its columns, and its rows by where they stand (``line 17 of a.csv``)."""

    columns: tuple[str, ...]
    rows: dict[str, Cells]


@dataclass(frozen=True)
class SourceFiles:
    """What a source is read from.

    Attributes:
        images: Folders of photos.
        tables: CSV or XLSX files.
        columns: Names that a table of one's own has for ours, such as ``{"image": "path"}``.
        disease_names: Take the disease from the names of Dermnet's files where they tell it.
    """

    images: Sequence[Path] = ()
    tables: Sequence[Path] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    disease_names: bool = False

    def table(self, *columns: str) -> SourceTable:
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

    def all_tables(self, *columns: str) -> list[SourceTable]:
        """Return every table that has the columns."""
        return [table for table in self._tables if set(columns) <= set(table.columns)]

    def find(self, name: str) -> Path | None:
        """Find a photo by its path in a folder, or by its name with or without its ending."""
        # Paths in a table are mostly relative to it, or to the folder of photos.
        roots = [*self.images, *(path.parent for path in self.tables)]
        for folder in roots:
            if name and is_file(folder / name):
                return folder / name
        # Else by name alone: tables keep paths of the machine they were made on, or no endings.
        base = Path(name).name
        return self._by_name.get(base) or self._by_name.get(Path(base).stem)

    @cached_property
    def _tables(self) -> list[SourceTable]:
        return [read_source_table(path) for path in self.tables]

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


def read_source_table(path: Path) -> SourceTable:
    """Read a CSV or XLSX file.

    Raises:
        DatasetError: If it is missing, cannot be read, or has no row.
    """
    table = read_table(path, error=DatasetError)
    if table.empty:
        raise DatasetError(f"The table '{path}' has no row below its header; check the file.")
    # SKINCON's first column, which pandas wrote as the rows' index, has no name.
    table = table.loc[:, table.columns != ""]
    rows = zip(table.index, table.to_dict("records"), strict=True)
    return SourceTable(
        tuple(table.columns), {f"line {line} of {path.name}": row for line, row in rows}
    )


def read_labels(name: str) -> dict[str, tuple[str, str]]:
    """Read how a data set's own labels are written in a caption, and the class of each.

    Args:
        name: Of one of our label tables, ``data/labels/<name>.csv``.

    Returns:
        ``(words, class)`` by label.

    Raises:
        DatasetError: If a class is none of the paper's.
    """
    place = resources.files("skingpt4") / "data" / "labels" / f"{name}.csv"
    with resources.as_file(place) as path:
        table = read_source_table(path)
    for line, row in table.rows.items():
        if row["class"] and row["class"] not in CLASS_NAMES:
            raise DatasetError(f"The class '{row['class']}' in {line} is unknown.")
    return {row["label"]: (row["name"], row["class"]) for row in table.rows.values()}


def skin_type(value: str) -> str:
    """Return ``3``, ``3.0`` or ``FST3`` as ``III``; empty for anything else."""
    match = SKIN_TYPE.fullmatch(value)
    return FITZPATRICK_TYPES[int(match[1]) - 1] if match else ""
