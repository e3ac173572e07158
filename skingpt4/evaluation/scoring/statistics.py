"""Shares with intervals, the rater × case bootstrap, and comparisons of groups and pairs.

Pure functions on arrays. scipy computes what scipy has; the rest names its formula's source and is
tested against published worked examples. All intervals are 95 %.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from itertools import combinations
from math import ceil, floor

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from skingpt4.common.errors import EvaluationError

CONFIDENCE = 0.95

Z = float(stats.norm.ppf(0.5 + CONFIDENCE / 2))

# Percentiles that bound an interval.
TAILS = (50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE))

BOOTSTRAP_DRAWS = 2000

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """An estimate between its bounds; all are nan where the data do not determine them."""

    estimate: float
    low: float
    high: float


UNKNOWN = Interval(float("nan"), float("nan"), float("nan"))


@dataclass(frozen=True)
class Share:
    """k of n, with an interval of the share ``k / n``."""

    k: int
    n: int
    low: float
    high: float

    @property
    def share(self) -> float:
        """The share between 0 and 1; nan of nothing."""
        return self.k / self.n if self.n else float("nan")

    @property
    def percent(self) -> str:
        """The percentage with two decimals, such as ``80.63 %``."""
        return f"{percent_text(self.k, self.n)} %"

    def __str__(self) -> str:
        if not self.n:
            return "none (0/0)"
        return f"{self.percent} ({self.k}/{self.n}; {100 * self.low:.1f}–{100 * self.high:.1f})"


@dataclass(frozen=True)
class Test:
    """A test's statistic and two-sided p-value."""

    __test__ = False  # pytest collects names that begin so

    statistic: float
    p: float


def percent_text(k: int, n: int, decimals: int = 2) -> str:
    """Return 100 k / n rounded half up, as papers print it (Python rounds 80.625 to 80.62)."""
    # Decimals throughout: a float would already have lost the tie that is to be rounded up.
    if not n:
        return "–"
    step = Decimal(1).scaleb(-decimals)
    return str((Decimal(100 * k) / Decimal(n)).quantize(step, ROUND_HALF_UP))


def wilson(k: int, n: int) -> Share:
    """Return the share k of n with Wilson's interval (Wilson 1927), from scipy."""
    if not n:
        return Share(k, n, float("nan"), float("nan"))
    interval = stats.binomtest(k, n).proportion_ci(CONFIDENCE, method="wilson")
    return Share(k, n, float(interval.low), float(interval.high))


def clustered_interval(hits: ArrayLike, trials: ArrayLike) -> Interval:
    """Return the interval of a share whose trials come in clusters, such as draws of one image.

    Wilson's interval with the effective sample size ``p (1 - p) / v``, where v is the linearised
    between-cluster variance of the ratio (Franco, Little, Louis and Slud 2019, J Surv Stat
    Methodol 7:334). Where v is 0, as when every draw hits, the number of clusters is taken.

    Args:
        hits: Successes of each cluster ``[C]``.
        trials: Trials of each cluster ``[C]``.
    """
    k, n = np.asarray(hits, dtype=float), np.asarray(trials, dtype=float)
    clusters, total = len(k), n.sum()
    if not total:
        return UNKNOWN
    p = k.sum() / total
    # Clusters that are all alike add nothing to each other: the fewer differ within, the larger the
    # variance between them, and the fewer independent trials the draws are worth.
    variance = clusters * np.sum((k - p * n) ** 2) / max(clusters - 1, 1) / total**2
    effective = min(p * (1 - p) / variance, total) if variance else clusters
    return _wilson_interval(float(p), float(effective))


def _wilson_interval(p: float, n: float) -> Interval:
    """Wilson's interval for a sample size that need not be whole (Wilson 1927)."""
    centre = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * np.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
    return Interval(p, max(float(centre - half), 0.0), min(float(centre + half), 1.0))


def rater_interval(hits: ArrayLike) -> Interval:
    """Return the interval of a share that counts every rater once, however often they answered.

    Wilson's interval of the raters' mean share with n = the number of raters: for opinions that a
    rater holds whatever the case.

    Args:
        hits: ``[raters, cases]``, 0 or 1, nan where there is no rating; each rater has one.
    """
    matrix = np.asarray(hits, dtype=float)  # [raters, cases]
    if not matrix.size:
        return UNKNOWN
    return _wilson_interval(float(np.nanmean(matrix, axis=1).mean()), len(matrix))


