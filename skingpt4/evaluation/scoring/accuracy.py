"""How right each system's answers are: the class named, the concepts, malignant disease missed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from skingpt4.dermatology import CLASS_NAMES
from skingpt4.evaluation.scoring.statistics import BOOTSTRAP_DRAWS, Interval
from skingpt4.labeler import MALIGNANT, MALIGNANT_TERMS, Labels, label_text

if TYPE_CHECKING:
    from skingpt4.evaluation.cases import EvalCase
    from skingpt4.evaluation.responses import Response

# Concepts are read from the first two answers, which describe; the others explain and advise.
FINDING_ANSWERS = 2

UNKNOWN_SKIN_TYPE = "not stated"

# k of n.
Count = tuple[int, int]

# Of one case: right, named and shown concepts.
CaseCounts = tuple[int, int, int]

# Label an answer; each text is read once, however many tables it goes into.
label_answer = lru_cache(maxsize=None)(label_text)


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


@dataclass
class SystemScore:
    """What one system's answers amount to; every pair is k of n.

    Attributes:
        n: Cases with a response, failed ones included.
        hits: Whose first answer settles on the right class.
        mentioned_hits: Whose first answer names the right class at all.
        per_class: Hits by class.
        per_skin_type: Hits by Fitzpatrick type.
        per_quality: Hits by photo quality.
        concepts: Named in the first two answers.
        confusion: Rows: what was said (the 15 classes, then none); columns: what is true.
        missed_malignancy: Malignant cases whose first answer names no malignant disease.
        abstained: Answers that decline to name a disease.
        failed: Cases that ended in an error.
        all_different: Cases whose answers all differ from one another.
    """

    n: int
    hits: int
    mentioned_hits: int
    per_class: dict[str, Count]
    per_skin_type: dict[str, Count]
    per_quality: dict[str, Count]
    concepts: ConceptScore
    confusion: list[list[int]] = field(repr=False)
    missed_malignancy: Count
    abstained: int
    failed: int
    all_different: int


def read_response(response: Response) -> tuple[Labels, frozenset[str]]:
    """Return what the first answer says, and the concepts that the first two name."""
    labels = [label_answer(answer.text) for answer in response.answers[:FINDING_ANSWERS]]
    diagnosis = labels[0] if labels else Labels(None, (), (), (), abstained=False)
    return diagnosis, frozenset(concept for one in labels for concept in one.concepts)


def is_malignant(case: EvalCase) -> bool:
    """Tell whether a case is malignant: its class is, or its label names a malignant disease."""
    return case.disease_class == MALIGNANT or case.label.lower() in MALIGNANT_TERMS


def score(cases: Sequence[EvalCase], responses: Sequence[Response]) -> dict[str, SystemScore]:
    """Score every system's responses; systems stay in the order of their first response."""
    # Failed cases stay in: leaving them out would reward a system for refusing hard photos.
    by_id = {case.id: case for case in cases}
    systems: dict[str, list[Response]] = {}
    for response in responses:
        systems.setdefault(response.system, []).append(response)
    return {system: _score_system(own, by_id) for system, own in systems.items()}


