"""How each disease looks: groups of alike lesions, read from ``data/diseases.yaml``."""

from dataclasses import dataclass
from enum import Enum
from typing import Any

from skingpt4.common.files import load_data
from skingpt4.dermatology import CLASSES


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
