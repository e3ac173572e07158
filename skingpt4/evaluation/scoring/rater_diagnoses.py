"""What the raters themselves saw: the diagnoses that they locked before they read an answer."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from skingpt4.common.errors import EvaluationError
from skingpt4.evaluation.cases import EvalCase
from skingpt4.evaluation.responses import Response
from skingpt4.evaluation.scoring.classes import Count, read_response
from skingpt4.labeler import label_text

DIAGNOSES_NAME = "diagnoses.csv"

OWN = "own"
"""The rater's place among the systems."""

COLUMNS = ("rater", "case", "diagnosis")


@dataclass(frozen=True)
class Diagnosis:
    """One rater's own words about one case."""

    rater: str
    case: str
    text: str


def read_diagnoses(path: Path, cases: Sequence[EvalCase]) -> list[Diagnosis]:
    """Read a file that ``evaluate.py rate`` wrote; none if there is no such file.

    Raises:
        EvaluationError: If a column is missing, or a case is not in the list.
    """
    if not path.exists():
        return []
    known = {case.id for case in cases}
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows, start=2):
        if any(row.get(column) is None for column in COLUMNS):
            raise EvaluationError(
                f"'{path}' lacks {', '.join(COLUMNS)} in line {number}; export it again with "
                "'evaluate.py rate --export'."
            )
        if row["case"] not in known:
            raise EvaluationError(
                f"'{path}' has a diagnosis of case '{row['case']}', which is not in the case list; "
                "use the diagnoses of this list."
            )
    return [Diagnosis(*(row[column] for column in COLUMNS)) for row in rows]


def score_diagnoses(
    cases: Sequence[EvalCase], diagnoses: Sequence[Diagnosis], responses: Sequence[Response]
) -> dict[str, dict[str, Count]]:
    """Count whose class each rater named, and each system on the same cases.

    Raters' words are read as answers are.

    Returns:
        By rater: ``{"own": (k, n), system: (k, n), …}``.
    """
    classes = {case.id: case.disease_class for case in cases}
    hits: dict[str, dict[str, bool]] = {}
    for row in responses:
        reading, _ = read_response(row)
        hits.setdefault(row.system, {})[row.case] = reading.top == classes[row.case]
    table: dict[str, dict[str, Count]] = {}
    for rater in dict.fromkeys(diagnosis.rater for diagnosis in diagnoses):
        own = {
            one.case: label_text(one.text).top == classes[one.case]
            for one in diagnoses
            if one.rater == rater
        }
        table[rater] = {name: _count(right, own) for name, right in {OWN: own, **hits}.items()}
    return table


def _count(right: Mapping[str, bool], asked: Mapping[str, bool]) -> Count:
    common = [right[case] for case in asked if case in right]
    return sum(common), len(common)
