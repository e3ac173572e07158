"""What every source of a data set is read into: one record for each photo and what is known of it.

A record names its original file and, in ``group``, perhaps a patient; neither is ever written into
a converted set.
"""

from dataclasses import dataclass
from pathlib import Path

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Record:
    """One photo with one text, as a source has it.

    Attributes:
        place: Where the record stands, for the list of what was skipped: ``line 17 of a.csv``.
        image: The photo's file; None if it was not found.
        source: The data set's name.
        label: The disease in words, as a caption writes it.
        disease_class: One of the 15 classes, ``Others``, or empty.
        concepts: SKINCON's names of what the photo shows.
        caption: A text of its own, such as a doctor's note, which is kept as it is.
        question: What the text answers; empty where a training prompt asks.
        skin_type: Fitzpatrick type, ``I`` to ``VI`` or a range such as ``I-II``; empty if unknown.
        group: Photos of one group (a patient, a lesion) never come into different splits.
        split: ``train``, ``val`` or ``test`` where the source has splits of its own.
        skip: Why the record cannot be used; empty if it can.
    """

    place: str
    image: Path | None
    source: str
    label: str = ""
    disease_class: str = ""
    concepts: tuple[str, ...] = ()
    caption: str = ""
    question: str = ""
    skin_type: str = ""
    group: str = ""
    split: str = ""
    skip: str = ""
