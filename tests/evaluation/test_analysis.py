"""Ratings become rows: counts, shares, missing ratings, agreement; order has no effect."""

import random

import numpy as np
import pytest

from skingpt4.evaluation.report.analysis import analyse, bars
from skingpt4.evaluation.report.result_tables import agreement_table, likert_table
from skingpt4.evaluation.scoring.statistics import wilson
from skingpt4.evaluation.study.ratings import Rating


def rate(score, rater="A", case="1", item=1, system="s", kind="dermatologist"):
    return Rating(rater, kind, case, system, item, score)


def full(score_of, raters="ABC", cases=6, items=(1, 2, 3, 4, 5), **more):
    return [
        rate(score_of(rater, case, item), rater, str(case), item, **more)
        for rater in raters
        for case in range(cases)
        for item in items
    ]


def row_of(analysis, item, system="s", kind="dermatologist"):
    (row,) = [
        row
        for row in analysis.likert
        if (row.item, row.system, row.rater_kind) == (item, system, kind)
    ]
    return row


def test_counts_shares_and_intervals_of_an_item():
    analysis = analyse(full(lambda rater, case, item: 5 if rater != "C" else case % 3 + 1))
    row = row_of(analysis, 1)
    assert row.counts == (2, 2, 2, 0, 12)
    assert (row.agree.k, row.agree.n) == (12, 18)
    assert row.agree == wilson(12, 18)
    assert (row.raters, row.cases, row.missing) == (3, 6, 0)
    assert row.sampled.estimate == pytest.approx(12 / 18)
    # One rater of three never agrees: other raters could do anything.
    assert (row.sampled.low, row.sampled.high) == (0.0, 1.0)


def test_the_order_of_ratings_has_no_effect():
    ratings = full(lambda rater, case, item: (ord(rater) + case * item) % 5 + 1)
    shuffled = random.Random(0).sample(ratings, len(ratings))
    # Compared as text, because nan differs from itself.
    assert repr(analyse(shuffled)) == repr(analyse(ratings))


def test_missing_ratings_are_counted():
    ratings = full(lambda *_: 4)
    gaps = [r for r in ratings if not (r.item == 2 and r.case in "01") and r.item != 4]
    analysis = analyse(gaps)
    assert row_of(analysis, 2).missing == 3 * 2
    assert row_of(analysis, 1).missing == 0
    nobody = row_of(analysis, 4)
    assert (nobody.missing, nobody.agree.n, nobody.counts) == (18, 0, (0, 0, 0, 0, 0))
    text = likert_table(analysis.likert).markdown()
    assert "none (0/0)" in text
    assert "nan" not in text


def test_lay_raters_stand_apart_and_owe_items_3_and_5_only():
    ratings = full(lambda *_: 5) + full(lambda *_: 1, raters="XY", items=(3,), kind="lay")
    analysis = analyse(ratings)
    assert row_of(analysis, 3).agree.k == 18
    assert row_of(analysis, 3, kind="lay").agree.k == 0
    assert row_of(analysis, 5, kind="lay").missing == 12
    assert {row.item for row in analysis.likert if row.rater_kind == "lay"} == {3, 5}


def test_items_6_and_7_count_once_a_rater_where_asked_so():
    ratings = [*full(lambda *_: 5), rate(5, "A", "", 6, ""), rate(2, "B", "", 6, "")]
    row = row_of(analyse(ratings), 6, system="")
    assert row.rater_level
    assert (row.agree.k, row.agree.n, row.cases, row.missing) == (1, 2, 0, 1)
    assert not row_of(analyse(ratings), 1).rater_level


def test_repeating_item_7_on_every_case_adds_no_evidence():
    def opinion(rater, case, item):
        return 5 if rater in "ABC" else 1

    few = analyse(full(opinion, raters="ABCDE", cases=1, items=(7,)))
    many = analyse(full(opinion, raters="ABCDE", cases=100, items=(7,)))
    few, many = row_of(few, 7), row_of(many, 7)
    assert many.agree.high - many.agree.low < 0.1  # what counting ratings would make of it
    assert many.sampled == few.sampled
    five = wilson(3, 5)
    assert (many.sampled.low, many.sampled.high) == pytest.approx((five.low, five.high))


def test_agreement_of_raters_who_agree_and_who_do_not():
    same = analyse(full(lambda rater, case, item: case % 5 + 1)).agreement
    assert [row.item for row in same] == [1, 2, 3, 4, 5]
    for value in (same[0].alpha, same[0].ac2, same[0].icc):
        assert value.estimate == pytest.approx(1.0)
    rng = np.random.default_rng(0)
    apart = analyse(full(lambda *_: int(rng.integers(1, 6)), cases=200)).agreement[0]
    assert abs(apart.alpha.estimate) < 0.1
    assert apart.alpha.low < 0 < apart.alpha.high
    assert (apart.raters, apart.cases) == (3, 200)


def test_agreement_with_one_rater_is_a_dash_not_a_number():
    analysis = analyse(full(lambda rater, case, item: case % 5 + 1, raters="A"))
    row = analysis.agreement[0]
    assert row.cases == 0
    assert np.isnan([row.alpha.estimate, row.ac2.estimate, row.icc.estimate]).all()
    assert "| – | – | – |" in agreement_table(analysis.agreement).markdown()


def test_icc_is_taken_over_cases_that_all_rated():
    ratings = full(lambda rater, case, item: case % 5 + 1)
    ratings.append(rate(1, "A", "only A"))
    row = analyse(ratings).agreement[0]
    assert row.icc.estimate == pytest.approx(1.0)
    assert row.cases == 6


def test_what_a_rater_did_not_rate_is_a_gap_not_a_score():
    analysis = analyse([rate(1, "A", "x"), rate(2, "B", "y")])
    row = row_of(analysis, 1)
    assert (row.counts, row.raters, row.cases) == ((1, 1, 0, 0, 0), 2, 2)
    # No case was rated by both, so nothing is known of how far they agree.
    assert analysis.agreement[0].cases == 0
    assert np.isnan(analysis.agreement[0].alpha.estimate)


def test_bars_join_items_of_no_system_to_every_system():
    ratings = full(lambda *_: 5) + full(lambda *_: 4, system="t") + [rate(5, "A", "", 6, "")]
    drawn = dict(bars(analyse(ratings).likert))
    assert list(drawn) == ["s, rated by 3 dermatologists", "t, rated by 3 dermatologists"]
    assert all([row.item for row in rows] == [1, 2, 3, 4, 5, 6] for rows in drawn.values())
    (alone,) = bars(analyse([rate(5, "A", "", 6, "")]).likert)
    assert alone[0] == "Items about raters, rated by 1 dermatologist"


def test_no_ratings_make_no_rows():
    assert analyse([]).likert == []
