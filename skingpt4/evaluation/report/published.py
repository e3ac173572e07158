"""The figures that the paper and its preprint print, with their place; data only.

Paper: Nature Communications 15:5649, 2024. Preprint: arXiv 2304.10691. Percentages are kept as
printed, because how many decimals stand there is part of what they say.
"""

from dataclasses import dataclass
from typing import Literal

Source = Literal["paper", "preprint"]

AGREEING = "agree or strongly agree"


@dataclass(frozen=True)
class Published:
    """One printed percentage.

    Attributes:
        source: Where it is printed.
        place: Figure or part of the text.
        item: Number of the questionnaire item; None for other figures.
        what: What it is a percentage of.
        percent: The number as printed, without its sign.
    """

    source: Source
    place: str
    item: int | None
    what: str
    percent: str


def _questionnaire(source: Source, shares: dict[int, str]) -> tuple[Published, ...]:
    return tuple(
        Published(source, "Fig. 4a", item, AGREEING, percent) for item, percent in shares.items()
    )


PUBLISHED: tuple[Published, ...] = (
    *_questionnaire(
        "paper",
        {
            1: "80.63",
            2: "82.50",
            3: "85.63",
            4: "87.50",
            5: "83.70",
            6: "92.50",
            7: "77.50",
        },
    ),
    Published("paper", "Fig. 4a", 1, "larger part of item 1", "75.00"),
    Published("paper", "Fig. 4a", 1, "smaller part of item 1", "5.63"),
    Published("paper", "Fig. 4c", None, "consistency of 10 diagnoses of 45 images", "93.73"),
    *_questionnaire("preprint", {1: "78.76", 2: "80.63", 3: "83.13", 6: "91.88"}),
    Published("preprint", "Fig. 4a", 1, "larger part of item 1", "73.13"),
    Published("preprint", "Fig. 4a", 1, "smaller part of item 1", "5.63"),
    Published("preprint", "text", None, "overall usefulness and relevance", "93.75"),
)

DENOMINATORS: dict[int, str] = {
    150: "cases",
    160: "no count that the paper states",
    450: "45 images × 10 diagnoses",
    750: "150 cases × 5 dermatologists",
}
"""Counts that the percentages are held against: what follows from the stated design, and 160."""

RESPONSE_TIME = (
    "20 answers (seconds) against 20 online consultations (minutes), two-tailed Student's t-test, "
    "P < 0.00001 (paper, Fig. 4b)"
)


def published_share(source: Source, item: int) -> str | None:
    """Return the printed percentage that agrees with an item, or None if none is printed."""
    for entry in PUBLISHED:
        if (entry.source, entry.item, entry.what) == (source, item, AGREEING):
            return entry.percent
    return None
