"""What the conversation's actions show: sentences for people, nothing of theirs in the log."""

import logging
import threading
from types import SimpleNamespace

import gradio as gr
import pytest

from skingpt4.common.errors import ChatError
from skingpt4.demo.features import consultation
from skingpt4.demo.features.consultation import (
    CHOICES,
    DEFAULTS,
    ConversationActions,
    ConversationPanel,
)
from skingpt4.demo.i18n import say, status
from skingpt4.demo.page import Page
from skingpt4.demo.queue import WaitingRoom
from skingpt4.demo.session import Sessions
from skingpt4.dermatology import QUESTIONS

CHOSEN = [getattr(DEFAULTS, name) for name in CHOICES]
STEPS = ("step 1", "step 2", "step 3", "step 4")


def en(key):
    return say(f"conversation.{key}", "en")


def visitor(name, language="en"):
    return SimpleNamespace(session_hash=name, headers={"accept-language": language})


ANNA, BERT = visitor("anna"), visitor("bert")


class Tab:
    """The conversation's actions for one visitor, on a page whose parts are their names."""

    def __init__(self, actions, page, request=ANNA):
        self.actions = actions
        self.page = page
        self.request = request
        self.session = page.session(request)

    def other(self, request):
        return Tab(self.actions, self.page, request)

    def ask(self, question="What is it?"):
        return self.actions.ask(question, self.request)

    def answer(self):
        return self.actions.answer(self.request, *CHOSEN)

    def finish(self, question="What is it?"):
        """Ask and return the last of what is shown."""
        self.ask(question)
        *_, last = self.answer()
        return last

    def __getattr__(self, name):
        return lambda *inputs: getattr(self.actions, name)(self.request, *inputs)


@pytest.fixture
def open_tab(make_chat, photo_bytes):
    """Open a tab, with a photo unless told otherwise."""

    def make(photos=1, places=2, **chat):
        parts = {name: name for name in ConversationPanel.__dataclass_fields__}
        panel = ConversationPanel(**parts | {"steps": STEPS})
        page = Page(Sessions(make_chat(**chat)), "status", (panel,))
        tab = Tab(ConversationActions(panel, page, WaitingRoom(places)), page)
        for _ in range(photos):
            tab.session.add_photo(photo_bytes)
        return tab

    return make


def texts(updates, role):
    messages = [message for message in updates["chatbot"] if message["role"] == role]
    return [message["content"][0]["text"] for message in messages]


def test_question_and_answer(open_tab):
    tab = open_tab()
    asked = tab.ask()
    assert asked["question"] == ""
    assert asked["send"] == gr.update(interactive=False)
    assert asked["stop"] == gr.update(interactive=True)
    *pieces, last = tab.answer()
    assert [texts(piece, "assistant") for piece in pieces] == [["word0 "]]  # then one a frame
    assert texts(last, "assistant") == ["word0 word1 word2 "]
    assert last["chatbot"][-1]["content"][1]["text"] == en("note")
    assert last["send"] == gr.update(interactive=True)
    assert last["stop"] == gr.update(interactive=False)
    assert last["status"] == status("")


def test_a_steps_button_leaves_the_text_box_and_is_then_done(open_tab):
    tab = open_tab()
    labels = [tab.welcome()[step]["value"] for step in STEPS]
    assert labels == [f"▸ {en('step_1')}", *(en(f"step_{n}") for n in (2, 3, 4))]
    shown = tab.actions.ask_step(1)(ANNA)
    assert texts(shown, "user") == [QUESTIONS[0]]
    assert "question" not in shown
    *_, last = tab.answer()
    assert last["step 1"]["value"] == f"✓ {en('step_1')}"
    assert last["step 2"]["value"] == f"▸ {en('step_2')}"


def test_all_steps_that_are_left_are_asked_in_order(open_tab):
    tab = open_tab()
    tab.finish(QUESTIONS[1])
    *_, last = tab.ask_all(*CHOSEN)
    assert texts(last, "user") == [QUESTIONS[1], QUESTIONS[0], *QUESTIONS[2:]]
    assert last["status"] == status(en("all_asked"))
    assert [shown["status"] for shown in tab.ask_all(*CHOSEN)] == [status(en("all_asked"))]


def test_stop_ends_all_steps(open_tab):
    tab = open_tab()
    shown = tab.ask_all(*CHOSEN)
    next(shown), next(shown)
    tab.stop()
    *_, last = shown
    assert last["status"] == status(en("stopped"))
    assert texts(last, "user") == [QUESTIONS[0]]


def test_all_steps_without_a_photo_is_one_sentence(open_tab):
    (shown,) = open_tab(photos=0).ask_all(*CHOSEN)
    assert "no photo yet" in shown["status"]


def test_failed_question_keeps_the_text(open_tab):
    shown = open_tab(photos=0).ask()
    assert "no photo yet" in shown["status"]
    assert set(shown) == {"status"}


def test_settings_reach_the_model(open_tab):
    tab = open_tab()
    tab.session.case.seed = 5
    tab.ask()
    list(tab.actions.answer(ANNA, 0.7, 2.0, 0.5, 40.0))
    (decoding,) = tab.session.chat.decodings
    assert decoding == {
        "temperature": 0.7,
        "num_beams": 2,
        "top_p": 0.5,
        "max_new_tokens": 40,
        "seed": 5,
    }
    assert isinstance(decoding["num_beams"], int)


