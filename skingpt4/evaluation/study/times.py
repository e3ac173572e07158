"""Response times: those of the systems, an entered comparison group, and the tests between them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from skingpt4.common.errors import EvaluationError
from skingpt4.common.tables import read_table, write_table
from skingpt4.evaluation.scoring.statistics import (
    Interval,
    Test,
    hodges_lehmann,
    mann_whitney,
    t_test,
)

if TYPE_CHECKING:
    from skingpt4.evaluation.responses import Response

COLUMNS = ("group", "seconds")

NOTE = (
    "This compares computing with human queueing: a system's time is what its machine computes "
    "for, a consultation's is mostly the wait for a person. It says nothing about the quality of "
    "either."
)

WHOLE_CONVERSATION = "A system's time is that of all four answers to a case, from photo to end."

# Seconds of each group or system by its name.
Times = dict[str, list[float]]


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
    """Read a table with the columns ``group, seconds``: one row for each timed answer.

    Raises:
        EvaluationError: If the file is missing, lacks a column, or has a time that is none.
    """
    table = read_table(path, COLUMNS, EvaluationError)
    times: Times = {}
    # The index, which comes first, is the line as a spreadsheet counts it.
    for line, group, text in table[list(COLUMNS)].itertuples(name=None):
        try:
            seconds = float(text)
        except ValueError:
            seconds = float("nan")
        # Not "seconds <= 0", which would let nan through.
        if not 0 < seconds < float("inf"):
            raise EvaluationError(
                f"{path}, row {line}: '{text}' is no time; write seconds above 0."
            )
        times.setdefault(group, []).append(seconds)
    return times


def write_times(path: Path, rows: Iterable[tuple[str, float]]) -> None:
    """Write rows of group and seconds, as :func:`read_times` reads them."""
    write_table(path, pd.DataFrame(list(rows), columns=list(COLUMNS)))


def response_times(responses: Iterable[Response]) -> Times:
    """Return each system's seconds for a case's whole conversation, where all were measured."""
    times: Times = {}
    for row in responses:
        parts = [answer.seconds for answer in row.answers]
        known = [part for part in parts if part is not None]
        # A sum over some of the answers would be taken for the whole conversation.
        if known and len(known) == len(parts) and not row.error:
            times.setdefault(row.system, []).append(sum(known))
    return times


def summarise_times(times: Mapping[str, Sequence[float]]) -> list[TimeSummary]:
    """Return count, quartiles, mean and standard deviation of each group."""
    summaries = []
    for group, seconds in times.items():
        # Interpolated linearly, as numpy does by default; other programs' quartiles differ a bit.
        lower, median, upper = (float(value) for value in np.percentile(seconds, [25, 50, 75]))
        # Of the sample, as papers give it; one time alone has none.
        deviation = float(np.std(seconds, ddof=1)) if len(seconds) > 1 else float("nan")
        mean = float(np.mean(seconds))
        summaries.append(TimeSummary(group, len(seconds), median, lower, upper, mean, deviation))
    return summaries


def compare_times(
    entered: Mapping[str, Sequence[float]], own: Mapping[str, Sequence[float]]
) -> list[TimeComparison]:
    """Compare every entered group with every system, by the paper's test and three others."""
    return [
        TimeComparison(
            group,
            system,
            # In seconds: no p says by how much a group takes longer.
            shift=hodges_lehmann(theirs, ours),
            # Times are skewed and their spreads differ, which the paper's own test assumes away.
            welch=t_test(theirs, ours, equal_var=False),
            student=t_test(theirs, ours, equal_var=True),
            mann_whitney=mann_whitney(theirs, ours),
        )
        for group, theirs in entered.items()
        for system, ours in own.items()
    ]
