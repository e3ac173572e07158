"""The second opinion: what is drawn, what is counted, what the page says of it."""

import itertools
import threading
from functools import partial

import gradio as gr
import pytest

from skingpt4.common.files import PACKAGE_ROOT
from skingpt4.demo.features.opinion import (
    AGREEMENT,
    Opinion,
    OpinionPanel,
    OpinionState,
    chart,
    draw,
    read,
    summary_on,
    verdict,
)
from skingpt4.demo.i18n import say
from skingpt4.demo.page import Page
from skingpt4.demo.queue import WaitingRoom, run_job
from skingpt4.demo.session import Session, Sessions
from skingpt4.dermatology import CLASSES, CONDITIONS, QUESTIONS
from skingpt4.labeler import label_text

PSORIASIS = "This could be a skin disease image of psoriasis."
TINEA = "This could be a skin disease image of tinea ringworm, not psoriasis."
NOTHING = "I cannot tell from this photo."
MELANOMA = "This could be a skin disease image of melanoma."
MOLE = "This looks like a common mole."
KERATOSIS = "It is an actinic keratosis."
EITHER = "This is a mole or an early melanoma."


def opinion_of(*answers, draws=None):
    return Opinion(draws or len(answers), seed=5, answers=dict(enumerate(answers)))


def counted(*answers, language="en"):
    return [(reading.name(language), count) for reading, count in opinion_of(*answers).counts]


def test_what_an_answer_settles_on_is_counted():
    counts = counted(PSORIASIS, TINEA, PSORIASIS, NOTHING)
    assert counts == [("psoriasis", 2), ("tinea", 1), (say("opinion.none", "en"), 1)]


def test_melanoma_and_mole_are_never_the_same_condition():
    """The paper files both in one class."""
    answers = [MELANOMA] * 5 + [MOLE] * 5
    assert label_text(MELANOMA).top == label_text(MOLE).top
    assert counted(*answers) == [("melanoma", 5), ("melanocytic nevus", 5)]
    assert not opinion_of(*answers).agrees


@pytest.mark.parametrize("entry", CLASSES, ids=lambda entry: entry.name)
def test_no_class_makes_a_malignant_and_a_benign_disease_one(entry):
    diseases = [one for one in CONDITIONS.values() if label_text(one.name).top == entry.name]
    for one, other in itertools.combinations(diseases, 2):
        if one.malignancy != other.malignancy:
            assert read(f"It is {one.name}.") != read(f"It is {other.name}.")


def test_an_answer_that_leaves_open_which_is_a_row_of_its_own():
    turned = "This is an early melanoma or a mole."
    counts = counted(EITHER, turned, MELANOMA)
    assert counts == [("melanocytic nevus / melanoma", 2), ("melanoma", 1)]


def test_a_chinese_page_has_chinese_names(make_chat):
    assert counted(MELANOMA, EITHER, language="zh")[0] == ("黑色素瘤", 1)
    session = Session(make_chat())
    session.language = "zh"
    page = chart(opinion_of(MELANOMA), session)
    assert '黑色素瘤<small><span lang="en">melanoma</span>' in page
    assert f'<li lang="en">{MELANOMA}</li>' in page


def kinds(**counts):
    """The sentence's list: how many answers named which kind."""
    named = [
        say("opinion.named", "en", count=count, kind=say(f"opinion.kind_{kind}", "en"))
        for kind, count in counts.items()
    ]
    return ", ".join(named)


@pytest.mark.parametrize(
    ("answers", "key", "told"),
    [
        ([MELANOMA] * 4 + [MOLE] * 6, "disputed", {"malignant": 4, "benign": 6}),
        ([MELANOMA] * 9 + [EITHER], "disputed", {"malignant": 9, "mixed": 1}),
        ([KERATOSIS] * 3 + [PSORIASIS], "disputed", {"premalignant": 3, "non_neoplastic": 1}),
        ([KERATOSIS, MELANOMA], "disputed", {"malignant": 1, "premalignant": 1}),
        ([MELANOMA] * 9 + [NOTHING], "certain", {"malignant": 9, "none": 1}),
        ([MOLE, PSORIASIS], "harmless", {"benign": 1, "non_neoplastic": 1}),
        (["A vascular lesion."], "harmless", {"unclear": 1}),
        ([NOTHING], "harmless", {"none": 1}),
    ],
)
def test_whether_it_is_cancer_is_told_apart_from_the_diseases(answers, key, told):
    sentence = say(f"opinion.{key}", "en", done=len(answers), kinds=kinds(**told))
    said = verdict(opinion_of(*answers), "en")
    assert f'<p class="verdict {key}">{sentence}</p>' in said
    assert said.count("<p") == 2


