"""What a run is held against: the items of reporting guidelines, and the figures in print.

The items are in ``data/guidelines.yaml``, the figures in ``data/published_figures.yaml``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from skingpt4.common.files import load_data


class Fact(Enum):
    """What a run may bring; the value says, in a sentence, what is wanting without it."""

    RUN = "always given"
    SCORES = "no automatic scores were made"
    SOURCES = "the case list does not say where its photos are from"
    SKIN_TYPES = "the case list gives no skin types"
    LEAK_AUDIT = "no training manifest was given to audit against"
    SYSTEMS = "only one system was run"
    CONSISTENCY = "no repeated diagnoses were drawn"
    RATINGS = "no human rated: the ratings are simulated or missing"
    AGREEMENT = "fewer than two humans rated"
    STUDY = "a kit cannot know it: the study's authors must write it"
    CLINIC = "nothing was used on patients here"
    DEVELOPMENT = "this run evaluates; the training run's own records answer it"


# What no run of this kit can bring.
OUT_OF_REACH = frozenset({Fact.STUDY, Fact.CLINIC, Fact.DEVELOPMENT})

# Titles of the report's sections, which the items name as the place of their answer.
METHODS, CASES, ACCURACY, RATED = "Methods", "Case pages", "Automatic scores", "Reader study"

SKIN, REPEATED, LIMITS, PUBLISHED = "By skin type", "Consistency", "Limits", "Published figures"

TIMES = "Response times"


@dataclass(frozen=True)
class Item:
    """One item of a guideline.

    Attributes:
        number: The guideline's own number.
        asks: What it asks for, in our words.
        needs: What a run must bring to answer it.
        where: The section of the report that then answers it; empty where no run can.
    """

    number: str
    asks: str
    needs: Fact
    where: str = ""

    def answer(self, facts: frozenset[Fact]) -> tuple[bool, str]:
        """Tell whether a run that brings these facts answers the item, and where or why not."""
        found = self.needs in facts
        return found, self.where if found else self.needs.value


# The items of each guideline, in order, by the guideline's name.
GUIDELINES: dict[str, tuple[Item, ...]] = {
    # A fact that is misspelt in the file fails here, when this is imported, not in a report.
    name: tuple(
        Item(number, asks, Fact[needs.upper()], *where) for number, asks, needs, *where in rows
    )
    for name, rows in load_data("guidelines.yaml").items()
}

# In the order of the tables' columns.
SOURCES = ("paper", "preprint")

AGREEING = "agree or strongly agree"


@dataclass(frozen=True)
class PublishedFigure:
    """One printed percentage.

    Attributes:
        source: ``paper`` or ``preprint``.
        place: Figure or part of the text.
        item: Number of the questionnaire item; None for other figures.
        what: What it is a percentage of.
        percent: The number as printed, without its sign.
    """

    source: str
    place: str
    item: int | None
    what: str
    percent: str


_PUBLISHED: dict[str, Any] = load_data("published_figures.yaml")

FIGURES = tuple(PublishedFigure(*row) for row in _PUBLISHED["figures"])

# Counts that the percentages are held against, and what each is a count of.
DENOMINATORS: dict[int, str] = _PUBLISHED["denominators"]

RESPONSE_TIME: str = _PUBLISHED["response_time"]


def published_shares(item: int) -> Iterator[str | None]:
    """Yield the share that agrees with an item as paper and preprint print it, None if not."""
    printed = {(f.source, f.item): f.percent for f in FIGURES if f.what == AGREEING}
    yield from (printed.get((source, item)) for source in SOURCES)
