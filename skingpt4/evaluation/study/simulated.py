"""Ratings and times made up by a script, so that the whole protocol can run where nobody rated.

They show what the analysis prints, and say nothing about any system. Every rater's name and the
comparison group begin with ``MARK``, and whatever shows them asks ``assignment.is_simulated``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from skingpt4.evaluation.study.assignment import MARK, Study, items_for
from skingpt4.evaluation.study.ratings import RaterKind, Rating
from skingpt4.labeler import label_text

if TYPE_CHECKING:
    from skingpt4.evaluation.cases import EvalCase
    from skingpt4.evaluation.responses import Response

# As many dermatologists as in the paper, and two lay raters.
RATERS: tuple[tuple[RaterKind, int], ...] = (("dermatologist", 5), ("lay", 2))

COMPARISON_GROUP = f"{MARK} online consultation"

# Consultations in the paper's response-time test.
COMPARISONS = 20

# Invented figures, in points of the five-point scale.
CORRECT_MEAN, WRONG_MEAN = 4.3, 2.2

RATER_SPREAD, CASE_SPREAD, NOISE = 0.3, 0.4, 0.6

# Invented: median in minutes and standard deviation of the logarithm.
CONSULTATION_MINUTES = (20.0, 0.6)


def simulate_ratings(
    cases: Sequence[EvalCase], responses: Sequence[Response], systems: Sequence[str], seed: int = 0
) -> list[Rating]:
    """Make up ratings that lean on whether the first answer names the right class.

    Args:
        cases: The case list.
        responses: Answers of all systems; those of other systems are passed over.
        systems: The systems to rate.
        seed: Same seed, same ratings.

    Returns:
        One rating for each rater, case, system and item that this kind of rater is asked.
    """
    classes = {case.id: case.disease_class for case in cases}
    right = {
        (row.case, row.system): bool(row.answers)
        and label_text(row.answers[0].text).top == classes[row.case]
        for row in responses
        if row.system in systems
    }
    study = Study(tuple(classes), tuple(systems), seed)
    raters = [
        (f"{MARK} {kind} {number}", kind)
        for kind, count in RATERS
        for number in range(1, count + 1)
    ]
    ratings = []
    for rater, (name, kind) in enumerate(raters, start=1):
        # Each rater has a strictness of their own, which agreement between raters must survive.
        rng = np.random.default_rng((seed, rater))
        strictness = rng.normal(0, RATER_SPREAD)
        shown = [(task.case, one.system) for task in study.tasks(rater) for one in task.shown]
        for case, system in shown:
            if (case, system) not in right:
                continue
            # Drawn from the case's own seed, so that a case is as hard for all raters alike.
            place = (study.cases.index(case), study.systems.index(system))
            hardness = np.random.default_rng((seed, 0, *place)).normal(0, CASE_SPREAD)
            mean = CORRECT_MEAN if right[case, system] else WRONG_MEAN
            for item in items_for(kind):
                point = mean + strictness + hardness + rng.normal(0, NOISE)
                score = int(np.clip(round(point), 1, 5))
                seconds = round(float(rng.uniform(2, 20)), 1)
                ratings.append(Rating(name, kind, case, system, item, score, seconds))
    return ratings


def simulate_times(seed: int = 0) -> list[tuple[str, float]]:
    """Make up the comparison group's response times in seconds: (group, seconds)."""
    rng = np.random.default_rng((seed, COMPARISONS))
    # Log-normal: waits are never negative, and a few are very long.
    median, spread = CONSULTATION_MINUTES
    minutes = median * np.exp(rng.normal(0, spread, COMPARISONS))
    return [(COMPARISON_GROUP, round(float(60 * value), 1)) for value in minutes]