def test_an_answer_that_keeps_melanoma_in_mind_is_told():
    warning = say("opinion.warned", "en", count=1)
    open_answer = "Most likely a mole; melanoma cannot be ruled out."
    assert warning in verdict(opinion_of(MOLE, open_answer), "en")
    assert warning not in verdict(opinion_of(MOLE, "A mole, not melanoma."), "en")


def test_agreement_is_no_good_news():
    said = verdict(opinion_of(*[MELANOMA] * 10), "en")
    assert "no sign that it is right" in said
    style = (PACKAGE_ROOT / "demo" / "style.css").read_text(encoding="utf-8")
    rules = [rule for rule in style.split("}") if "#opinion-chart" in rule]
    assert rules and not any("--primary" in rule or ".agrees" in rule for rule in rules)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_figure_holds_the_notice(make_chat, language):
    session = Session(make_chat(notice=say("masthead.drawn", "en")))
    session.language = language
    figure, _answers = chart(opinion_of(MELANOMA), session).split("</figure>")
    assert f"<figcaption>{say('masthead.drawn', language)}</figcaption>" in figure
    session = Session(make_chat(notice=""))
    assert say("masthead.disclaimer", "en") in chart(opinion_of(MELANOMA), session)


def test_the_report_gets_names_in_its_language(open_panel):
    panel, session = open_panel(MELANOMA, MOLE)
    assert summary_on(session.case, "en") == ([], "")
    list(begin(panel, session, 2))
    assert summary_on(session.case, "en")[0] == [("melanoma", 1), ("melanocytic nevus", 1)]
    assert summary_on(session.case, "zh")[0] == [("黑色素瘤", 1), ("黑素细胞痣", 1)]


def test_it_appears_with_the_first_answer_and_stays_for_a_retry(open_panel):
    panel, session = open_panel(MELANOMA)
    assert panel.show(session)["box"] == gr.update(visible=True)
    session.ask_again()
    assert panel.show(session)["box"] == gr.update(visible=True)
    session.begin_again()
    assert panel.show(session)["box"] == gr.update(visible=False)


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


def test_the_first_question_is_asked_of_all_photos_with_one_seed_each(open_panel, send):
    _, session = open_panel(PSORIASIS, TINEA)
    send(session)
    session.case.seed = 7
    list(draw(session, 2.0, threading.Event()))
    ((prompt, photos, seeds, settings),) = session.chat.drawn
    assert QUESTIONS[0] in prompt and prompt.count("<ImageHere>") == photos == 2
    assert seeds == [7, 8]
    assert settings == {"temperature": 1.0}
    assert session.case.panel_state(OpinionState).opinion.is_complete


@pytest.fixture
def open_panel(drawing, send):
    """A panel of names, and a session with a photo about which a question was answered."""

    def make(*answers):
        panel = OpinionPanel(**{name: name for name in OpinionPanel.__dataclass_fields__})
        session = Session(drawing(*answers))
        send(session)
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
    assert growing[1]["stop"] == gr.update(visible=True)
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


def test_deleting_everything_ends_it_and_clears_the_chart(open_panel):
    panel, session = open_panel(PSORIASIS, TINEA)
    shown = begin(panel, session, 2)
    next(shown), next(shown)
    session.forget()
    *_, last = shown
    assert (last["chart"], last["begin"]) == ("", gr.update(interactive=False))


def test_an_added_photo_makes_it_stale(open_panel, send):
    panel, session = open_panel(PSORIASIS)
    list(begin(panel, session, 1))
    record = session.case.panel_state(OpinionState)
    assert record.on(session.case) is record.opinion is not None
    send(session)
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
    page = Page(Sessions(session.chat), "status", "version", (panel,))
    list(begin(panel, session, 1))
    assert "psoriasis" in page.show(session)["chart"]
    session.begin_again()
    assert page.show(session)["chart"] == ""
    assert session.case.panel_state(OpinionState).opinion is None
