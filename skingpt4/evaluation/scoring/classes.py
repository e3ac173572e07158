"""Counting: what each system's answers amount to, read by the labeler."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from skingpt4.evaluation.cases import CLASS_NAMES, EvalCase
from skingpt4.evaluation.responses import Response
from skingpt4.evaluation.scoring.concepts import ConceptScore, count_concepts
from skingpt4.evaluation.scoring.quality import photo_quality
from skingpt4.labeler import MALIGNANT, MALIGNANT_TERMS, Labels, label_text

FINDING_ANSWERS = 2
"""Concepts are read from the first two answers, which describe; the others explain and advise."""

UNKNOWN = "not stated"

Count = tuple[int, int]
"""k of n."""


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


@dataclass(frozen=True)
class _Outcome:
    """One case with what a system said about it."""

    case: EvalCase
    response: Response
    diagnosis: Labels
    concepts: frozenset[str]

    @property
    def is_hit(self) -> bool:
        return self.diagnosis.top == self.case.disease_class


def read_response(response: Response) -> tuple[Labels, frozenset[str]]:
    """Return what the first answer says, and the concepts that the first two name."""
    readings = [label_text(answer.text) for answer in response.answers[:FINDING_ANSWERS]]
    diagnosis = readings[0] if readings else Labels(None, (), (), (), abstained=False)
    return diagnosis, frozenset(concept for reading in readings for concept in reading.concepts)


def is_malignant(case: EvalCase) -> bool:
    """Tell whether a case is malignant: its class is, or its label names a malignant disease."""
    return case.disease_class == MALIGNANT or case.label.lower() in MALIGNANT_TERMS


def score(cases: Sequence[EvalCase], responses: Sequence[Response]) -> dict[str, SystemScore]:
    """Score every system's responses; systems stay in the order of their first response."""
    by_id = {case.id: case for case in cases}
    quality = {case.id: photo_quality(case.image) for case in cases}
    outcomes: dict[str, list[_Outcome]] = {}
    for response in responses:
        outcome = _Outcome(by_id[response.case], response, *read_response(response))
        outcomes.setdefault(response.system, []).append(outcome)
    return {system: _score(own, quality) for system, own in outcomes.items()}


def _score(outcomes: Sequence[_Outcome], quality: dict[str, str]) -> SystemScore:
    malignant = [outcome for outcome in outcomes if is_malignant(outcome.case)]
    missed = [
        o for o in malignant if not any(m.malignant and not m.negated for m in o.diagnosis.trace)
    ]
    return SystemScore(
        n=len(outcomes),
        hits=sum(outcome.is_hit for outcome in outcomes),
        mentioned_hits=sum(o.case.disease_class in o.diagnosis.mentioned for o in outcomes),
        per_class=_grouped(outcomes, lambda case: case.disease_class),
        per_skin_type=_grouped(outcomes, lambda case: case.fitzpatrick or UNKNOWN),
        per_quality=_grouped(outcomes, lambda case: quality[case.id]),
        concepts=count_concepts((o.case, o.concepts) for o in outcomes),
        confusion=_confusion(outcomes),
        missed_malignancy=(len(missed), len(malignant)),
        abstained=sum(outcome.diagnosis.abstained for outcome in outcomes),
        failed=sum(bool(outcome.response.error) for outcome in outcomes),
        all_different=sum(_all_differ(outcome.response) for outcome in outcomes),
    )


def _all_differ(response: Response) -> bool:
    texts = [answer.text for answer in response.answers]
    return bool(texts) and len(set(texts)) == len(texts)


def _grouped(outcomes: Sequence[_Outcome], group: Callable[[EvalCase], str]) -> dict[str, Count]:
    """Count hits by group, groups in alphabetical order but classes in the table's."""
    names = {group(outcome.case) for outcome in outcomes}
    order = [name for name in CLASS_NAMES if name in names] or sorted(names)
    members = {name: [o.is_hit for o in outcomes if group(o.case) == name] for name in order}
    return {name: (sum(hits), len(hits)) for name, hits in members.items()}


def _confusion(outcomes: Sequence[_Outcome]) -> list[list[int]]:
    table = np.zeros((len(CLASS_NAMES) + 1, len(CLASS_NAMES)), dtype=int)
    for outcome in outcomes:
        top = outcome.diagnosis.top
        said = CLASS_NAMES.index(top) if top else len(CLASS_NAMES)
        table[said, CLASS_NAMES.index(outcome.case.disease_class)] += 1
    return [[int(count) for count in row] for row in table]
