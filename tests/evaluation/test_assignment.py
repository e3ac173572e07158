"""Who rates which case, in which order and under which label."""

from collections import Counter

import pytest

from skingpt4.common.errors import EvaluationError
from skingpt4.evaluation.study.assignment import Study, is_simulated, items_for, pick_systems

CASES = tuple(f"c{number}" for number in range(30))


def test_every_rater_gets_every_case_in_an_order_of_their_own():
    study = Study(CASES, ("a",), seed=3)
    orders = [tuple(task.case for task in study.tasks(rater)) for rater in range(1, 6)]
    assert all(sorted(order) == sorted(CASES) for order in orders)
    assert len(set(orders)) == 5
    assert orders[0] == tuple(task.case for task in Study(CASES, ("a",), seed=3).tasks(1))
    assert orders[0] != tuple(task.case for task in Study(CASES, ("a",), seed=4).tasks(1))


@pytest.mark.parametrize(("share", "raters", "each"), [(6, 5, 1), (12, 5, 2), (10, 6, 2)])
def test_shares_cover_every_case_equally_often(share, raters, each):
    study = Study(CASES, ("a",), cases_per_rater=share)
    tasks = [[task.case for task in study.tasks(rater)] for rater in range(1, raters + 1)]
    assert all(len(set(own)) == share for own in tasks)
    assert set(Counter(case for own in tasks for case in own).values()) == {each}


def test_shares_that_do_not_divide_evenly_differ_by_one():
    study = Study(CASES, ("a",), cases_per_rater=7)
    counts = Counter(task.case for rater in range(1, 6) for task in study.tasks(rater))
    assert set(counts.values()) == {1, 2}


def test_blinding_hides_names_and_shuffles_places():
    study = Study(CASES, ("two-step", "step 1 only", "foreign"), blinded=True)
    tasks = study.tasks(1)
    assert {shown.label for task in tasks for shown in task.shown} == {
        "Answer A", "Answer B", "Answer C",
    }  # fmt: skip
    assert {shown.system for shown in tasks[0].shown} == set(study.systems)
    assert len({task.shown[0].system for task in tasks}) == 3
    assert [task.shown for task in tasks] != [task.shown for task in study.tasks(2)]


def test_without_blinding_names_stand_in_their_order():
    (shown,) = {task.shown for task in Study(CASES, ("x", "y")).tasks(1)}
    assert [(one.system, one.label) for one in shown] == [("x", "x"), ("y", "y")]


def test_lay_raters_are_asked_items_3_and_5_only():
    assert items_for("lay") == (3, 5)
    assert items_for("dermatologist") == (1, 2, 3, 4, 5, 6, 7)


def test_systems_are_picked_from_those_with_responses():
    assert pick_systems([], ["two-step", "other"]) == ("two-step",)
    assert pick_systems(["other"], ["two-step", "other"]) == ("other",)
    with pytest.raises(EvaluationError, match=r"'thrid' has no responses.*two-step, third"):
        pick_systems(["thrid"], ["two-step", "third"])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"cases": ()}, "at least one case"),
        ({"cases_per_rater": 31}, "--cases-per-rater 31 does not fit 30 cases"),
        ({"systems": tuple(map(str, range(27)))}, "27 systems"),
    ],
)
def test_an_impossible_plan_is_refused(change, sentence):
    with pytest.raises(EvaluationError, match=sentence):
        Study(**({"cases": CASES, "systems": ("a",)} | change))


def test_names_made_up_by_a_script_are_told_from_others():
    assert is_simulated(["Anna", "Simulated lay 1"])
    assert not is_simulated(["Anna", "Dr Simula"])