def _score_system(responses: Sequence[Response], by_id: Mapping[str, EvalCase]) -> SystemScore:
    cases = [by_id[response.case] for response in responses]
    readings = [read_response(response) for response in responses]
    diagnoses = [diagnosis for diagnosis, _ in readings]  # of the first answers
    said = list(zip(cases, diagnoses, strict=True))
    # An alarm need not be right: any malignant disease that the answer does not deny will send the
    # patient to a doctor.
    missed = [
        not any(one.malignant and not one.negated for one in diagnosis.trace)
        for case, diagnosis in said
        if is_malignant(case)
    ]
    answers = [[answer.text for answer in response.answers] for response in responses]

    # What was said [classes + 1 for none] by what is true [classes].
    confusion = np.zeros((len(CLASS_NAMES) + 1, len(CLASS_NAMES)), dtype=int)
    for case, diagnosis in said:
        top = CLASS_NAMES.index(diagnosis.top) if diagnosis.top else len(CLASS_NAMES)
        confusion[top, CLASS_NAMES.index(case.disease_class)] += 1

    table = pd.DataFrame(
        {
            "class": [case.disease_class for case in cases],
            "skin_type": [case.fitzpatrick or UNKNOWN_SKIN_TYPE for case in cases],
            "quality": [case.photo.quality for case in cases],
            "hit": [diagnosis.top == case.disease_class for case, diagnosis in said],
        }
    )
    # Plain integers, since the counts go into JSON; groups come in alphabetical order.
    per_class, per_skin_type, per_quality = (
        {str(name): (int(k), int(n)) for name, k, n in counts.itertuples()}
        for counts in (
            table.groupby(column)["hit"].agg(["sum", "count"])
            for column in ("class", "skin_type", "quality")
        )
    )
    return SystemScore(
        n=len(responses),
        hits=int(table["hit"].sum()),
        mentioned_hits=sum(case.disease_class in own.mentioned for case, own in said),
        per_class={name: per_class[name] for name in CLASS_NAMES if name in per_class},
        per_skin_type=per_skin_type,
        per_quality=per_quality,
        concepts=count_concepts(zip(cases, (named for _, named in readings), strict=True)),
        confusion=confusion.tolist(),
        missed_malignancy=(sum(missed), len(missed)),
        abstained=sum(diagnosis.abstained for diagnosis in diagnoses),
        failed=sum(bool(response.error) for response in responses),
        all_different=sum(bool(texts) and len(set(texts)) == len(texts) for texts in answers),
    )


def count_concepts(said: Iterable[tuple[EvalCase, frozenset[str]]]) -> ConceptScore:
    """Score what was named about each case; cases without known concepts are left out."""
    # Sets, since a concept that an answer or a case list repeats is still one concept.
    counts = {
        case.id: (len(named & set(case.concepts)), len(named), len(set(case.concepts)))
        for case, named in said
        if case.concepts
    }
    table = np.reshape(list(counts.values()), (-1, 3))  # [cases, right/named/shown]
    right, named, shown = (int(n) for n in table.sum(axis=0))
    low, high = np.percentile(_resampled_f1(table), PERCENTILES) if counts else (np.nan, np.nan)
    return ConceptScore(
        precision=right / named if named else np.nan,
        recall=right / shown if shown else np.nan,
        f1=2 * right / (named + shown) if named + shown else np.nan,
        low=float(low),
        high=float(high),
        counts=counts,
    )


def score_asked(
    cases: Sequence[EvalCase], responses: Sequence[Response]
) -> dict[str, ConceptScore]:
    """Score the answers to the question of step 1, by system."""
    by_id = {case.id: case for case in cases}
    said: dict[str, list[tuple[EvalCase, frozenset[str]]]] = {}
    for row in responses:
        concepts = {name for answer in row.answers for name in label_answer(answer.text).concepts}
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
    # The same seed draws the same cases for both systems, which keeps the pairs together.
    low, high = np.percentile(_resampled_f1(first) - _resampled_f1(second), PERCENTILES)
    difference = _f1(first.sum(axis=0)) - _f1(second.sum(axis=0))
    return Interval(float(difference), float(low), float(high))


PERCENTILES = (2.5, 97.5)


def _resampled_f1(counts: np.ndarray) -> np.ndarray:
    """Return F1 ``[draws]`` of cases drawn with replacement from counts ``[cases, 3]``."""
    rng = np.random.default_rng(0)
    cases = len(counts)
    weights = rng.multinomial(cases, [1 / cases] * cases, size=BOOTSTRAP_DRAWS)  # [draws, cases]
    return _f1(weights @ counts)


def _f1(sums: np.ndarray) -> np.ndarray:
    """Return F1 of right, named and shown concepts ``[..., 3]``; 0 where there are none."""
    return 2 * sums[..., 0] / np.maximum(sums[..., 1] + sums[..., 2], 1)
