"""The reader study on paper: printable forms, the tables to fill in, and reading those back.

A form shows what the page shows, in the same order and under the same labels. Its table has one
row for each mark; rows without a score are left out when it is read.
"""

import csv
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, cast

from openpyxl import Workbook, load_workbook
from openpyxl.utils.exceptions import InvalidFileException
from openpyxl.worksheet.datavalidation import DataValidation

from skingpt4.common.files import write_atomically
from skingpt4.dermatology import LIKERT
from skingpt4.documents.html import fill_template
from skingpt4.documents.images import jpeg
from skingpt4.evaluation.cases import EvalCase
from skingpt4.evaluation.responses import Answer, Response
from skingpt4.evaluation.study.assignment import NO_ANSWER, Study, Task, items_for
from skingpt4.evaluation.study.ratings import ITEMS, RaterKind, Rating, RatingError, check_ratings

COLUMNS = ("form", "rater", "rater_kind", "case", "answer", "item", "score")

PHOTO_SIDE = 600

Row = dict[str, str]


@dataclass(frozen=True)
class FormAnswers:
    """One system's answers on a form."""

    label: str
    answers: Sequence[Answer]


@dataclass(frozen=True)
class FormCase:
    """One case on a form; `photo` is a JPEG file's bytes."""

    id: str
    photo: bytes
    shown: Sequence[FormAnswers]


@dataclass(frozen=True)
class Form:
    """One rater's form; its number settles cases, order and labels, as on the page."""

    number: int
    kind: RaterKind
    items: dict[int, str]
    cases: Sequence[FormCase]


def write_forms(
    folder: Path,
    study: Study,
    kinds: Sequence[RaterKind],
    cases: Sequence[EvalCase],
    responses: Sequence[Response],
) -> list[Path]:
    """Write a printable form and its tables (CSV and XLSX) for each rater.

    Args:
        folder: Where.
        study: The plan.
        kinds: The kind of each rater; their forms are numbered from 1.
        cases: The case list.
        responses: Answers of the study's systems.

    Returns:
        The files written.
    """
    photos = {case.id: jpeg(case.image, PHOTO_SIDE) for case in cases}
    answers = {row.key: row.answers for row in responses}
    written = []
    for number, kind in enumerate(kinds, start=1):
        tasks = study.tasks(number)
        shown = [_form_case(task, photos[task.case], answers) for task in tasks]
        form = Form(number, kind, {item: ITEMS[item] for item in items_for(kind)}, shown)
        written += _write_form(folder / f"form_{number}", form, list(_blank_rows(form)))
    return written


def _form_case(task: Task, photo: bytes, answers: dict[tuple[str, str], list[Answer]]) -> FormCase:
    shown = [FormAnswers(one.label, answers.get((task.case, one.system), [])) for one in task.shown]
    return FormCase(task.case, photo, shown)


def _blank_rows(form: Form) -> Iterator[tuple[Any, ...]]:
    for case in form.cases:
        for shown in case.shown:
            for item in form.items:
                yield form.number, "", form.kind, case.id, shown.label, item, ""


def _write_form(stem: Path, form: Form, rows: list[tuple[Any, ...]]) -> list[Path]:
    page = fill_template("form.html", form=form, scale=LIKERT, no_answer=NO_ANSWER)
    paths = [stem.with_suffix(suffix) for suffix in (".html", ".csv", ".xlsx")]
    write_atomically(paths[0], lambda file: cast(None, file.write_text(page, encoding="utf-8")))
    write_atomically(paths[1], lambda file: _write_csv(file, rows))
    write_atomically(paths[2], lambda file: _write_xlsx(file, rows))
    return paths


def _write_csv(path: Path, rows: Sequence[tuple[Any, ...]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])


def _write_xlsx(path: Path, rows: Sequence[tuple[Any, ...]]) -> None:
    """Write the table as a workbook whose score column takes 1 to 5 only."""
    book = Workbook()
    sheet = book.worksheets[0]
    sheet.title = "ratings"
    for row in (COLUMNS, *rows):
        sheet.append(row)
    scores = DataValidation(type="whole", formula1=str(min(LIKERT)), formula2=str(max(LIKERT)))
    sheet.add_data_validation(scores)
    column = sheet.cell(1, len(COLUMNS)).column_letter
    scores.add(f"{column}2:{column}{len(rows) + 1}")
    sheet.freeze_panes = "A2"
    book.save(path)


def read_form(path: Path, study: Study) -> list[Rating]:
    """Read a filled table and give each answer its system's name.

    Args:
        path: CSV or XLSX, as :func:`write_forms` made it, with scores and the rater's name.
        study: The plan that the form was made with.

    Raises:
        RatingError: If the file cannot be read, is no such table, does not fit the plan, or holds
            a rating that breaks a rule.
    """
    ratings = [
        _rating(row, study, f"'{path}', row {number}")
        for number, row in enumerate(_read_rows(path), start=2)
        if row["score"]
    ]
    if not ratings:
        raise RatingError(f"'{path}' has no score in it; fill in the column 'score'.")
    check_ratings(ratings, f"'{path}'")
    return sorted(ratings)


def _read_rows(path: Path) -> list[Row]:
    try:
        table = _xlsx_cells(path) if path.suffix.lower() == ".xlsx" else _csv_cells(path)
    except FileNotFoundError:
        raise RatingError(f"The form '{path}' does not exist; check the path.") from None
    except (UnicodeDecodeError, csv.Error, zipfile.BadZipFile, KeyError, InvalidFileException):
        raise RatingError(f"The form '{path}' cannot be read; save it as CSV or XLSX.") from None
    head, *rows = table or [[]]
    if not set(COLUMNS) <= set(head):
        raise RatingError(f"'{path}' is no filled form; its columns must be {', '.join(COLUMNS)}.")
    return [dict(zip_longest(head, row[: len(head)], fillvalue="")) for row in rows]


def _csv_cells(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return [[cell.strip() for cell in row] for row in csv.reader(file)]


def _xlsx_cells(path: Path) -> list[list[str]]:
    sheet = load_workbook(path, read_only=True, data_only=True).worksheets[0]
    return [
        ["" if cell is None else str(cell).strip() for cell in row]
        for row in sheet.iter_rows(values_only=True)
    ]


def _rating(row: Row, study: Study, place: str) -> Rating:
    number, item, score = (_whole(row[name], name, place) for name in ("form", "item", "score"))
    systems = {
        (task.case, shown.label): shown.system
        for task in study.tasks(number)
        for shown in task.shown
    }
    key = (row["case"], row["answer"])
    if key not in systems:
        raise RatingError(
            f"{place}: form {number} has no '{key[1]}' to case '{key[0]}'; use the options with "
            "which the forms were made."
        )
    kind = cast(RaterKind, row["rater_kind"])
    return Rating(row["rater"], kind, row["case"], systems[key], item, score)


def _whole(text: str, column: str, place: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise RatingError(f"{place}: '{text}' in column '{column}' is no whole number.") from None
