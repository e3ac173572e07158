"""Does a system say the same again? Ten diagnoses of each photo, compared with one another.

A file of repeated diagnoses is a file of answers in which a case's answers are its draws, and each
system stands once per way of decoding ("two-step (sampled)"). The paper reports 93.73 % without
saying what was counted; the three usual measures are all given here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from typing import TYPE_CHECKING

from skingpt4.dermatology import CLASS_NAMES
from skingpt4.evaluation.scoring.accuracy import label_answer
from skingpt4.evaluation.scoring.statistics import Interval, Share, clustered_interval, wilson

if TYPE_CHECKING:
    from skingpt4.evaluation.cases import EvalCase
    from skingpt4.evaluation.responses import Response

# 45 images, as in the paper, but from every class (the paper drew 5 from each of 9 classes).
IMAGES_PER_CLASS = 3

# Diagnoses of each image (paper).
DRAWS = 10

NONE_NAMED = "none named"


@dataclass(frozen=True)
class ImageDraws:
    """The diagnoses of one image.

    Attributes:
        case: Its id.
        tops: What each draw settled on, a class or ``none named``, in the order drawn.
    """

    case: str
    tops: tuple[str, ...]

    @property
    def counts(self) -> list[int]:
        """How often each diagnosis came, the most frequent first."""
        return [count for _, count in Counter(self.tops).most_common()]


@dataclass(frozen=True)
class ConsistencyScore:
    """How alike the draws of each image are; intervals are clustered by image.

    Attributes:
        images: Every image with its draws; images that failed are left out.
        failed: Images that failed.
        modal: Share of draws that agree with their image's most frequent diagnosis.
        pairwise: Share of pairs of an image's draws that agree.
        all_same: Images whose draws all agree.
    """

    images: tuple[ImageDraws, ...]
    failed: int
    modal: Interval
    pairwise: Interval
    all_same: Share


def choose_images(cases: Sequence[EvalCase], per_class: int = IMAGES_PER_CLASS) -> list[EvalCase]:
    """Return the first cases of each class, class by class."""
    return [
        case
        for name in CLASS_NAMES
        for case in [case for case in cases if case.disease_class == name][:per_class]
    ]


def measure_consistency(rows: Sequence[Response]) -> dict[str, ConsistencyScore]:
    """Compare the draws of every system; systems stay in the order of their first row."""
    systems: dict[str, list[Response]] = {}
    for row in rows:
        systems.setdefault(row.system, []).append(row)
    scores = {}
    for system, own in systems.items():
        images = tuple(
            ImageDraws(row.case, tuple(label_answer(a.text).top or NONE_NAMED for a in row.answers))
            for row in own
            if row.answers
        )
        counts = [image.counts for image in images]  # [images][diagnoses], the largest first
        draws = [sum(one) for one in counts]
        # Draws of one image are no independent trials; the intervals take images as clusters.
        agreeing_pairs = [sum(comb(count, 2) for count in one) for one in counts]
        scores[system] = ConsistencyScore(
            images=images,
            failed=len(own) - len(images),
            modal=clustered_interval([one[0] for one in counts], draws),
            pairwise=clustered_interval(agreeing_pairs, [comb(n, 2) for n in draws]),
            all_same=wilson(sum(len(one) == 1 for one in counts), len(counts)),
        )
    return scores
