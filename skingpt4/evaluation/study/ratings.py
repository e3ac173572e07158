"""The ratings of the reader study: one row for each rater, case, system and item, as CSV or XLSX.

Every check on ratings lives here, so that the page, the printed forms and foreign files are held
to the same rules.
"""

import csv
import unicodedata
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Literal, cast, get_args

from openpyxl import Workbook, load_workbook
from openpyxl.utils.exceptions import InvalidFileException

from skingpt4.common.errors import EvaluationError
from skingpt4.common.files import write_atomically
from skingpt4.dermatology import LAY_ITEMS, LIKERT, QUESTIONNAIRE, RATER_LEVEL_ITEMS

RaterKind = Literal["dermatologist", "lay"]

ITEMS: dict[int, str] = dict(enumerate(QUESTIONNAIRE, start=1))
"""The questionnaire's items by their number in the paper."""

COLUMNS = ("rater", "rater_kind", "case", "system", "item", "score", "seconds")

SUFFIXES = (".csv", ".xlsx")


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


def read_ratings(path: str | Path) -> list[Rating]:
    """Read and check ratings, sorted, from a CSV or the first sheet of an XLSX file.

    Columns: ``rater, rater_kind, case, system, item, score`` and, if measured, ``seconds``.

    Raises:
        RatingError: If the file cannot be read, lacks a column, or breaks a rule of
            :func:`check_ratings`.
    """
    file = Path(path)
    rows = _read_rows(file)
    header = [cell.strip().lower() for cell in next(rows, [])]
    missing = [name for name in COLUMNS[:-1] if name not in header]
    if missing:
        raise RatingError(
            f"The ratings file '{file}' lacks the column {missing[0]}; its first row must name "
            f"{', '.join(COLUMNS)}."
        )
    ratings = [
        _parse(header, cells, f"{file}, row {number}")
        for number, cells in enumerate(rows, start=2)
        if any(cell.strip() for cell in cells)
    ]
    check_ratings(ratings, str(file))
    return sorted(ratings)


def write_ratings(path: str | Path, ratings: Iterable[Rating]) -> None:
    """Write ratings, checked and sorted, as CSV or XLSX; same ratings, same bytes (CSV).

    Raises:
        RatingError: If the ratings break a rule, or the name ends otherwise.
    """
    file, rows = Path(path), sorted(ratings)
    check_ratings(rows, str(file))
    _check_suffix(file)
    write_atomically(
        file, lambda part: (_write_csv if file.suffix == ".csv" else _write_xlsx)(part, rows)
    )


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
    for rating in ratings:
        _check_rating(rating, place)
        key = (rating.rater, rating.case, rating.system, rating.item)
        if key in seen:
            raise RatingError(
                f"{place}: rater '{rating.rater}' rated item {rating.item} of {_target(rating)} "
                f"twice ({seen[key].score} and {rating.score}); keep one, or give two raters of "
                "one name different names."
            )
        seen[key] = rating
    _check_names(ratings, place)


def _check_rating(rating: Rating, place: str) -> None:
    if not rating.rater[:1].isalnum():
        raise RatingError(
            f"{place}: the rater's name '{rating.rater}' does not begin with a letter or digit; "
            "give every rater a name that does."
        )
    if rating.rater_kind not in get_args(RaterKind):
        raise RatingError(
            f"{place}: rater '{rating.rater}' is of the unknown kind '{rating.rater_kind}'; "
            f"write {' or '.join(get_args(RaterKind))}."
        )
    if rating.item not in ITEMS:
        raise RatingError(
            f"{place}: item {rating.item} of rater '{rating.rater}' does not exist; the "
            f"questionnaire has items 1 to {len(ITEMS)}."
        )
    if rating.score not in LIKERT:
        raise RatingError(
            f"{place}: the rating {rating.score} by '{rating.rater}' of item {rating.item}, "
            f"{_target(rating)}, is not on the scale; write 1 (strongly disagree) to 5 (strongly "
            "agree)."
        )
    _check_fit(rating, place)


