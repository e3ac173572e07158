"""The drawn world: how each disease looks, and the sampler of cases."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Any

import numpy as np

from skingpt4.common.files import load_data
from skingpt4.dermatology import CLASSES, CONCEPTS, FITZPATRICK_TYPES


class Arrangement(str, Enum):
    """Where the lesions of a group lie."""

    SINGLE = "single"
    SCATTERED = "scattered"
    GROUPED = "grouped"
    LINEAR = "linear"
    SYMMETRIC = "symmetric"
    FIELD = "field"
    ON = "on"
    AROUND = "around"


class Shape(str, Enum):
    """Outline of a lesion."""

    BLOB = "blob"
    ROUND = "round"
    RING = "ring"
    TARGET = "target"
    IRREGULAR = "irregular"
    SQUARE = "square"
    POLYGON = "polygon"


@dataclass(frozen=True)
class Group:
    """Alike lesions.

    Attributes:
        marks: Concept name -> probability in (0, 1] that the group shows it.
        arrangement: Layout; ON and AROUND are relative to the first group's lesions.
        count: Fewest and most lesions (for ON and AROUND: in all).
        radius: Smallest and largest lesion radius as a fraction of the image width.
        shape: Outline of the lesions.
        edge: Softness of the border in lesion radii; 0.1 is sharp, 0.5 fades out.
        probability: Chance that the case has the group at all.
    """

    marks: dict[str, float]
    arrangement: Arrangement = Arrangement.SCATTERED
    count: tuple[int, int] = (1, 1)
    radius: tuple[float, float] = (0.1, 0.2)
    shape: Shape = Shape.BLOB
    edge: float = 0.15
    probability: float = 1.0


@dataclass(frozen=True)
class Disease:
    """One disease; the first group is the one that captions count and measure."""

    name: str
    groups: tuple[Group, ...]


def _read_group(row: dict[str, Any]) -> Group:
    """Build a group from its row of the table; what the row leaves out keeps its default."""
    kinds = {"arrangement": Arrangement, "shape": Shape, "count": tuple, "radius": tuple}
    return Group(**{key: kinds.get(key, lambda v: v)(value) for key, value in row.items()})


DISEASES: dict[str, Disease] = {
    name: Disease(name, tuple(map(_read_group, rows)))
    for name, rows in load_data("diseases.yaml").items()
}

CLASS_OF: dict[str, str] = {disease: entry.name for entry in CLASSES for disease in entry.diseases}

MIN_CONCEPTS, MAX_CONCEPTS = 2, 6

CONCEPT_ORDER = {concept.name: place for place, concept in enumerate(CONCEPTS)}


class Stream(IntEnum):
    """What a case is for; each stream has its own random numbers."""

    GENERAL = 0
    DIALOGUE = 1
    CONCEPT = 2
    DIAGNOSIS = 3
    CASES = 4
    SHOW = 5


@dataclass(frozen=True)
class Lesions:
    """One sampled group of alike lesions, ready to draw."""

    marks: tuple[str, ...]
    arrangement: Arrangement
    count: int
    radius: float
    shape: Shape
    edge: float


@dataclass(frozen=True)
class DrawnCase:
    """One case of the drawn world; `concepts` is exactly what is drawn, in the paper's order."""

    class_name: str
    disease: str
    concepts: tuple[str, ...]
    fitzpatrick: str
    groups: tuple[Lesions, ...]
    draw_seed: tuple[int, ...]


def sample_case(
    seed: int,
    stream: Stream,
    index: int,
    class_weights: Sequence[float] | None = None,
) -> DrawnCase:
    """Sample case `index` of a stream; the same arguments always give the same case.

    Args:
        seed: Seed of the world, >= 0.
        stream: Which set the case belongs to.
        index: Place in the set, >= 0. Without weights, classes and skin types rotate with it.
        class_weights: 15 relative class frequencies; None means all classes equally often.

    Returns:
        The case, not yet drawn.
    """
    # A generator of its own: case 7 is the same whether or not case 6 was drawn.
    rng = np.random.default_rng((seed, int(stream), index))
    place = index % len(CLASSES)
    if class_weights is not None:
        share = np.asarray(class_weights, dtype=float)
        place = int(rng.choice(len(CLASSES), p=share / share.sum()))
    entry = CLASSES[place]
    turn = index // len(CLASSES)
    disease = DISEASES[entry.diseases[turn % len(entry.diseases)]]
    # (turn + place) visits the skin types evenly both within a class and across classes.
    skin_type = FITZPATRICK_TYPES[(turn // len(entry.diseases) + place) % len(FITZPATRICK_TYPES)]
    groups = _sample_groups(disease, rng)
    shown = {mark for group in groups for mark in group.marks}
    return DrawnCase(
        class_name=CLASS_OF[disease.name],
        disease=disease.name,
        concepts=tuple(sorted(shown, key=CONCEPT_ORDER.__getitem__)),
        fitzpatrick=skin_type,
        groups=groups,
        draw_seed=(seed, int(stream), index, 1),
    )


def _sample_groups(disease: Disease, rng: np.random.Generator) -> tuple[Lesions, ...]:
    """Draw which groups and marks a case shows, within the limits on concepts."""
    # The core look: what every case of the disease shows.
    wanted = {
        mark
        for group in disease.groups
        if group.probability == 1
        for mark, probability in group.marks.items()
        if probability == 1
    }
    options = [
        (group, mark) for group in disease.groups for mark in group.marks if mark not in wanted
    ]
    present = [
        group.probability == 1 or rng.random() < group.probability for group in disease.groups
    ]
    # In random order, so that the limit does not always cut the same concepts. Every option draws
    # its number, wanted or not: the numbers that follow must not depend on the limit.
    for place in rng.permutation(len(options)):
        group, mark = options[place]
        drawn = rng.random() < group.marks[mark]
        if drawn and present[disease.groups.index(group)] and len(wanted) < MAX_CONCEPTS:
            wanted.add(mark)
    if len(wanted) < MIN_CONCEPTS:
        return _sample_groups(disease, rng)
    sampled = [
        Lesions(
            marks=tuple(mark for mark in group.marks if mark in wanted),
            arrangement=group.arrangement,
            count=int(rng.integers(group.count[0], group.count[1] + 1)),
            radius=float(rng.uniform(*group.radius)),
            shape=group.shape,
            edge=group.edge,
        )
        for group, there in zip(disease.groups, present, strict=True)
        if there
    ]
    return tuple(lesions for lesions in sampled if lesions.marks)
