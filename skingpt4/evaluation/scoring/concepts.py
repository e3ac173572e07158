"""Counting concepts: precision, recall and F1 of those named, and their difference by system."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from skingpt4.evaluation.cases import EvalCase
from skingpt4.evaluation.responses import Response
from skingpt4.evaluation.scoring.statistics import Interval
from skingpt4.labeler import label_text

BOOTSTRAP_DRAWS = 2000

CaseCounts = tuple[int, int, int]
"""Of one case: right, named and shown concepts."""


@dataclass(frozen=True)
class ConceptScore:
    """How well concepts are named, micro-averaged; nan where there is nothing to count.

    Attributes:
        precision: Share of the concepts named that are shown.
        recall: Share of the concepts shown that are named.
        f1: Their harmonic mean.
        low: Lower end of its 95 % percentile interval over resampled cases.
        high: Upper end.
        counts: By case whose concepts are known.
    """

    precision: float
    recall: float
    f1: float
    low: float
    high: float
    counts: Mapping[str, CaseCounts] = field(repr=False, default_factory=dict)


def count_concepts(said: Iterable[tuple[EvalCase, frozenset[str]]]) -> ConceptScore:
    """Score what was named about each case; cases without known concepts are left out."""
    counts = {
        case.id: (len(named & set(case.concepts)), len(named), len(set(case.concepts)))
        for case, named in said
        if case.concepts
    }
    table = np.reshape(list(counts.values()), (-1, 3))
    right, named, shown = (int(n) for n in table.sum(axis=0))
    low, high = _percentiles(_resampled_f1(table)) if counts else (np.nan, np.nan)
    return ConceptScore(
        precision=_ratio(right, named),
        recall=_ratio(right, shown),
        f1=_ratio(2 * right, named + shown),
        low=low,
        high=high,
        counts=counts,
    )


def score_asked(
    cases: Sequence[EvalCase], responses: Sequence[Response]
) -> dict[str, ConceptScore]:
    """Score the answers to the question of step 1, by system."""
    by_id = {case.id: case for case in cases}
    said: dict[str, list[tuple[EvalCase, frozenset[str]]]] = {}
    for row in responses:
        concepts = {name for answer in row.answers for name in label_text(answer.text).concepts}
        said.setdefault(row.system, []).append((by_id[row.case], frozenset(concepts)))
    return {system: count_concepts(own) for system, own in said.items()}


def f1_difference(ours: ConceptScore, theirs: ConceptScore) -> Interval:
    """Return by how much the first F1 is larger, on the cases of both.

    The interval is the 95 % percentile interval over cases, each resampled for both at once.
    """
    common = [case for case in ours.counts if case in theirs.counts]
    if not common:
        return Interval(np.nan, np.nan, np.nan)
    first, second = (np.array([one.counts[case] for case in common]) for one in (ours, theirs))
    low, high = _percentiles(_resampled_f1(first) - _resampled_f1(second))
    return Interval(_f1(first.sum(axis=0)) - _f1(second.sum(axis=0)), low, high)


def _resampled_f1(counts: np.ndarray) -> np.ndarray:
    """Return F1 ``[2000]`` of cases drawn anew from counts ``[n, 3]``; always the same draws."""
    rng = np.random.default_rng(0)
    weights = rng.multinomial(len(counts), [1 / len(counts)] * len(counts), size=BOOTSTRAP_DRAWS)
    return np.array([_f1(sums) for sums in weights @ counts])


def _f1(sums: np.ndarray) -> float:
    right, named, shown = (int(n) for n in sums)
    return 2 * right / max(named + shown, 1)


def _percentiles(draws: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
