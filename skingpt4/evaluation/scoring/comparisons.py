"""Systems and raters against each other on the same cases: who names the class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from skingpt4.evaluation.scoring.accuracy import Count, label_answer, read_response
from skingpt4.evaluation.scoring.statistics import Interval, mcnemar, paired_difference

if TYPE_CHECKING:
    from skingpt4.evaluation.cases import EvalCase
    from skingpt4.evaluation.responses import Response
    from skingpt4.evaluation.study.ratings import Diagnosis

# The rater's place among the systems.
OWN = "own"


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
    hits = _hits_by_system(cases, responses)
    compared = []
    for other in list(hits)[1:]:
        system = next(iter(hits))
        common = [case for case in hits[system] if case in hits[other]]
        # Only pairs on which the two differ tell them apart.
        pairs = [(hits[system][case], hits[other][case]) for case in common]
        only = pairs.count((True, False)), pairs.count((False, True))
        difference = paired_difference(*only, len(common))
        compared.append(
            PairedComparison(system, other, len(common), *only, difference, mcnemar(*only))
        )
    return compared


def score_diagnoses(
    cases: Sequence[EvalCase], diagnoses: Sequence[Diagnosis], responses: Sequence[Response]
) -> dict[str, dict[str, Count]]:
    """Count whose class each rater named, and each system on the same cases.

    Raters' words are read as answers are.

    Returns:
        By rater: ``{"own": (k, n), system: (k, n), …}``.
    """
    classes = {case.id: case.disease_class for case in cases}
    systems = _hits_by_system(cases, responses)
    table: dict[str, dict[str, Count]] = {}
    for rater in dict.fromkeys(diagnosis.rater for diagnosis in diagnoses):
        # Each rater against every system on the rater's own cases: raters may have seen different
        # ones, and a system is not to win by the cases that a rater never saw.
        own = {
            one.case: label_answer(one.text).top == classes[one.case]
            for one in diagnoses
            if one.rater == rater
        }
        table[rater] = {}
        for name, hits in {OWN: own, **systems}.items():
            common = [hits[case] for case in own if case in hits]
            table[rater][name] = (sum(common), len(common))
    return table


def _hits_by_system(
    cases: Sequence[EvalCase], responses: Sequence[Response]
) -> dict[str, dict[str, bool]]:
    """Tell by system, then by case, whether the first answer settles on the right class."""
    classes = {case.id: case.disease_class for case in cases}
    hits: dict[str, dict[str, bool]] = {}
    for row in responses:
        diagnosis, _ = read_response(row)
        hits.setdefault(row.system, {})[row.case] = diagnosis.top == classes[row.case]
    return hits
