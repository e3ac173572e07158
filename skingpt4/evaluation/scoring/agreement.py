"""How far raters agree: Krippendorff's α, Gwet's AC2 and the intraclass correlation.

Pure functions on arrays. The first two take counts ``[..., U, Q]``: how many raters gave unit u
the score q. Raters may differ from unit to unit, and ratings may be missing.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from skingpt4.evaluation.scoring.statistics import CONFIDENCE, TAILS, UNKNOWN, Floats, Interval

AGREEMENT_DRAWS = 1000


@np.errstate(invalid="ignore", divide="ignore")
def krippendorff_alpha(counts: ArrayLike) -> Floats:
    """Return Krippendorff's α for ordinal scores, of ``[..., U, Q]`` counts.

    Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability": one less observed over
    expected disagreement, both from the coincidence matrix; the ordinal distance of two scores
    is that of their mean ranks, squared. Nan where no unit has two ratings, or where all pairable
    ratings are one score, which leaves α undefined.
    """
    table = _pairable(counts)
    paired = table / np.maximum(table.sum(axis=-1, keepdims=True) - 1, 1)
    together = np.swapaxes(paired, -1, -2) @ table  # coincidences [..., Q, Q]
    # A rating makes no pair with itself.
    together -= np.eye(table.shape[-1]) * paired.sum(axis=-2)[..., None]
    values = together.sum(axis=-1)  # [..., Q]
    total = values.sum(axis=-1)
    mean_ranks = np.cumsum(values, axis=-1) - values / 2
    distance = (mean_ranks[..., :, None] - mean_ranks[..., None, :]) ** 2  # [..., Q, Q]
    observed = np.sum(together * distance, axis=(-1, -2))
    expected = np.sum(values[..., :, None] * values[..., None, :] * distance, axis=(-1, -2))
    return np.asarray(1 - (total - 1) * observed / expected)


@np.errstate(invalid="ignore", divide="ignore")
def gwet_ac2(counts: ArrayLike) -> Floats:
    """Return Gwet's AC2 with his ordinal weights, of ``[..., U, Q]`` counts.

    Gwet 2014, Handbook of Inter-Rater Reliability, 4th edition, chapters 3 and 5: the observed
    weighted agreement is averaged over units with two or more ratings; chance agreement is
    ``sum(w) / (q (q - 1)) sum(p_k (1 - p_k))`` with p_k averaged over all rated units. Nan where
    no unit has two ratings.
    """
    table, pairable = np.asarray(counts, dtype=float), _pairable(counts)
    levels = table.shape[-1]
    weights = ordinal_weights(levels)
    raters = pairable.sum(axis=-1)  # [..., U]
    agreeing = np.sum(pairable * (pairable @ weights - 1), axis=-1)
    agreement = agreeing / np.maximum(raters * (raters - 1), 1)
    observed = agreement.sum(axis=-1) / np.count_nonzero(raters, axis=-1)
    rated = np.maximum(table.sum(axis=-1, keepdims=True), 1)
    units = np.count_nonzero(table.sum(axis=-1), axis=-1)
    shares = np.sum(table / rated, axis=-2) / units[..., None]  # [..., Q]
    # Chance grows with how evenly the scores are used, not with how often the commonest is, which
    # keeps AC2 defined where nearly all ratings are one score and α falls to 0.
    chance = weights.sum() / (levels * (levels - 1)) * np.sum(shares * (1 - shares), axis=-1)
    return np.asarray((observed - chance) / (1 - chance))


def ordinal_weights(levels: int) -> Floats:
    """Return Gwet's ordinal weights ``[Q, Q]``: 1 - C(|k - l| + 1, 2) / C(q, 2) (Gwet 2014)."""
    distance = np.abs(np.subtract.outer(np.arange(levels), np.arange(levels))).astype(float)
    return 1 - distance * (distance + 1) / (levels * (levels - 1))


def bootstrap_units(
    coefficient: Callable[[ArrayLike], Floats], counts: ArrayLike, seed: int = 0
) -> Interval:
    """Return a coefficient of ``[U, Q]`` counts with its percentile interval over units."""
    table = np.asarray(counts, dtype=float)
    estimate = float(coefficient(table))
    if np.isnan(estimate):
        return UNKNOWN
    rng = np.random.default_rng(seed)
    picks = rng.integers(len(table), size=(AGREEMENT_DRAWS, len(table)))
    # A resample in which all ratings are one score has no coefficient; it is left out.
    # [draws, U, Q] at once, which is why the coefficients take leading dimensions.
    low, high = np.nanpercentile(coefficient(table[picks]), TAILS)
    return Interval(estimate, float(low), float(high))


def icc(scores: ArrayLike) -> Interval:
    """Return ICC(2,1): absolute agreement of single raters drawn at random, with its interval.

    Shrout and Fleiss 1979, Psychol Bull 86:420, two-way random effects; the interval is theirs,
    with Satterthwaite's degrees of freedom. Nan with fewer than two units or raters, where no score
    differs, or where the estimated variances cancel out.

    Args:
        scores: ``[units, raters]``, complete.
    """
    table = np.asarray(scores, dtype=float)
    if min(table.shape) < 2 or not np.ptp(table):
        return UNKNOWN
    units, raters = table.shape
    between_units, between_raters, error = mean_squares(table)
    # Zero only where the estimated components of variance cancel out, which leaves ICC undefined.
    spread = between_units + (raters - 1) * error + raters * (between_raters - error) / units
    if not spread:
        return UNKNOWN
    estimate = (between_units - error) / spread
    if not error:
        return Interval(float(estimate), float("nan"), float("nan"))

    # The bounds, under the symbols of the paper.
    bms, jms, ems = between_units, between_raters, error
    f_j = jms / ems
    common = 1 + (raters - 1) * estimate
    top = raters * estimate * f_j + units * common - raters * estimate
    bottom = (units - 1) * (raters * estimate * f_j) ** 2 + (
        units * common - raters * estimate
    ) ** 2
    df = (raters - 1) * (units - 1) * top**2 / bottom  # Satterthwaite's
    tail = 0.5 + CONFIDENCE / 2
    upper_f = stats.f.ppf(tail, units - 1, df)
    lower_f = stats.f.ppf(tail, df, units - 1)
    both = raters * jms + (raters * units - raters - units) * ems
    low = units * (bms - upper_f * ems) / (upper_f * both + units * bms)
    high = units * (lower_f * bms - ems) / (both + units * lower_f * bms)
    return Interval(float(estimate), float(low), float(high))


def mean_squares(table: Floats) -> tuple[float, float, float]:
    """Return the mean squares of a two-way layout: between units, between raters, and error."""
    units, raters = table.shape
    # Without replication, what neither units nor raters explain is the error.
    grand = table.mean()
    rows, columns = table.mean(axis=1), table.mean(axis=0)
    between_units = raters * np.sum((rows - grand) ** 2) / (units - 1)
    between_raters = units * np.sum((columns - grand) ** 2) / (raters - 1)
    residual = table - rows[:, None] - columns + grand
    error = np.sum(residual**2) / ((units - 1) * (raters - 1))
    return float(between_units), float(between_raters), float(error)


def _pairable(counts: ArrayLike) -> Floats:
    """Return the counts with 0 throughout for units with fewer than two ratings."""
    table = np.asarray(counts, dtype=float)
    return np.where(table.sum(axis=-1, keepdims=True) >= 2, table, 0.0)
