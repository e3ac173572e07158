"""Readers of public data sets and of one's own: each gives records.

A source is called with image folders and tables and knows its tables by their columns, so that
their order does not matter.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from skingpt4.convert.records import SourceRecord
from skingpt4.convert.sources.lookup import SourceFiles
from skingpt4.convert.sources.own import read_csv, read_folders
from skingpt4.convert.sources.public import (
    PUBLIC,
    read_dermnet,
    read_public,
    read_scin,
    read_skincon,
)


@dataclass(frozen=True)
class Source:
    """A row of the table of sources.

    Attributes:
        read: Gives the records.
        about: One line of help.
        step: The step that it is for: 1 concepts, 2 diagnosis.
        classified: Whether its labels are mapped to classes, so that one outside them is skipped.
    """

    read: Callable[[SourceFiles], Iterator[SourceRecord]]
    about: str
    step: int = 2
    classified: bool = True


SKINCON_ABOUT = "SKINCON's concepts of Fitzpatrick17k and DDI photos"

SOURCES: dict[str, Source] = {
    "skincon": Source(read_skincon, SKINCON_ABOUT, step=1, classified=False),
    "dermnet": Source(read_dermnet, "Dermnet's 23 folders"),
    "scin": Source(read_scin, "SCIN: scin_cases.csv and scin_labels.csv"),
    "csv": Source(read_csv, "a table of your own", classified=False),
    "folders": Source(read_folders, "a folder for each label", classified=False),
    # A partial, not a lambda: the key is bound row by row.
    **{key: Source(partial(read_public, key), row.about) for key, row in PUBLIC.items()},
}
