"""The reader study on paper: printable forms, the tables to fill in, and reading those back.

A form shows what the page shows, in the same order and under the same labels. Its table has one
row for each mark; rows without a score are left out when it is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pandas as pd
from openpyxl.worksheet.datavalidation import DataValidation

from skingpt4.common.files import write_atomically, write_text
from skingpt4.common.tables import read_table, write_table
from skingpt4.dermatology import LIKERT
from skingpt4.documents.document import fill_template
from skingpt4.documents.images import jpeg
from skingpt4.evaluation.study.assignment import NO_ANSWER, Study, items_for
from skingpt4.evaluation.study.ratings import (
    ITEMS,
    RaterKind,
    Rating,
    RatingError,
    check_ratings,
    parse_number,
)

if TYPE_CHECKING:
    from skingpt4.evaluation.cases import EvalCase
    from skingpt4.evaluation.responses import Answer, Response

COLUMNS = ("form", "rater", "rater_kind", "case", "answer", "item", "score")

# In pixels, of the longer side: half an A4 page at 150 dots an inch.
PHOTO_SIDE = 600


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
    # Encoded once, since every rater's form shows the same photos.
    photos = {case.id: jpeg(case.image, PHOTO_SIDE) for case in cases}
    answers = {row.key: row.answers for row in responses}
    written = []
    for number, kind in enumerate(kinds, start=1):
        # Where a system gave no answers the list is empty, and the form says so.
        shown = [
            FormCase(
                task.case,
                photos[task.case],
                [
                    FormAnswers(one.label, answers.get((task.case, one.system), []))
                    for one in task.shown
                ],
            )
            for task in study.tasks(number)
        ]
        form = Form(number, kind, {item: ITEMS[item] for item in items_for(kind)}, shown)
        page = fill_template("form.html", form=form, scale=LIKERT, no_answer=NO_ANSWER)
        # One row for each mark to make, in the form's own order, so that it is typed off downwards.
        # The rater's name and the score are left for them to fill in.
        blank = [
            (number, "", kind, case.id, own.label, item, "")
            for case in form.cases
            for own in case.shown
            for item in form.items
        ]
        table = pd.DataFrame(blank, columns=list(COLUMNS))
        stem = folder / f"form_{number}"
        html, text, book = (stem.with_suffix(suffix) for suffix in (".html", ".csv", ".xlsx"))
        write_text(html, page)
        write_table(text, table)
        write_atomically(book, partial(_write_workbook, table=table))
        written += [html, text, book]
    return written


def _write_workbook(path: Path, table: pd.DataFrame) -> None:
    """Write a form's table as a workbook whose score column takes 1 to 5 only."""
    # The engine is named because the path, a temporary one, does not end as a workbook's does.
    with pd.ExcelWriter(path, engine="openpyxl") as writer:
        table.to_excel(writer, sheet_name="ratings", index=False, freeze_panes=(1, 0))
        sheet = writer.sheets["ratings"]
        # Refused while it is typed; read_form() checks again, since cells can be pasted over.
        scores = DataValidation(type="whole", formula1=str(min(LIKERT)), formula2=str(max(LIKERT)))
        sheet.add_data_validation(scores)
        column = sheet.cell(1, len(COLUMNS)).column_letter
        scores.add(f"{column}2:{column}{len(table) + 1}")


def read_form(path: Path, study: Study) -> list[Rating]:
    """Read a filled table and give each answer its system's name.

    Args:
        path: CSV or XLSX, as :func:`write_forms` made it, with scores and the rater's name.
        study: The plan that the form was made with.

    Raises:
        RatingError: If the file cannot be read, is no such table, does not fit the plan, or holds
            a rating that breaks a rule.
    """
    table = read_table(path, COLUMNS, RatingError)
    ratings = []
    for line, row in zip(table.index, table.to_dict("records"), strict=True):
        # A mark left out on paper stays a missing rating; it is no score of 0.
        if not row["score"]:
            continue
        place = f"'{path}', row {line}"
        number, item, score = (
            int(parse_number(row[name], name, place, whole=True))
            for name in ("form", "item", "score")
        )
        # The form's number is the rater's, which settles what each letter stands for.
        systems = {
            (task.case, shown.label): shown.system
            for task in study.tasks(number)
            for shown in task.shown
        }
        key = (row["case"], row["answer"])
        if key not in systems:
            raise RatingError(
                f"{place}: form {number} has no '{key[1]}' to case '{key[0]}'; use the options "
                "with which the forms were made."
            )
        kind = cast(RaterKind, row["rater_kind"])  # check_ratings() refuses unknown kinds
        ratings.append(Rating(row["rater"], kind, row["case"], systems[key], item, score))
    if not ratings:
        raise RatingError(f"'{path}' has no score in it; fill in the column 'score'.")
    # The same rules as on the page: paper gives no way round them.
    check_ratings(ratings, f"'{path}'")
    return sorted(ratings)
