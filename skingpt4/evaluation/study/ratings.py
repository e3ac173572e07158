"""The tables of the reader study: ratings as CSV or XLSX, diagnoses as CSV, and iMRMC's form.

Every check on ratings lives here, so that the page, the printed forms and foreign files are held
to the same rules.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast, get_args

import pandas as pd

from skingpt4.common.errors import EvaluationError
from skingpt4.common.files import write_text
from skingpt4.common.tables import read_table, write_table
from skingpt4.dermatology import LAY_ITEMS, LIKERT, QUESTIONNAIRE, RATER_LEVEL_ITEMS

if TYPE_CHECKING:
    from skingpt4.evaluation.cases import EvalCase

RaterKind = Literal["dermatologist", "lay"]

# The questionnaire's items by their number in the paper.
ITEMS: dict[int, str] = dict(enumerate(QUESTIONNAIRE, start=1))

COLUMNS = ("rater", "rater_kind", "case", "system", "item", "score", "seconds")

SUFFIXES = (".csv", ".xlsx")

DIAGNOSES_NAME = "diagnoses.csv"

DIAGNOSIS_COLUMNS = ("rater", "case", "diagnosis")


class RatingError(EvaluationError):
    """A rating, or a file of ratings, is not usable."""


@dataclass(frozen=True, order=True)
class Rating:
    """One click of one rater.

    Attributes:
        rater: The rater's name.
        rater_kind: ``dermatologist`` or ``lay``.
        case: The case's id. Empty only for items 6 and 7, which are about the rater: one answer
            for each rater, or for each rater and case where a study asks them again and again.
        system: The system whose answers were rated; may be empty for items 6 and 7.
        item: Number of the questionnaire item, 1 to 7.
        score: 5 strongly agree, 4 agree, 3 neutral, 2 disagree, 1 strongly disagree.
        seconds: Time to the rating; 0 where it was not measured (printed forms).
    """

    rater: str
    rater_kind: RaterKind
    case: str
    system: str
    item: int
    score: int
    seconds: float = 0.0


@dataclass(frozen=True)
class Diagnosis:
    """One rater's own words about one case, locked before they read an answer."""

    rater: str
    case: str
    text: str


def read_ratings(path: str | Path) -> list[Rating]:
    """Read and check ratings, sorted, from a CSV or the first sheet of an XLSX file.

    Columns: ``rater, rater_kind, case, system, item, score`` and, if measured, ``seconds``.

    Raises:
        RatingError: If the file cannot be read, lacks a column, or breaks a rule of
            :func:`check_ratings`.
    """
    file = Path(path)
    _check_suffix(file)
    # Names of columns in any case, as spreadsheets like to capitalise them.
    table = read_table(file, error=RatingError).rename(columns=str.lower)
    # All but the seconds, which printed forms do not have.
    missing = [name for name in COLUMNS[:-1] if name not in table]
    if missing:
        raise RatingError(
            f"The ratings file '{file}' lacks the column {missing[0]}; its first row must name "
            f"{', '.join(COLUMNS)}."
        )
    ratings = []
    for line, row in zip(table.index, table.to_dict("records"), strict=True):
        place = f"{file}, row {line}"
        rating = Rating(
            rater=row["rater"],
            rater_kind=cast(RaterKind, row["rater_kind"].lower()),
            case=row["case"],
            system=row["system"],
            item=int(parse_number(row["item"], "item", place, whole=True)),
            score=int(parse_number(row["score"], "score", place, whole=True)),
            seconds=parse_number(row.get("seconds") or "0", "seconds", place),
        )
        ratings.append(rating)
    check_ratings(ratings, str(file))
    return sorted(ratings)


def parse_number(text: str, column: str, place: str, whole: bool = False) -> float:
    """Return a cell's number; whole numbers may be written 4.0, as spreadsheets store 4.

    Raises:
        RatingError: If the text is no number, or no whole one; `place` says where it stands.
    """
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    # nan, the only value that differs from itself, is no number here.
    if value != value or (whole and not value.is_integer()):
        kind = "whole number" if whole else "number"
        raise RatingError(f"{place}: '{text}' in the column {column} is no {kind}; correct it.")
    return value


def write_ratings(path: str | Path, ratings: Iterable[Rating]) -> None:
    """Write ratings, checked and sorted, as CSV or XLSX; same ratings, same bytes (CSV).

    Raises:
        RatingError: If the ratings break a rule, or the name ends otherwise.
    """
    # Checked before anything is written, so that bad ratings overwrite nothing.
    file, rows = Path(path), sorted(ratings)
    check_ratings(rows, str(file))
    _check_suffix(file)
    write_table(file, pd.DataFrame(rows, columns=list(COLUMNS)))


def _check_suffix(file: Path) -> None:
    """Refuse a file of another kind, which would be read or written as CSV without a word."""
    if file.suffix.lower() not in SUFFIXES:
        raise RatingError(f"'{file}' is neither a .csv nor an .xlsx file; name one of these.")


def read_diagnoses(path: Path, cases: Sequence[EvalCase]) -> list[Diagnosis]:
    """Read the raters' own diagnoses; none if there is no such file.

    Raises:
        EvaluationError: If a column is missing, or a case is not in the list.
    """
    if not path.exists():
        return []
    known = {case.id for case in cases}
    table = read_table(path, DIAGNOSIS_COLUMNS, EvaluationError)
    # By name, since the file may have them in another order, and further ones.
    diagnoses = [
        Diagnosis(*row) for row in table[list(DIAGNOSIS_COLUMNS)].itertuples(index=False, name=None)
    ]
    for diagnosis in diagnoses:
        if diagnosis.case not in known:
            raise EvaluationError(
                f"'{path}' has a diagnosis of case '{diagnosis.case}', which is not in the case "
                "list; use the diagnoses of this list."
            )
    return diagnoses


