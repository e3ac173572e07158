"""Agreement coefficients equal published worked examples; each names its source."""

import numpy as np
import pytest

from skingpt4.evaluation.scoring.agreement import (
    bootstrap_units,
    gwet_ac2,
    icc,
    krippendorff_alpha,
    mean_squares,
    ordinal_weights,
)

NONE = 0
# Four observers, twelve units, five scores, missing ratings: Krippendorff 2011, "Computing
# Krippendorff's Alpha-Reliability", section C; the same data as Gwet's `cac.raw4raters` (irrCAC).
FOUR_RATERS = [
    [1, 1, NONE, 1],
    [2, 2, 3, 2],
    [3, 3, 3, 3],
    [3, 3, 3, 3],
    [2, 2, 2, 2],
    [1, 2, 3, 4],
    [4, 4, 4, 4],
    [1, 1, 2, 1],
    [2, 2, 2, 2],
    [NONE, 5, 5, 5],
    [NONE, NONE, 1, 1],
    [NONE, NONE, 3, NONE],
]

# Shrout and Fleiss 1979, Psychol Bull 86:420, Table 2: six targets, four judges.
SHROUT_FLEISS = [
    [9, 2, 5, 8],
    [6, 1, 3, 2],
    [8, 4, 6, 8],
    [7, 1, 2, 6],
    [10, 5, 6, 9],
    [6, 2, 4, 7],
]


def count(rows, levels=5):
    return np.array([[row.count(level) for level in range(1, levels + 1)] for row in rows])


def test_krippendorffs_alpha_equals_his_ordinal_example():
    assert krippendorff_alpha(count(FOUR_RATERS)) == pytest.approx(0.815, abs=5e-4)


def test_alpha_ignores_units_with_one_rating_and_unused_scores():
    counts = count(FOUR_RATERS)
    assert krippendorff_alpha(counts[:-1]) == krippendorff_alpha(counts)
    assert krippendorff_alpha(np.pad(counts, ((0, 0), (2, 2)))) == pytest.approx(
        float(krippendorff_alpha(counts))
    )


def test_alpha_of_perfect_agreement_chance_and_nothing():
    assert krippendorff_alpha([[4, 0, 0, 0, 0], [0, 0, 4, 0, 0]]) == pytest.approx(1.0)
    random = np.random.default_rng(0).multinomial(5, [0.2] * 5, size=3000)
    assert abs(krippendorff_alpha(random)) < 0.02
    assert np.isnan(krippendorff_alpha([[0, 0, 0, 5, 0]] * 3))
    assert np.isnan(krippendorff_alpha([[0, 1, 0, 0, 0]] * 3))


def test_gwets_ac2_equals_irrcac():
    # R package irrCAC on cac.raw4raters with ordinal weights: 0.899 (pa 0.968, pe 0.685).
    assert gwet_ac2(count(FOUR_RATERS)) == pytest.approx(0.899, abs=5e-4)


def test_ordinal_weights_equal_gwets():
    # Gwet 2014, chapter 3; irrCAC's ordinal.weights(1:3).
    assert ordinal_weights(3) == pytest.approx(
        np.array([[1, 2 / 3, 0], [2 / 3, 1, 2 / 3], [0, 2 / 3, 1]])
    )


def test_ac2_of_agreement_on_one_score_is_one_where_alpha_is_undefined():
    assert gwet_ac2([[0, 0, 0, 0, 5]] * 4) == pytest.approx(1.0)
    assert np.isnan(gwet_ac2(np.zeros((3, 5))))


def test_coefficients_take_batches():
    tables = np.random.default_rng(0).multinomial(5, [0.1, 0.1, 0.2, 0.3, 0.3], size=(7, 40))
    for coefficient in (krippendorff_alpha, gwet_ac2):
        one_by_one = [float(coefficient(table)) for table in tables]
        assert coefficient(tables) == pytest.approx(np.array(one_by_one))


@pytest.mark.parametrize("coefficient", [krippendorff_alpha, gwet_ac2])
def test_bootstrap_over_units_is_repeatable_and_encloses_the_estimate(coefficient):
    interval = bootstrap_units(coefficient, count(FOUR_RATERS), seed=1)
    assert interval == bootstrap_units(coefficient, count(FOUR_RATERS), seed=1)
    assert interval.low < interval.estimate < interval.high <= 1
    assert np.isnan(bootstrap_units(coefficient, np.zeros((3, 5))).estimate)


def test_icc_equals_shrout_and_fleiss():
    # Their Table 3: BMS 11.24, JMS 32.49, EMS 1.02; Table 4: ICC(2,1) = .29.
    table = np.array(SHROUT_FLEISS, dtype=float)
    assert mean_squares(table) == pytest.approx((11.24, 32.49, 1.02), abs=5e-3)
    result = icc(table)
    assert result.estimate == pytest.approx(0.29, abs=5e-3)
    # R, psych::ICC on the same data: 0.019 to 0.761.
    assert (result.low, result.high) == pytest.approx((0.019, 0.761), abs=5e-4)


def test_icc_of_perfect_agreement_and_of_too_little():
    assert icc([[1, 1], [3, 3], [5, 5]]).estimate == pytest.approx(1.0)
    for table in ([[4, 4], [4, 4]], [[1, 2, 3]], [[1], [2]]):
        assert np.isnan(icc(table).estimate)


def test_icc_is_unknown_where_the_variances_cancel_out():
    assert np.isnan(icc([[1, 2], [2, 1]]).estimate)
