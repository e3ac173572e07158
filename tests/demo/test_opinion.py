"""The second opinion: what is drawn, what is counted, what the page says of it."""

import threading
from functools import partial

import gradio as gr
import pytest

from skingpt4.demo.features.opinion import (
    AGREEMENT,
    Opinion,
    OpinionPanel,
    OpinionState,
    chart,
    draw,
)
from skingpt4.demo.i18n import say
from skingpt4.demo.page import Page
from skingpt4.demo.queue import WaitingRoom, run_job
from skingpt4.demo.session import Session, Sessions
from skingpt4.dermatology import QUESTIONS

PSORIASIS = "This could be a skin disease image of psoriasis."
TINEA = "This could be a skin disease image of tinea ringworm, not psoriasis."
NOTHING = "I cannot tell from this photo."


def opinion_of(*answers, draws=None):
    return Opinion(draws or len(answers), seed=5, answers=dict(enumerate(answers)))


def test_what_an_answer_settles_on_is_counted():
    opinion = opinion_of(PSORIASIS, TINEA, PSORIASIS, NOTHING)
    (first, count), *others = opinion.counts
    assert (first, count) == ("Psoriasis and lichen planus", 2)
    assert sorted(count for _, count in others) == [1, 1]
    assert dict(others)[None] == 1
    assert opinion.words(first) == ["psoriasis"]


@pytest.mark.parametrize(("same", "agrees"), [(6, False), (7, True), (10, True)])
def test_agreement_is_seven_of_ten(same, agrees):
    assert AGREEMENT == 0.7
    opinion = opinion_of(*[PSORIASIS] * same, *[TINEA] * (10 - same))
    assert opinion.agrees is agrees


def test_answers_that_name_nothing_do_not_agree():
    assert not opinion_of(*[NOTHING] * 10).agrees


@pytest.fixture
def drawing(make_chat):
    """A chat that draws, and notes how it was asked."""

    def make(*answers):
        chat = make_chat()
        chat.drawn = []

        def draw(conversation, photos, seeds, *, cancel, **settings):
            chat.drawn.append((conversation.get_prompt(), len(photos), list(seeds), settings))
            for number, answer in enumerate(answers):
                if cancel.is_set():
                    return
                yield number, answer

        chat.draw = draw
        return chat

    return make


def test_the_first_question_is_asked_of_all_photos_with_one_seed_each(open_panel, photo_bytes):
    _, session = open_panel(PSORIASIS, TINEA)
    session.add_photo(photo_bytes)
    session.case.seed = 7
    list(draw(session, 2.0, threading.Event()))
    ((prompt, photos, seeds, settings),) = session.chat.drawn
    assert QUESTIONS[0] in prompt and prompt.count("<ImageHere>") == photos == 2
    assert seeds == [7, 8]
    assert settings == {"temperature": 1.0}
    assert session.case.panel_state(OpinionState).opinion.is_complete


@pytest.fixture
def open_panel(drawing, photo_bytes):
    """A panel of names, a page and a session with a photo."""

    def make(*answers):
        panel = OpinionPanel(**{name: name for name in OpinionPanel.__dataclass_fields__})
        session = Session(drawing(*answers))
        session.show_photo(photo_bytes)
        return panel, session

    return make


def begin(panel, session, draws):
    """Draw an opinion when it is its turn; yield what the panel shows meanwhile."""
    job = run_job("opinion", session, WaitingRoom(1), partial(draw, session, draws))
    next(job)
    for _ in job:
        yield panel.show(session)


def test_the_chart_grows_and_ends_with_a_verdict(open_panel):
    panel, session = open_panel(PSORIASIS, TINEA, PSORIASIS)
    *growing, last = begin(panel, session, 3)
    assert say("opinion.progress", "en", done=1, draws=3) in growing[1]["status"]
    assert growing[1]["stop"] == gr.update(interactive=True)
    assert say("opinion.differs", "en", count=2, done=3) in last["chart"]
    assert "verdict" not in growing[1]["chart"]
    assert last["begin"] == gr.update(interactive=True)


def test_stop_keeps_what_was_drawn_without_a_verdict(open_panel):
    panel, session = open_panel(PSORIASIS, TINEA, PSORIASIS)
    shown = begin(panel, session, 3)
    next(shown), next(shown)
    session.case.end("opinion")
    *_, last = shown
    assert "Stopped" in last["status"]
    assert "psoriasis" in last["chart"] and "verdict" not in last["chart"]


def test_restart_ends_it_and_clears_the_chart(open_panel):
    panel, session = open_panel(PSORIASIS, TINEA)
    shown = begin(panel, session, 2)
    next(shown), next(shown)
    session.restart()
    *_, last = shown
    assert (last["chart"], last["begin"]) == ("", gr.update(interactive=False))


def test_an_added_photo_makes_it_stale(open_panel, photo_bytes):
    panel, session = open_panel(PSORIASIS)
    list(begin(panel, session, 1))
    record = session.case.panel_state(OpinionState)
    assert record.on(session.case) is record.opinion is not None
    session.add_photo(photo_bytes)
    shown = panel.show(session)
    assert (shown["chart"], record.on(session.case)) == ("", None)
    assert say("opinion.stale", "en") in shown["status"]
    *_, last = begin(panel, session, 1)
    assert "psoriasis" in last["chart"] and say("opinion.stale", "en") not in last["status"]


def test_an_error_leaves_the_opinion_before(open_panel):
    panel, session = open_panel(PSORIASIS)
    list(begin(panel, session, 1))
    session.chat.draw = None
    *_, last = begin(panel, session, 1)
    assert 'class="error"' in last["status"]
    assert session.case.running == set()


def test_model_text_is_escaped(make_chat):
    session = Session(make_chat())
    page = chart(opinion_of("<b>psoriasis</b>"), session)
    assert "<b>" not in page and "&lt;b&gt;psoriasis" in page


def test_page_shows_each_case_its_own(open_panel):
    panel, session = open_panel(PSORIASIS)
    page = Page(Sessions(session.chat), "status", (panel,))
    list(begin(panel, session, 1))
    assert "psoriasis" in page.show(session)["chart"]
    session.restart()
    assert page.show(session)["chart"] == ""
    assert session.case.panel_state(OpinionState).opinion is None
