"""Whether printed percentages can be k of n: arithmetic on any list, without a verdict.

A percentage is consistent with a denominator n if some whole k gives it when 100 k / n is rounded
to as many decimals as are printed; a tie counts whichever way it is rounded. That a percentage is
not consistent says only that it is no such fraction: it may have another denominator, be a sum of
rounded parts, or be misprinted. By chance alone a percentage of d decimals fits n with probability
about n / 10^(d + 2).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from math import ceil, floor

from skingpt4.common.errors import EvaluationError
from skingpt4.evaluation.scoring.statistics import percent_text

_PERCENT = re.compile(r"\d{1,3}(?:\.(\d{1,6}))?")

LARGEST_DENOMINATOR = 100_000


@dataclass(frozen=True)
class Fit:
    """How one percentage fits one denominator.

    Attributes:
        percent: The percentage as printed.
        n: The denominator.
        counts: Every k that gives the percentage; empty if none does.
        nearest: The k that comes nearest.
        nearest_percent: What the nearest k gives, with as many decimals.
    """

    percent: str
    n: int
    counts: tuple[int, ...]
    nearest: int
    nearest_percent: str

    def __str__(self) -> str:
        if self.counts:
            return " or ".join(f"{k}/{self.n}" for k in self.counts)
        return f"no; {self.nearest}/{self.n} = {self.nearest_percent}"


def fit(percent: str, n: int) -> Fit:
    """Hold one percentage against one denominator.

    Raises:
        EvaluationError: If the percentage or the denominator is none.
    """
    value, decimals = parse_percent(percent)
    if not 0 < n <= LARGEST_DENOMINATOR:
        raise EvaluationError(
            f"{n} is no denominator; name whole numbers from 1 to {LARGEST_DENOMINATOR}."
        )
    # Fractions throughout: a float would decide ties by its own rounding.
    half_step = Fraction(1, 2 * 10**decimals)
    first = ceil((value - half_step) * n / 100)
    last = floor((value + half_step) * n / 100)
    # Half up, as papers round; min() because 100 % rounds to no more than all.
    nearest = min(floor(value * n / 100 + Fraction(1, 2)), n)
    return Fit(
        percent.strip(" %"),
        n,
        tuple(range(max(first, 0), min(last, n) + 1)),
        nearest,
        percent_text(nearest, n, decimals),
    )


def parse_percent(text: str) -> tuple[Fraction, int]:
    """Return a printed percentage exactly, and the number of its decimals.

    Raises:
        EvaluationError: If it is no percentage from 0 to 100.
    """
    plain = text.strip(" %")
    match = _PERCENT.fullmatch(plain)
    if not match or Fraction(plain) > 100:
        raise EvaluationError(
            f"'{text}' is no percentage; write a number from 0 to 100 such as 80.63."
        )
    return Fraction(plain), len(match[1] or "")


def audit(percents: Sequence[str], denominators: Sequence[int]) -> list[list[Fit]]:
    """Hold every percentage against every denominator: a row for each percentage."""
    return [[fit(percent, n) for n in denominators] for percent in percents]


def smallest_denominators(percent: str, limit: int, count: int) -> list[Fit]:
    """Return the fits with the smallest denominators, up to `limit`, that give the percentage."""
    fits = (fit(percent, n) for n in range(1, limit + 1))
    found = (one for one in fits if one.counts)
    return [one for _, one in zip(range(count), found, strict=False)]


def best_denominators(percents: Sequence[str], limit: int) -> tuple[int, list[int]]:
    """Return how many of the percentages one denominator fits at most, and which ones do so.

    Args:
        percents: The percentages.
        limit: The largest denominator to try.
    """
    fitting = {n: sum(bool(fit(text, n).counts) for text in percents) for n in range(1, limit + 1)}
    most = max(fitting.values())
    return most, [n for n, count in fitting.items() if count == most]


def sums(percents: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Yield each percentage that equals, as printed, the sum of two others: sum, part, part."""
    # Each once: a figure printed twice is no sum of itself and zero.
    distinct = list(dict.fromkeys(percents))
    exact = {text: parse_percent(text)[0] for text in distinct}
    for whole in distinct:
        for one, other in combinations(distinct, 2):
            if exact[one] + exact[other] == exact[whole]:
                yield whole, one, other
