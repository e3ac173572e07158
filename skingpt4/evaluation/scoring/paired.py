"""Systems against each other on the same cases: who names the class where the other does not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from skingpt4.evaluation.cases import EvalCase
from skingpt4.evaluation.responses import Response
from skingpt4.evaluation.scoring.classes import read_response
from skingpt4.evaluation.scoring.statistics import Interval, Z


@dataclass(frozen=True)
class PairedComparison:
    """One system against another, on the cases that both answered.

    Attributes:
        system: The first system.
        other: The system that it is compared with.
        n: Cases that both answered.
        only_system: Cases whose class the first names and the other does not.
        only_other: The reverse.
        difference: By how much the first one's share is larger.
        p: Two-sided, of the exact McNemar test.
    """

    system: str
    other: str
    n: int
    only_system: int
    only_other: int
    difference: Interval
    p: float


def compare_systems(
    cases: Sequence[EvalCase], responses: Sequence[Response]
) -> list[PairedComparison]:
    """Compare the system that stands first with each other one."""
    classes = {case.id: case.disease_class for case in cases}
    hits: dict[str, dict[str, bool]] = {}
    for row in responses:
        reading, _ = read_response(row)
        hits.setdefault(row.system, {})[row.case] = reading.top == classes[row.case]
    return [_compare(hits, next(iter(hits)), other) for other in list(hits)[1:]]


def _compare(hits: Mapping[str, Mapping[str, bool]], system: str, other: str) -> PairedComparison:
    common = [case for case in hits[system] if case in hits[other]]
    ours, theirs = ([hits[name][case] for case in common] for name in (system, other))
    only_ours, only_theirs = discordant(ours, theirs)
    return PairedComparison(
        system,
        other,
        len(common),
        only_ours,
        only_theirs,
        paired_difference(only_ours, only_theirs, len(common)),
        mcnemar(only_ours, only_theirs),
    )


def discordant(a: ArrayLike, b: ArrayLike) -> tuple[int, int]:
    """Count the pairs in which only the first is true, and only the second."""
    first, second = np.asarray(a, dtype=bool), np.asarray(b, dtype=bool)
    return int(np.sum(first & ~second)), int(np.sum(second & ~first))


def paired_difference(only_a: int, only_b: int, n: int) -> Interval:
    """Return the difference of two paired shares, with its 95 % interval.

    Wald's interval after adding one half to each of the four cells (Agresti and Min 2005, Stat
    Med 24:729), which holds its level in small samples; the estimate is the plain difference.

    Args:
        only_a: Pairs in which only the first is true.
        only_b: Pairs in which only the second is true.
        n: All pairs.
    """
    if not n:
        return Interval(float("nan"), float("nan"), float("nan"))
    a, b, total = only_a + 0.5, only_b + 0.5, n + 2
    centre = (a - b) / total
    half = Z * np.sqrt(a + b - (a - b) ** 2 / total) / total
    low, high = max(centre - half, -1.0), min(centre + half, 1.0)
    return Interval((only_a - only_b) / n, float(low), float(high))


def mcnemar(only_a: int, only_b: int) -> float:
    """Return the two-sided p of the exact McNemar test, from scipy's binomial test."""
    if not only_a + only_b:
        return 1.0
    return float(stats.binomtest(only_a, only_a + only_b).pvalue)
