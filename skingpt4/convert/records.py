"""What every source of a data set is read into: one record for each photo and what is known of it.

A record names its original file and, in ``group``, perhaps a patient; neither is ever written into
a converted set.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from skingpt4.common.errors import DatasetError

# Folders of a converted set; a source's own split has one of these names.
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class SourceRecord:
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


# The answers of the paper's two steps (paper, as printed).
STEP_TEMPLATES = {
    1: "This is a skin disease image with following clinical concepts: {concepts}",
    2: "This could be a skin disease image of {label}.",
}

# What a template may name in braces.
FIELDS = ("label", "class", "concepts")

# What may tell who a note is about. It finds the obvious only and replaces no reading.
IDENTIFYING = re.compile(
    r"""\S+@\S+\.\w+                                # an e-mail address
    | \b\d{1,4}[./-]\d{1,2}[./-]\d{1,4}\b         # a date
    | (?:\d[ -]?){7,}                              # a telephone, record or insurance number
    | \b(?:Mr|Mrs|Ms|Dr)\.?[ ][A-Z]\w+            # a person
    """,
    re.VERBOSE,
)


@dataclass(frozen=True)
class CaptionTemplate:
    """A sentence with ``{label}``, ``{class}`` or ``{concepts}`` in it."""

    text: str

    def __post_init__(self) -> None:
        """Refuse a template that would give every photo the same caption, or none.

        Raises:
            DatasetError: If it names no field or an unknown one.
        """
        # Filled with nothing: an unknown field fails, and a template without any stays as it is.
        try:
            written = self.text.format(**dict.fromkeys(FIELDS, ""))
        except (KeyError, IndexError, ValueError) as error:
            raise DatasetError(
                f"The caption template '{self.text}' is not usable ({error!r}); its fields are "
                f"{', '.join(f'{{{name}}}' for name in FIELDS)}."
            ) from None
        if written == self.text:
            raise DatasetError(
                f"The caption template '{self.text}' has no field; put {{label}}, {{class}} or "
                "{concepts} where the photo's own words go."
            )

    def write(self, record: SourceRecord) -> str:
        """Return the record's own caption, else the template filled; empty if a field lacks."""
        # A doctor's own words are never rewritten.
        if record.caption:
            return record.caption
        known = {
            "label": record.label,
            "class": record.disease_class,
            "concepts": ", ".join(record.concepts),
        }
        # A sentence with a hole in it would be learnt as it stands.
        if any(f"{{{name}}}" in self.text and not value for name, value in known.items()):
            return ""
        return self.text.format(**known)


def may_identify(text: str) -> bool:
    """Tell whether a text holds something like a name, date, number or address of a person."""
    return IDENTIFYING.search(text) is not None