def _check_fit(rating: Rating, place: str) -> None:
    """Check the parts of a rating against each other."""
    if rating.rater_kind == "lay" and rating.item not in LAY_ITEMS:
        raise RatingError(
            f"{place}: lay rater '{rating.rater}' rated item {rating.item}; lay raters are asked "
            "items 3 and 5 only."
        )
    if rating.item not in RATER_LEVEL_ITEMS and not (rating.case and rating.system):
        raise RatingError(
            f"{place}: item {rating.item} of rater '{rating.rater}' names no case or no system; "
            "only items 6 and 7 can stand without."
        )
    if not 0 <= rating.seconds < float("inf"):
        raise RatingError(
            f"{place}: rater '{rating.rater}' took {rating.seconds} seconds for item "
            f"{rating.item}; write 0 or more, or leave it empty."
        )


def _check_names(ratings: Iterable[Rating], place: str) -> None:
    """Refuse one name for two raters: of two kinds, or told apart by case or spaces only."""
    known: dict[str, tuple[str, str]] = {}
    for rating in ratings:
        plain = " ".join(unicodedata.normalize("NFKC", rating.rater).casefold().split())
        name, kind = known.setdefault(plain, (rating.rater, rating.rater_kind))
        if (name, kind) != (rating.rater, rating.rater_kind):
            raise RatingError(
                f"{place}: '{name}' ({kind}) and '{rating.rater}' ({rating.rater_kind}) are one "
                "name for two raters; give each rater a name and a kind of their own."
            )


def _target(rating: Rating) -> str:
    return f"case '{rating.case}', system '{rating.system}'" if rating.case else "the rater"


def _check_suffix(file: Path) -> None:
    if file.suffix.lower() not in SUFFIXES:
        raise RatingError(f"'{file}' is neither a .csv nor an .xlsx file; name one of these.")


def _read_rows(file: Path) -> Iterator[list[str]]:
    """Return the rows of a file as text, empty cells as empty text."""
    _check_suffix(file)
    if not file.is_file():
        raise RatingError(f"The ratings file '{file}' does not exist; check the path.")
    try:
        rows = _csv_rows(file) if file.suffix.lower() == ".csv" else _xlsx_rows(file)
    except (UnicodeDecodeError, csv.Error, zipfile.BadZipFile, KeyError, InvalidFileException):
        raise RatingError(
            f"The ratings file '{file}' cannot be read; save it anew as UTF-8 CSV or as XLSX."
        ) from None
    return iter(rows)


def _csv_rows(file: Path) -> list[list[str]]:
    with file.open(encoding="utf-8-sig", newline="") as opened:
        return list(csv.reader(opened))


def _xlsx_rows(file: Path) -> list[list[str]]:
    sheet = load_workbook(file, read_only=True, data_only=True).worksheets[0]
    return [
        ["" if cell is None else str(cell) for cell in row]
        for row in sheet.iter_rows(values_only=True)
    ]


def _parse(header: Sequence[str], cells: Sequence[str], place: str) -> Rating:
    # A row may be shorter than the header where its last cells are empty.
    row = dict(zip_longest(header, map(str.strip, cells), fillvalue=""))
    return Rating(
        rater=row["rater"],
        rater_kind=cast(RaterKind, row["rater_kind"].lower()),
        case=row["case"],
        system=row["system"],
        item=_whole(row["item"], "item", place),
        score=_whole(row["score"], "score", place),
        seconds=_number(row.get("seconds") or "0", "seconds", place),
    )


def _number(text: str, column: str, place: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise RatingError(
            f"{place}: '{text}' in the column {column} is no number; correct it."
        ) from None


def _whole(text: str, column: str, place: str) -> int:
    value = _number(text, column, place)
    # Spreadsheets store 4 as 4.0.
    if not value.is_integer():
        raise RatingError(f"{place}: '{text}' in the column {column} is no whole number.")
    return int(value)


def _write_csv(path: Path, ratings: Sequence[Rating]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(astuple(rating) for rating in ratings)


def _write_xlsx(path: Path, ratings: Sequence[Rating]) -> None:
    book = Workbook()
    sheet = book.worksheets[0]
    sheet.title = "ratings"
    sheet.append(COLUMNS)
    for rating in ratings:
        sheet.append(astuple(rating))
    book.save(path)


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
