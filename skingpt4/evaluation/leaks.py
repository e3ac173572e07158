"""Leak audit: is a case's photo, or one that looks the same, in a training set?"""

from collections.abc import Sequence
from dataclasses import dataclass

from skingpt4.datasets.fingerprints import Fingerprint, find_matches, fingerprints
from skingpt4.evaluation.cases import EvalCase


@dataclass(frozen=True)
class Leak:
    """A case whose photo a training set holds.

    Attributes:
        case: Its id.
        training: The training photo.
        distance: Bits of 256 in which the dHashes differ; 0 also where the files are the same.
        same_file: Whether the files are the same byte for byte.
    """

    case: str
    training: str
    distance: int
    same_file: bool


def find_leaks(cases: Sequence[EvalCase], training: Sequence[Fingerprint]) -> list[Leak]:
    """Return every pair of a case and a training photo that are the same, or look it."""
    photos = fingerprints([c.image for c in cases], [c.id for c in cases], "cases")
    return [
        Leak(match.left, match.right, match.distance, match.same_file)
        for match in find_matches(photos, training)
    ]
