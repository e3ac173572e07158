"""What each click of the rating page shows and saves, without a browser."""

import gradio as gr
import pytest

from skingpt4.evaluation.study.assignment import NO_ANSWER, Study
from skingpt4.evaluation.study.rating_page import LOST, Actions, lay_out
from skingpt4.evaluation.study.rating_store import RatingStore
from tests.evaluation.small_study import SYSTEMS, make_folder


class Desk:
    """The page, its actions and a clock that goes on by one second at each look."""

    def __init__(self, folder):
        cases, responses = make_folder(folder)
        responses.rows[0].answers, responses.rows[0].error = [], "out of memory"
        self.failed = responses.rows[0].case
        study = Study(tuple(case.id for case in cases), SYSTEMS)
        self.store = RatingStore(folder / "ratings.sqlite", study, "hash")
        with gr.Blocks():
            self.page = lay_out(len(SYSTEMS))
        ticks = iter(range(1000))
        self.actions = Actions(
            self.page, self.store, cases, responses.rows, clock=lambda: float(next(ticks))
        )

    def start(self, name="Anna", kind="dermatologist"):
        shown = self.actions.start(name, kind)
        return shown[self.page.sitting], shown

    def rate_all(self, sitting, score=4):
        for column in range(len(SYSTEMS)):
            for item in range(1, 8):
                last = self.actions.rate(sitting, score, column, item)
        return last


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path / "evaluation")


def test_answers_reach_the_page_only_after_the_diagnosis_is_locked(desk):
    sitting, shown = desk.start()
    answers = [column.answers for column in desk.page.columns]
    assert [shown[part] for part in answers] == ["", ""]
    assert shown[desk.page.photo].startswith('<img src="data:image/jpeg;base64,')
    assert ".png" not in shown[desk.page.photo]
    locked = desk.actions.lock(sitting, "psoriasis")
    assert all(system in locked[part] for system, part in zip(SYSTEMS, answers, strict=True))
    assert "&lt;b&gt;here" in locked[answers[1]] and "<b>here" not in locked[answers[1]]


def test_a_refused_diagnosis_leaves_the_page_as_it_was(desk):
    sitting, _ = desk.start()
    refused = desk.actions.lock(sitting, " ")
    assert list(refused) == [desk.page.status]
    assert 'role="alert"' in refused[desk.page.status]


def test_each_click_is_saved_with_the_time_it_took(desk):
    sitting, _ = desk.start()
    desk.actions.lock(sitting, "psoriasis")
    said = desk.actions.rate(sitting, 2, 1, 3)
    assert "13 still to rate" in said[desk.page.status]
    (rating,) = desk.store.ratings()
    assert (rating.system, rating.item, rating.score, rating.seconds) == (SYSTEMS[1], 3, 2, 1.0)


def test_the_next_case_comes_when_all_is_rated_and_back_shows_what_was(desk):
    sitting, _ = desk.start()
    desk.actions.lock(sitting, "psoriasis")
    said = desk.actions.forward(sitting)[desk.page.status]
    assert "14 ratings are missing, first item 1 (two-step)" in said
    assert "This case is complete" in desk.rate_all(sitting)[desk.page.status]
    assert "Case 2 of 3" in desk.actions.forward(sitting)[desk.page.progress]
    before = desk.actions.back(sitting)
    assert before[desk.page.diagnosis]["value"] == "psoriasis"
    assert before[desk.page.columns[0].items[7]]["value"] == 4
    assert "Case 1 of 3" in desk.actions.back(sitting)[desk.page.progress]


def test_a_failed_answer_is_said_to_be_none(desk):
    sitting, shown = desk.start()
    while desk.actions._task(sitting).case != desk.failed:
        desk.actions.lock(sitting, "x")
        desk.rate_all(sitting)
        desk.actions.forward(sitting)
    shown = desk.actions.lock(sitting, "x")
    assert NO_ANSWER in shown[desk.page.columns[0].answers]
    assert "out of memory" not in shown[desk.page.columns[0].answers]


def test_lay_raters_are_shown_their_items_only(desk):
    sitting, _ = desk.start("Lee", "lay")
    shown = desk.actions.lock(sitting, "a rash")
    visible = {
        item for item, radio in desk.page.columns[0].items.items() if shown[radio]["visible"]
    }
    assert visible == {3, 5}


def test_a_page_that_outlived_its_server_says_what_to_do(desk):
    for act in (desk.actions.forward, desk.actions.back, lambda lost: desk.actions.lock(lost, "x")):
        assert LOST in act(None)[desk.page.status]
    assert LOST in desk.actions.rate(None, 5, 0, 1)[desk.page.status]


def test_one_name_for_two_raters(desk):
    desk.start("Anna")
    assert "already taken" in desk.actions.start("anna", "lay")[desk.page.status]
    assert "Nobody called" in desk.actions.resume("Ben")[desk.page.status]