def test_stop(open_tab):
    tab = open_tab()
    tab.ask()
    pieces = tab.answer()
    next(pieces)
    tab.stop()
    (last,) = pieces
    assert last["status"] == status(en("stopped"))
    assert texts(last, "assistant") == ["word0 "]


def test_retry_replaces_the_answer_and_says_why_it_is_the_same(open_tab):
    tab = open_tab()
    tab.finish()
    tab.retry()
    *_, last = tab.answer()
    assert texts(last, "user") == ["What is it?"]
    assert last["status"] == status(en("same_again"))
    seeds = [decoding["seed"] for decoding in tab.session.chat.decodings]
    assert seeds == [seeds[0], seeds[0] + 1]


def test_edit_puts_the_question_back_and_the_next_one_in_its_place(open_tab):
    tab = open_tab()
    tab.finish("First?")
    tab.finish("Secnod?")
    shown = tab.edit()
    assert shown == {"question": "Secnod?", "status": status(en("editing"))}
    assert texts(tab.finish("Second?"), "user") == ["First?", "Second?"]
    assert texts(tab.finish("Third?"), "user") == ["First?", "Second?", "Third?"]


def test_nothing_to_edit_or_retry(open_tab):
    tab = open_tab()
    assert tab.edit() == {"status": status(en("nothing_to_edit"))}
    assert "ask one first" in tab.retry()["status"]
    assert not tab.welcome()["retry"]["interactive"]


def test_restart_during_an_answer_shows_the_empty_page(open_tab):
    tab = open_tab()
    tab.ask()
    pieces = tab.answer()
    next(pieces)
    assert tab.restart()["question"] == ""
    (last,) = pieces
    assert last["chatbot"] == []
    assert "status" not in last


def test_nothing_to_answer(open_tab):
    (shown,) = open_tab().answer()
    assert shown["chatbot"] == []
    assert shown["send"]["interactive"]
    assert "status" not in shown


def test_who_has_to_wait_is_told_and_answered_in_turn(open_tab, photo_bytes):
    anna = open_tab(places=1)
    bert = anna.other(BERT)
    bert.session.add_photo(photo_bytes)
    anna.ask()
    bert.ask()
    first, second = anna.answer(), bert.answer()
    next(first)
    assert next(second) == {"status": status(say("page.queue", "en", place=1))}
    threading.Timer(0.05, lambda: list(first)).start()
    assert next(second) == {"status": status(en("writing"))}
    *_, last = second
    assert texts(last, "assistant") == ["word0 word1 word2 "]


def test_who_gives_up_waiting_can_retry(open_tab, photo_bytes):
    anna = open_tab(places=1)
    bert = anna.other(BERT)
    bert.session.add_photo(photo_bytes)
    anna.ask()
    bert.ask("Bert's question")
    first, second = anna.answer(), bert.answer()
    next(first), next(second)
    bert.stop()
    *_, last = second
    assert (last["status"], texts(last, "user")) == (status(en("stopped")), [])
    list(first)
    bert.retry()
    *_, last = bert.answer()
    assert texts(last, "user") == ["Bert's question"]


def test_several_photos_are_named_where_they_come_in(open_tab, photo_bytes):
    tab = open_tab(photos=2)
    tab.finish("Two photos?")
    tab.session.add_photo(photo_bytes)
    shown = tab.finish("And this?")
    assert texts(shown, "user") == ["Photo 1 · Photo 2", "Photo 3"]
    assert shown["chatbot"][2]["content"][1]["text"] == "And this?"


def test_visitors_see_their_own_only(open_tab, photo_bytes):
    anna = open_tab()
    bert = anna.other(BERT)
    anna.ask("Anna's question")
    assert "no photo yet" in bert.ask("Bert's question")["status"]
    bert.session.add_photo(photo_bytes)
    assert texts(bert.ask("Bert's question"), "user") == ["Bert's question"]


def test_visitors_read_their_own_language(open_tab):
    tab = open_tab()
    chinese = tab.other(visitor("wang", "zh-CN,zh;q=0.9,en;q=0.5"))
    assert chinese.welcome()["status"] == status(say("conversation.welcome", "zh"))
    assert chinese.welcome()["step 1"]["value"].endswith(say("conversation.step_1", "zh"))
    assert tab.welcome()["status"] == status(en("welcome"))


def test_user_error_is_shown_and_escaped(open_tab):
    last = open_tab(error=ChatError("Value <b> is wrong.")).finish()
    assert "Value &lt;b&gt; is wrong." in last["status"]
    assert last["chatbot"] == []


def test_unforeseen_error_is_logged_without_what_it_quotes(open_tab, caplog):
    with caplog.at_level(logging.DEBUG):
        last = open_tab(error=ValueError("secret question")).finish()
    assert say("page.unexpected", "en") in last["status"]
    assert "ValueError" in caplog.text and "stream_answer" in caplog.text
    assert "secret" not in caplog.text


def test_markup_becomes_text(open_tab):
    shown = open_tab().ask("<img src=http://example.com>")
    assert texts(shown, "user") == ["&lt;img src=http://example.com>"]


@pytest.mark.parametrize(("seconds", "shown"), [(0, 3), (1000, 1)])
def test_a_fast_answer_is_shown_a_few_times_a_second(open_tab, monkeypatch, seconds, shown):
    monkeypatch.setattr(consultation, "FRAME_SECONDS", seconds)
    tab = open_tab(words=3)
    tab.ask()
    *pieces, last = tab.answer()
    assert len(pieces) == shown
    assert texts(last, "assistant") == ["word0 word1 word2 "]
