"""Paired comparison of systems: published example, exact test, and counting from answers."""

import numpy as np
import pytest
from scipy import stats

from skingpt4.evaluation.scoring.comparisons import compare_systems
from skingpt4.evaluation.scoring.statistics import mcnemar, paired_difference
from tests.evaluation.small_study import SYSTEMS, make_folder


def test_difference_equals_the_published_example():
    # Approval of a prime minister, asked twice: 794, 150, 86, 570 (Agresti 2002, Categorical Data
    # Analysis, 2nd edition, Table 10.1): 944/1600 - 880/1600 = 0.04, interval 0.02 to 0.06.
    interval = paired_difference(150, 86, 1600)
    assert interval.estimate == pytest.approx(0.04)
    assert (interval.low, interval.high) == pytest.approx((0.021, 0.059), abs=5e-4)


def test_mcnemar_is_the_binomial_test_of_the_discordant_pairs():
    # 2 (C(12,0) + C(12,1) + C(12,2)) / 2^12 = 2 × 79 / 4096, by hand.
    assert mcnemar(10, 2) == pytest.approx(2 * 79 / 4096)
    assert mcnemar(2, 10) == mcnemar(10, 2)
    assert mcnemar(0, 0) == 1.0
    # Agresti's example has z = 4.17, p < 0.0001.
    assert mcnemar(150, 86) < 1e-4


def test_no_difference_and_no_pairs():
    interval = paired_difference(5, 5, 150)
    assert interval.estimate == 0
    assert interval.low == -interval.high < 0
    assert paired_difference(3, 0, 3).high == 1.0
    assert np.isnan(paired_difference(0, 0, 0).estimate)


def test_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(1000):
        only_a, only_b, _ = rng.multinomial(150, [0.2, 0.1, 0.7])
        interval = paired_difference(int(only_a), int(only_b), 150)
        covered += interval.low <= 0.1 <= interval.high
    assert stats.binomtest(covered, 1000, 0.95).pvalue > 0.01


def test_systems_are_compared_on_the_cases_that_both_answered(tmp_path):
    cases, responses = make_folder(tmp_path / "evaluation", count=6)
    (row,) = compare_systems(cases, responses.rows)
    assert (row.system, row.other, row.n) == (*SYSTEMS, 6)
    # The second system says hives of all six; two of them are.
    assert (row.only_system, row.only_other) == (4, 0)
    assert row.difference.estimate == pytest.approx(4 / 6)
    # The reverse: those of which only the other is right.
    reverse = sorted(responses.rows, key=lambda row: row.system == SYSTEMS[0])
    (row,) = compare_systems(cases, reverse)
    assert (row.system, row.only_system, row.only_other) == (SYSTEMS[1], 0, 4)
    (shorter,) = compare_systems(cases, responses.rows[:-1])
    assert (shorter.n, shorter.only_system) == (5, 3)
    assert compare_systems(cases, responses.rows[:6]) == []
    assert compare_systems([], []) == []