def check_ratings(ratings: Sequence[Rating], place: str) -> None:
    """Check ratings one by one and against each other.

    Args:
        ratings: The ratings.
        place: Where they come from, for the message.

    Raises:
        RatingError: If a score, item or rater kind is unknown, an item does not belong to the
            kind of rater, a case is missing, one rating stands twice, or two raters share a name.
    """
    seen: dict[tuple[str, str, str, int], Rating] = {}
    known: dict[str, tuple[str, str]] = {}
    for rating in ratings:
        fault = _find_fault(rating)
        if fault:
            raise RatingError(f"{place}: {fault}")
        # One mark each: of two, no rule could say which is meant.
        key = (rating.rater, rating.case, rating.system, rating.item)
        if key in seen:
            what = f"case '{rating.case}', system '{rating.system}'" if rating.case else "the rater"
            raise RatingError(
                f"{place}: rater '{rating.rater}' rated item {rating.item} of {what} "
                f"twice ({seen[key].score} and {rating.score}); keep one, or give two raters of "
                "one name different names."
            )
        seen[key] = rating

        # One name for two raters: of two kinds, or told apart by case or spaces only.
        plain = " ".join(unicodedata.normalize("NFKC", rating.rater).casefold().split())
        name, kind = known.setdefault(plain, (rating.rater, rating.rater_kind))
        if (name, kind) != (rating.rater, rating.rater_kind):
            raise RatingError(
                f"{place}: '{name}' ({kind}) and '{rating.rater}' ({rating.rater_kind}) are one "
                "name for two raters; give each rater a name and a kind of their own."
            )


def _find_fault(rating: Rating) -> str:
    """Return what is wrong with a rating taken alone; empty if nothing is."""
    rater, item = rating.rater, rating.item
    # Also keeps out names that a spreadsheet would run as a formula.
    if not rater[:1].isalnum():
        return (
            f"the rater's name '{rater}' does not begin with a letter or digit; give every rater a "
            "name that does."
        )
    # The kind decides which items may follow, so it is checked before them.
    if rating.rater_kind not in get_args(RaterKind):
        return (
            f"rater '{rater}' is of the unknown kind '{rating.rater_kind}'; write "
            f"{' or '.join(get_args(RaterKind))}."
        )
    if item not in ITEMS:
        return (
            f"item {item} of rater '{rater}' does not exist; the questionnaire has items 1 to "
            f"{len(ITEMS)}."
        )
    if rating.score not in LIKERT:
        what = f"case '{rating.case}', system '{rating.system}'" if rating.case else "the rater"
        return (
            f"the rating {rating.score} by '{rater}' of item {item}, {what}, is not on "
            "the scale; write 1 (strongly disagree) to 5 (strongly agree)."
        )
    if rating.rater_kind == "lay" and item not in LAY_ITEMS:
        return f"lay rater '{rater}' rated item {item}; lay raters are asked items 3 and 5 only."
    if item not in RATER_LEVEL_ITEMS and not (rating.case and rating.system):
        return (
            f"item {item} of rater '{rater}' names no case or no system; only items 6 and 7 can "
            "stand without."
        )
    # Written so that nan fails as well.
    if not 0 <= rating.seconds < float("inf"):
        return (
            f"rater '{rater}' took {rating.seconds} seconds for item {item}; write 0 or more, or "
            "leave it empty."
        )
    return ""


# The reader's name that marks a row as a case's truth (iMRMC user manual, 4.1.1).
TRUTH_READER = "-1"

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
    # iMRMC analyses readings of cases; opinions that a rater holds whatever the case are none.
    rows = [rating for rating in sorted(ratings) if rating.item == item and rating.case]
    cases = sorted({rating.case for rating in rows})
    unknown = [case for case in cases if case not in truth]
    if unknown:
        raise RatingError(
            f"Case '{unknown[0]}' of the ratings is not in the case list; name the list that they "
            "are of."
        )
    positive = sum(truth[case] for case in cases)
    # An area under the ROC curve needs both; iMRMC itself stops without a word of why.
    if positive in (0, len(cases)):
        raise RatingError(
            f"iMRMC needs cases of both truths ({meaning}, or not); the {len(cases)} rated cases "
            f"for item {item} have {positive} that are."
        )
    readings = [(one.rater, one.case, one.system, one.score) for one in rows]
    # The truth of each case stands first, as a row of no reader and no modality.
    table = [(TRUTH_READER, case, "0", int(truth[case])) for case in cases] + readings
    lines = [
        f"Ratings of item {item}: {ITEMS[item]}",
        f"Truth 1: {meaning}",
        # How many readers, negative and positive cases, and modalities follow.
        f"NR: {len({rating.rater for rating in rows})}",
        f"N0: {len(cases) - positive}",
        f"N1: {positive}",
        f"NM: {len({rating.system for rating in rows})}",
        START,
        # A comma inside a name would start another field, and the format has no quotes.
        *(",".join(str(cell).replace(",", ";") for cell in row) for row in table),
    ]
    write_text(path, "\n".join(lines) + "\n")