def bootstrap_mean(values: ArrayLike, seed: int = 0, draws: int = BOOTSTRAP_DRAWS) -> Interval:
    """Return the mean of a rater × case matrix with its percentile interval.

    Raters and cases are redrawn, each with replacement and independently of the other (the
    pigeonhole bootstrap; Owen 2007, Ann Appl Stat 1:386), so that the interval speaks of other
    raters and other cases as well.

    Args:
        values: ``[raters, cases]``, nan where there is no rating.
        seed: Same seed, same interval.
        draws: Number of resamples.
    """
    matrix = np.asarray(values, dtype=float)  # [raters, cases]
    known = ~np.isnan(matrix)
    if not known.any():
        return UNKNOWN
    rng = np.random.default_rng(seed)
    # How often each rater and each case is drawn: [draws, raters] and [draws, cases]. Weighted
    # sums give every resample's mean at once, without building one of them.
    raters, cases = (
        rng.multinomial(size, np.full(size, 1 / size), size=draws).astype(float)
        for size in matrix.shape
    )
    sums = np.sum(raters @ np.where(known, matrix, 0.0) * cases, axis=1)  # [draws]
    counts = np.sum(raters @ known.astype(float) * cases, axis=1)  # [draws]
    # A resample of a sparse matrix may hold no rating at all; it says nothing.
    means = sums[counts > 0] / counts[counts > 0]
    low, high = np.percentile(means, TAILS)
    return Interval(float(matrix[known].mean()), float(low), float(high))


def t_test(a: ArrayLike, b: ArrayLike, equal_var: bool) -> Test:
    """Student's t-test of two means (the paper's) or, for unequal variances, Welch's; by scipy."""
    if min(np.size(a), np.size(b)) < 2:
        return Test(float("nan"), float("nan"))
    result = stats.ttest_ind(a, b, equal_var=equal_var)
    return Test(float(result.statistic), float(result.pvalue))


def mann_whitney(a: ArrayLike, b: ArrayLike) -> Test:
    """Mann–Whitney U of the first group, from scipy: exact for small groups without ties."""
    result = stats.mannwhitneyu(a, b, alternative="two-sided")
    return Test(float(result.statistic), float(result.pvalue))


def hodges_lehmann(a: ArrayLike, b: ArrayLike) -> Interval:
    """Return by how much `a` lies above `b`: the median of all pairwise differences.

    The interval holds the differences between the C-th smallest and the C-th largest, with the
    large-sample ``C = mn/2 - z sqrt(mn (m + n + 1) / 12)`` to the nearest whole number (Hollander
    and Wolfe 1999, section 4.3).
    """
    # All pairs, [m * n]; groups here have tens of members.
    differences = np.sort(np.subtract.outer(np.asarray(a, float), np.asarray(b, float)), axis=None)
    m, n = np.size(a), np.size(b)
    rank = round(m * n / 2 - Z * np.sqrt(m * n * (m + n + 1) / 12))
    rank = max(rank, 1)  # tiny groups have no such rank; theirs is the whole range
    return Interval(
        float(np.median(differences)), float(differences[rank - 1]), float(differences[-rank])
    )


def paired_difference(only_a: int, only_b: int, n: int) -> Interval:
    """Return the difference of two paired shares, with its 95 % interval.

    Wald's interval after adding one half to each of the four cells (Agresti and Min 2005, Stat
    Med 24:729), which holds its level in small samples; the estimate is the plain difference.

    Args:
        only_a: Pairs in which only the first is true.
        only_b: Pairs in which only the second is true.
        n: All pairs.
    """
    if not n:
        return UNKNOWN
    a, b, total = only_a + 0.5, only_b + 0.5, n + 2  # one half in each of four cells
    centre = (a - b) / total
    half = Z * np.sqrt(a + b - (a - b) ** 2 / total) / total
    low, high = max(centre - half, -1.0), min(centre + half, 1.0)
    return Interval((only_a - only_b) / n, float(low), float(high))


def mcnemar(only_a: int, only_b: int) -> float:
    """Return the two-sided p of the exact McNemar test, from scipy's binomial test."""
    # Pairs on which both agree say nothing; with none left, scipy's test has no trials.
    if not only_a + only_b:
        return 1.0
    return float(stats.binomtest(only_a, only_a + only_b).pvalue)


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


# Printed percentages as arithmetic: p is consistent with n if some whole k gives it when 100 k / n
# is rounded to as many decimals as are printed; a tie counts whichever way it is rounded. Not
# consistent says only that p is no such fraction: it may have another denominator, be a sum of
# rounded parts, or be misprinted. By chance alone a percentage of d decimals fits n with a
# probability of about n / 10^(d + 2).


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
