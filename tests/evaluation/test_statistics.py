"""Statistics equal published worked examples, R and scipy; each example names its source."""

import numpy as np
import pytest
from scipy import stats

from skingpt4.evaluation.scoring.statistics import (
    Share,
    bootstrap_mean,
    clustered_interval,
    hodges_lehmann,
    mann_whitney,
    percent_text,
    rater_interval,
    t_test,
    wilson,
)

# Permeability of the human chorioamnion at term and earlier (Hollander and Wolfe 1973, p. 69);
# R's help page of wilcox.test prints W = 35 for it.
TERM = [0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46]
EARLIER = [1.15, 0.88, 0.90, 0.74, 1.21]

# Student 1908, "The probable error of a mean": R's data set `sleep`. R prints, for
# t.test(extra ~ group), t = -1.8608, df = 17.776, p = 0.07939.
SLEEP_1 = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
SLEEP_2 = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [
        # Newcombe 1998, Stat Med 17:857, Table I, method 3 (Wilson without correction).
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_equals_newcombes_table(k, n, low, high):
    share = wilson(k, n)
    assert (share.low, share.high) == pytest.approx((low, high), abs=5e-5)


def test_percentages_round_half_up_as_papers_do():
    assert percent_text(129, 160) == "80.63"
    assert f"{100 * 129 / 160:.2f}" == "80.62"
    assert percent_text(9, 160) == "5.63"
    assert percent_text(1, 3, decimals=0) == "33"
    assert percent_text(0, 0) == "–"


def test_a_share_prints_its_count_and_interval():
    assert str(wilson(124, 150)) == "82.67 % (124/150; 75.8–87.9)"
    assert str(wilson(0, 0)) == "none (0/0)"
    assert np.isnan(Share(0, 0, np.nan, np.nan).share)


def test_hodges_lehmann_equals_r():
    # R: wilcox.test(x, y, conf.int = TRUE) gives 0.305 and -0.15 to 0.76.
    shift = hodges_lehmann(TERM, EARLIER)
    assert (shift.estimate, shift.low, shift.high) == pytest.approx((0.305, -0.15, 0.76))
    mirrored = hodges_lehmann(EARLIER, TERM)
    assert (mirrored.low, mirrored.high) == pytest.approx((-0.76, 0.15))


def test_hodges_lehmann_follows_a_shift():
    near = hodges_lehmann(TERM, EARLIER)
    far = hodges_lehmann(np.array(TERM) + 10, EARLIER)
    assert far.estimate - near.estimate == pytest.approx(10)
    assert hodges_lehmann([3.0], [1.0]).estimate == 2.0


def test_mann_whitney_equals_r():
    # R's help page: W = 35, one-sided p = 0.1272 (half of ours, the statistic being symmetric).
    result = mann_whitney(TERM, EARLIER)
    assert result.statistic == 35
    assert result.p / 2 == pytest.approx(0.1272, abs=5e-5)


def test_t_tests_equal_r():
    result = t_test(SLEEP_1, SLEEP_2, equal_var=False)
    assert (result.statistic, result.p) == pytest.approx((-1.8608, 0.07939), abs=5e-5)
    # R: t.test(..., var.equal = TRUE) gives p = 0.07919.
    assert t_test(SLEEP_1, SLEEP_2, equal_var=True).p == pytest.approx(0.07919, abs=5e-6)
    assert np.isnan(t_test([1.0], SLEEP_2, equal_var=False).p)


def test_clustered_interval_of_single_trials_is_nearly_wilsons():
    hits = np.array([1] * 30 + [0] * 15)
    ours, plain = clustered_interval(hits, np.ones(45)), wilson(30, 45)
    assert (ours.low, ours.high) == pytest.approx((plain.low, plain.high), abs=0.005)


def test_clusters_that_agree_within_widen_the_interval():
    trials = np.full(45, 10)
    split = clustered_interval([10] * 30 + [0] * 15, trials)
    mixed = clustered_interval([7] * 30 + [6] * 15, trials)
    assert split.estimate == pytest.approx(mixed.estimate)
    # All ten draws of an image say the same: 450 draws hold no more than 45 images' worth.
    assert split.high - split.low == pytest.approx(
        wilson(30, 45).high - wilson(30, 45).low, abs=0.005
    )
    assert mixed.high - mixed.low < (split.high - split.low) / 2


def test_clustered_interval_when_every_draw_hits_or_there_is_none():
    every = clustered_interval([10] * 45, [10] * 45)
    assert (every.estimate, every.high) == (1.0, 1.0)
    assert every.low == pytest.approx(wilson(45, 45).low)
    assert np.isnan(clustered_interval([], []).estimate)


def test_clustered_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        shares = rng.beta(8, 2, size=45)
        interval = clustered_interval(rng.binomial(10, shares), np.full(45, 10))
        covered += interval.low <= 0.8 <= interval.high
    assert 0.92 <= covered / 400 <= 0.98


def test_bootstrap_is_repeatable_and_wider_than_a_binomial_when_raters_differ():
    rng = np.random.default_rng(0)
    matrix = rng.random((5, 150)) < np.array([0.95, 0.9, 0.8, 0.6, 0.5])[:, None]
    interval = bootstrap_mean(matrix, seed=3)
    assert interval == bootstrap_mean(matrix, seed=3)
    assert interval != bootstrap_mean(matrix, seed=4)
    assert interval.low < interval.estimate < interval.high
    naive = wilson(int(matrix.sum()), matrix.size)
    assert interval.high - interval.low > 3 * (naive.high - naive.low)


def test_bootstrap_of_cases_alone_equals_scipys():
    # One rater: only cases are left to draw, which scipy's one-way bootstrap does too.
    values = (np.random.default_rng(1).random(150) < 0.8).astype(float)
    ours = bootstrap_mean(values[None], draws=9999)
    scipys = stats.bootstrap(
        (values,), np.mean, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((scipys.low, scipys.high), abs=0.008)


def test_a_rater_counts_once_however_often_they_answered():
    once = rater_interval([[1], [1], [0]])
    often = rater_interval([[1, 1, np.nan], [1, np.nan, np.nan], [0, 0, 0]])
    assert once == often
    plain = wilson(2, 3)
    assert (once.low, once.high) == pytest.approx((plain.low, plain.high))
    assert np.isnan(rater_interval(np.empty((0, 0))).low)


def test_bootstrap_leaves_out_missing_ratings():
    matrix = np.array([[1.0, np.nan, 0.0], [1.0, 1.0, np.nan]])
    assert bootstrap_mean(matrix).estimate == 0.75
    assert np.isnan(bootstrap_mean(np.full((2, 2), np.nan)).low)
    assert np.isnan(bootstrap_mean(np.empty((0, 0))).estimate)
