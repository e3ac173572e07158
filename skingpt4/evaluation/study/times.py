"""Response times: those of the systems, an entered comparison group, and the tests between them."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skingpt4.common.errors import EvaluationError
from skingpt4.evaluation.responses import Response
from skingpt4.evaluation.scoring.statistics import (
    Interval,
    Test,
    hodges_lehmann,
    mann_whitney,
    student,
    welch,
)

COLUMNS = ("group", "seconds")

NOTE = (
    "This compares computing with human queueing: a system's time is what its machine computes "
    "for, a consultation's is mostly the wait for a person. It says nothing about the quality of "
    "either."
)

WHOLE_CONVERSATION = "A system's time is that of all four answers to a case, from photo to end."

Times = dict[str, list[float]]
"""Seconds of each group or system by its name."""


@dataclass(frozen=True)
class TimeSummary:
    """The times of one group, in seconds."""

    group: str
    n: int
    median: float
    lower_quartile: float
    upper_quartile: float
    mean: float
    deviation: float


@dataclass(frozen=True)
class TimeComparison:
    """One entered group against one system; `shift` is how many seconds longer the group takes."""

    group: str
    system: str
    shift: Interval
    welch: Test
    student: Test
    mann_whitney: Test


def read_times(path: str | Path) -> Times:
    """Read a CSV with the columns ``group, seconds``: one row for each timed answer.

    Raises:
        EvaluationError: If the file is missing, lacks a column, or has a time that is none.
    """
    file = Path(path)
    if not file.is_file():
        raise EvaluationError(f"The times file '{file}' does not exist; check the path.")
    with file.open(encoding="utf-8-sig", errors="replace", newline="") as opened:
        reader = csv.DictReader(opened)
        if not set(COLUMNS) <= set(reader.fieldnames or ()):
            raise EvaluationError(
                f"The times file '{file}' lacks a column; its first row must be "
                f"{','.join(COLUMNS)}."
            )
        times: Times = {}
        for number, row in enumerate(reader, start=2):
            seconds = _seconds(row["seconds"], f"{file}, row {number}")
            times.setdefault(row["group"], []).append(seconds)
    return times


def write_times(path: Path, rows: Iterable[tuple[str, float]]) -> None:
    """Write rows of group and seconds, as :func:`read_times` reads them."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows)


def _seconds(text: str | None, place: str) -> float:
    try:
        seconds = float(text or "")
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise EvaluationError(f"{place}: '{text}' is no time; write seconds above 0.")
    return seconds


def response_times(responses: Iterable[Response]) -> Times:
    """Return each system's seconds for a case's whole conversation, where all were measured."""
    times: Times = {}
    for row in responses:
        parts = [answer.seconds for answer in row.answers]
        known = [part for part in parts if part is not None]
        if known and len(known) == len(parts) and not row.error:
            times.setdefault(row.system, []).append(sum(known))
    return times


def summarise_times(times: Mapping[str, Sequence[float]]) -> list[TimeSummary]:
    """Return count, quartiles, mean and standard deviation of each group."""
    return [_summary(group, np.asarray(seconds)) for group, seconds in times.items()]


def _summary(group: str, seconds: np.ndarray) -> TimeSummary:
    lower, median, upper = (float(value) for value in np.percentile(seconds, [25, 50, 75]))
    deviation = float(np.std(seconds, ddof=1)) if len(seconds) > 1 else float("nan")
    return TimeSummary(group, len(seconds), median, lower, upper, float(seconds.mean()), deviation)


def compare_times(
    entered: Mapping[str, Sequence[float]], own: Mapping[str, Sequence[float]]
) -> list[TimeComparison]:
    """Compare every entered group with every system, by the paper's test and three others."""
    return [
        TimeComparison(
            group,
            system,
            hodges_lehmann(theirs, ours),
            welch(theirs, ours),
            student(theirs, ours),
            mann_whitney(theirs, ours),
        )
        for group, theirs in entered.items()
        for system, ours in own.items()
    ]
