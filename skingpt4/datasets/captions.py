"""What the model should answer to a photo: a note as it is, or a label in a recorded template."""

import re
from dataclasses import dataclass

from skingpt4.common.errors import DatasetError
from skingpt4.datasets.records import Record

STEP_TEMPLATES = {
    1: "This is a skin disease image with following clinical concepts: {concepts}",
    2: "This could be a skin disease image of {label}.",
}
"""The answers of the paper's two steps (paper, as printed)."""

FIELDS = ("label", "class", "concepts")

IDENTIFYING = re.compile(
    r"""\S+@\S+\.\w+                                # an e-mail address
    | \b\d{1,4}[./-]\d{1,2}[./-]\d{1,4}\b         # a date
    | (?:\d[ -]?){7,}                              # a telephone, record or insurance number
    | \b(?:Mr|Mrs|Ms|Dr)\.?[ ][A-Z]\w+            # a person
    """,
    re.VERBOSE,
)
"""What may tell who a note is about. It finds the obvious only and replaces no reading."""


@dataclass(frozen=True)
class CaptionTemplate:
    """A sentence with ``{label}``, ``{class}`` or ``{concepts}`` in it."""

    text: str

    def __post_init__(self) -> None:
        """Refuse a template that would give every photo the same caption, or none.

        Raises:
            DatasetError: If it names no field or an unknown one.
        """
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

    def write(self, record: Record) -> str:
        """Return the record's own caption, else the template filled; empty if a field lacks."""
        if record.caption:
            return record.caption
        known = {
            "label": record.label,
            "class": record.disease_class,
            "concepts": ", ".join(record.concepts),
        }
        if any(f"{{{name}}}" in self.text and not value for name, value in known.items()):
            return ""
        return self.text.format(**known)


def may_identify(text: str) -> bool:
    """Tell whether a text holds something like a name, date, number or address of a person."""
    return IDENTIFYING.search(text) is not None
