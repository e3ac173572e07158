"""Ratings as an input file of iMRMC, the FDA's program for multi-reader multi-case studies."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from skingpt4.common.checkpoint import write_atomically
from skingpt4.evaluation.ratings import ITEMS, Rating, RatingError

TRUTH_READER = "-1"
"""The reader's name that marks a row as a case's truth (iMRMC user manual, 4.1.1)."""

START = "BEGIN DATA:"


def write_imrmc(
    path: str | Path, ratings: Sequence[Rating], truth: Mapping[str, bool], item: int, meaning: str
) -> None:
    """Write the ratings of one item: readers are raters, modalities are systems.

    The form is that of the iMRMC user manual, sections 4.1.1 and 4.1.3: sizes, ``BEGIN DATA:``,
    then rows of reader, case, modality and score without spaces around the commas.

    Args:
        path: The file to write.
        ratings: Ratings; those of other items and without a case are left out.
        truth: For each case whether it is positive.
        item: The item whose scores are the readings.
        meaning: What a positive case is, for the file's head.

    Raises:
        RatingError: If no rating of the item is there, a case has no truth, or all cases have
            the same.
    """
    rows = [rating for rating in sorted(ratings) if rating.item == item and rating.case]
    cases = sorted({rating.case for rating in rows})
    unknown = [case for case in cases if case not in truth]
    if unknown:
        raise RatingError(
            f"Case '{unknown[0]}' of the ratings is not in the case list; name the list that they "
            "are of."
        )
    positive = sum(truth[case] for case in cases)
    if positive in (0, len(cases)):
        raise RatingError(
            f"iMRMC needs cases of both truths ({meaning}, or not); the {len(cases)} rated cases "
            f"for item {item} have {positive} that are."
        )
    lines = [
        f"Ratings of item {item}: {ITEMS[item]}",
        f"Truth 1: {meaning}",
        f"NR: {len({rating.rater for rating in rows})}",
        f"N0: {len(cases) - positive}",
        f"N1: {positive}",
        f"NM: {len({rating.system for rating in rows})}",
        START,
        *(_row(TRUTH_READER, case, "0", int(truth[case])) for case in cases),
        *(_row(rating.rater, rating.case, rating.system, rating.score) for rating in rows),
    ]
    write_atomically(path, lambda part: _write(part, "\n".join(lines) + "\n"))


def _row(reader: str, case: str, modality: str, score: int) -> str:
    """Return one row; a comma inside a name would start another field."""
    return ",".join([*(name.replace(",", ";") for name in (reader, case, modality)), str(score)])


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
