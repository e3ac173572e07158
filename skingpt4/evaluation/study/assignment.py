"""Who rates which case, in which order, under which label; settled by a seed, not by chance."""

import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from skingpt4.common.errors import EvaluationError
from skingpt4.dermatology import LAY_ITEMS, QUESTIONNAIRE

ALL_ITEMS = tuple(range(1, len(QUESTIONNAIRE) + 1))

# Shown in place of answers that failed.
NO_ANSWER = "This system gave no answer to this case."

# How the name of every rater begins that a script made up.
MARK = "simulated"


@dataclass(frozen=True)
class Shown:
    """One system's answers as a rater sees them: under its own name or, blinded, a letter."""

    system: str
    label: str


@dataclass(frozen=True)
class Task:
    """One case for one rater, with the systems side by side in the order shown."""

    case: str
    shown: tuple[Shown, ...]


@dataclass(frozen=True)
class Study:
    """The plan of a reader study.

    Attributes:
        cases: Ids of the cases.
        systems: Names of the systems whose answers are rated.
        seed: Settles the order of cases and labels; another seed is another study.
        blinded: Show letters in place of the systems' names, reshuffled for every case.
        cases_per_rater: How many cases each rater gets; 0 gives everyone all of them.
    """

    cases: tuple[str, ...]
    systems: tuple[str, ...]
    seed: int = 0
    blinded: bool = False
    cases_per_rater: int = 0

    def __post_init__(self) -> None:
        """Refuse a plan that nobody could follow."""
        if not self.cases or not self.systems:
            raise EvaluationError("A study needs at least one case and one system; it got none.")
        # A letter each; and no screen shows so many columns.
        if len(self.systems) > len(string.ascii_uppercase):
            raise EvaluationError(
                f"{len(self.systems)} systems side by side are too many; name fewer."
            )
        if not 0 <= self.cases_per_rater <= len(self.cases):
            raise EvaluationError(
                f"--cases-per-rater {self.cases_per_rater} does not fit {len(self.cases)} cases; "
                "give a number up to that, or 0 for all."
            )

    def tasks(self, rater: int) -> tuple[Task, ...]:
        """Return what the rater of that number (from 1) sees, in order.

        With ``cases_per_rater`` the raters take turns through one shuffled list, so that every
        case is rated equally often, give or take one.
        """
        # The deck is shuffled once for the study, so that consecutive raters share it out.
        share = self.cases_per_rater or len(self.cases)
        deck = np.random.default_rng(self.seed).permutation(len(self.cases))
        own = np.take(deck, np.arange(share) + (rater - 1) * share, mode="wrap")
        # A generator of the rater's own: a rater who joins later moves nobody else's cases.
        rng = np.random.default_rng((self.seed, rater))
        tasks = []
        for index in rng.permutation(own):
            shown = [Shown(system, system) for system in self.systems]
            if self.blinded:
                # Reshuffled for every case, so that no letter becomes a system's second name.
                order = rng.permutation(len(self.systems))
                letters = zip(order, string.ascii_uppercase, strict=False)
                shown = [
                    Shown(self.systems[place], f"Answer {letter}") for place, letter in letters
                ]
            tasks.append(Task(self.cases[index], tuple(shown)))
        return tuple(tasks)


def items_for(rater_kind: str) -> tuple[int, ...]:
    """Return the numbers of the items that this kind of rater is asked."""
    return LAY_ITEMS if rater_kind == "lay" else ALL_ITEMS


def is_simulated(names: Iterable[str]) -> bool:
    """Tell whether any of these raters or comparison groups was made up by a script."""
    # By the name alone, as that is all a file of ratings or times keeps of a rater.
    return any(name.lower().startswith(MARK) for name in names)


def pick_systems(asked: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Return the systems to rate: those asked for, by default the first of the responses.

    Raises:
        EvaluationError: If a system has no responses.
    """
    for name in asked:
        if name not in known:
            raise EvaluationError(
                f"--systems '{name}' has no responses; the file holds: {', '.join(known)}."
            )
    return tuple(asked or known[:1])
