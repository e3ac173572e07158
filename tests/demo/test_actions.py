"""What the conversation's actions do and show; nothing of what people write is in the log."""

import logging
import threading

import gradio as gr
import pytest

from skingpt4.common.errors import ChatError
from skingpt4.demo import queue
from skingpt4.demo import session as session_module
from skingpt4.demo.features.consultation import (
    CHOICES,
    DEFAULTS,
    JOB,
    WORDS,
    ConversationActions,
    ConversationPanel,
    SettingsPanel,
)
from skingpt4.demo.i18n import say, status
from skingpt4.demo.page import Page
from skingpt4.demo.queue import WaitingRoom
from skingpt4.demo.session import BUSY, Sessions
from skingpt4.dermatology import QUESTIONS
from tests.demo.conftest import Tab
from tests.waiting import wait_for

STEPS = ("step 1", "step 2", "step 3", "step 4")


def en(key, **values):
    return say(f"conversation.{key}", "en", **values)


def composed(text):
    """What an action puts into the composer: text only."""
    return {"composer": {"text": text, "files": []}}


class TalkingTab(Tab):
    """A tab with the conversation's actions, on a page whose parts are their names."""

    def __init__(self, actions, photos=(), **tab):
        super().__init__(actions.page, **tab)
        self.actions = actions
        for photo in photos:
            self.session.attach(photo)

    def other(self, name="bert", **tab):
        return TalkingTab(self.actions, name=name, **tab)

    def ask(self, question="What is it?", files=()):
        return self.actions.ask({"text": question, "files": list(files)}, self.request)

    def finish(self, question="What is it?"):
        """Ask, wait for the answer, and return what is shown then."""
        self.ask(question)
        return self.settle()

    def __getattr__(self, name):
        return lambda *inputs: getattr(self.actions, name)(*inputs, self.request)


@pytest.fixture
def open_tab(make_chat, good_photo):
    """Open a tab with a photo in its composer, unless told otherwise."""

    def make(photos=1, places=2, **chat):
        parts = {name: name for name in ConversationPanel.__dataclass_fields__}
        panel = ConversationPanel(**parts | {"steps": STEPS})
        settings = SettingsPanel([], tuple(WORDS), tuple(CHOICES), "seed", "draws")
        page = Page(Sessions(make_chat(**chat)), "status", "version", (panel, settings))
        return TalkingTab(
            ConversationActions(panel, page, WaitingRoom(places)), [good_photo] * photos
        )

    return make


@pytest.fixture
def paused_tab(open_tab):
    """Open a tab whose answers wait before each word until they are let go on."""

    def make(**tab):
        made = open_tab(**tab)
        made.session.chat.paused = True
        return made

    return make


def let_go(tab, words=1):
    for _ in range(words):
        tab.session.chat.go.release()


def texts(shown, role):
    """Return the first text of each message of a role."""
    messages = [one["content"] for one in shown["chatbot"]["value"] if one["role"] == role]
    return [next(part["text"] for part in message if "text" in part) for message in messages]


def photos_of(shown):
    """Return the descriptions of the photos in each question."""
    messages = [one["content"] for one in shown["chatbot"]["value"] if one["role"] == "user"]
    return [[part["alt_text"] for part in message if "file" in part] for message in messages]


def visible(shown, *parts):
    return [part for part in parts if shown[part]["visible"]]


def test_question_and_answer(paused_tab):
    tab = paused_tab()
    assert tab.ask() == composed("")
    shown = tab.look()
    assert texts(shown, "user") == ["What is it?"] and texts(shown, "assistant") == ["…"]
    assert shown["composer"] == gr.update(submit_btn=False, stop_btn=True)
    let_go(tab)
    wait_for(lambda: texts(tab.look(), "assistant") == ["word0 "])
    assert tab.look()["status"] == status(en("writing"))
    let_go(tab, 2)
    shown = tab.settle()
    assert texts(shown, "assistant") == ["word0 word1 word2 "]
    note = shown["chatbot"]["value"][-1]["content"][1]["text"]
    assert note == f"{en('saw')} Drawn &lt;images> only."
    assert shown["composer"] == gr.update(submit_btn=True, stop_btn=False)
    assert shown["status"] == status("")


def test_what_cannot_be_done_yet_is_not_shown(open_tab, good_photo):
    tab = open_tab(photos=0)
    shown = tab.look()
    parts = ("chatbot", "cards", "controls", "restart", "retry", "edit", "undo")
    assert visible(shown, *parts) == []
    tab.session.attach(good_photo)
    assert visible(tab.look(), *parts) == ["cards", "controls", "restart"]
    shown = tab.finish()
    assert visible(shown, *parts) == list(parts[:-1])
    tab.restart()
    assert visible(tab.look(), *parts) == ["undo"]


def test_a_card_shows_what_it_asks_and_leaves_what_is_typed(open_tab):
    tab = open_tab()
    shown = tab.look()
    labels = [f"{en(f'step_{n}')}\n{QUESTIONS[n - 1]}" for n in range(1, 5)]
    assert [shown[step]["value"] for step in STEPS] == labels
    assert visible(shown, *STEPS, "ask_all") == [*STEPS, "ask_all"]
    assert tab.actions.ask_step(1)(tab.request) is None
    shown = tab.settle()
    assert texts(shown, "user") == [QUESTIONS[0]]
    assert visible(shown, *STEPS) == ["step 2"], "only the next step is offered"
    assert shown["step 2"]["value"] == en("step_2")
    assert shown["ask_all"]["value"] == en("ask_rest", number=3)


def test_steps_are_to_be_asked_again_when_a_photo_is_added(open_tab, good_photo):
    tab = open_tab()
    tab.ask_all()
    assert visible(tab.settle(), "cards") == []
    late = tab.session.attach(good_photo)
    shown = tab.look()
    assert visible(shown, "cards", *STEPS) == ["cards", "step 1"]
    assert shown["ask_all"]["value"] == en("ask_all", number=4)
    tab.session.detach(late.key)
    assert visible(tab.look(), "cards") == []


def test_all_steps_that_are_left_are_asked_in_order(open_tab):
    tab = open_tab()
    tab.finish(QUESTIONS[1])
    tab.ask_all()
    shown = tab.settle()
    assert texts(shown, "user") == [QUESTIONS[1], QUESTIONS[0], *QUESTIONS[2:]]
    assert shown["status"] == status(en("all_asked"))
    tab.ask_all()
    assert texts(tab.settle(), "user") == texts(shown, "user")


def test_stop_ends_all_steps(paused_tab):
    tab = paused_tab()
    tab.ask_all()
    let_go(tab)
    wait_for(lambda: texts(tab.look(), "assistant") == ["word0 "])
    tab.stop()
    let_go(tab)
    shown = tab.settle()
    assert shown["status"] == status(en("stopped"))
    assert texts(shown, "user") == [QUESTIONS[0]]


def test_a_photo_that_comes_while_all_steps_are_asked_is_not_slipped_in(paused_tab, good_photo):
    tab = paused_tab()
    tab.ask_all()
    wait_for(lambda: tab.session.chat.active)
    late = tab.session.attach(good_photo)
    let_go(tab, 12)
    shown = tab.settle()
    assert texts(shown, "user") == [QUESTIONS[0]] and photos_of(shown) == [["Photo 1"]]
    assert tab.session.case.attached == [late]


def test_all_steps_without_a_photo_is_one_sentence(open_tab):
    tab = open_tab(photos=0)
    tab.ask_all()
    assert "no photo yet" in tab.settle()["status"]


def test_all_steps_stay_with_the_conversation_that_they_began_in(paused_tab, good_photo):
    tab = paused_tab()
    tab.ask_all()
    wait_for(lambda: tab.session.chat.active)
    old = tab.session.case
    tab.restart()
    tab.session.attach(good_photo)
    let_go(tab, 12)
    shown = tab.settle()
    assert [one.question for one in old.exchanges] == list(QUESTIONS)
    assert shown["chatbot"]["value"] == [] and shown["status"] == status(en("begun_again"))
    assert not tab.session.case.is_answering and len(tab.session.case.attached) == 1


def test_all_steps_end_with_a_conversation_that_is_let_go(paused_tab):
    tab = paused_tab()
    tab.ask_all()
    wait_for(lambda: tab.session.chat.active)
    old = tab.session.case
    tab.session.forget()
    let_go(tab, 12)
    tab.settle()
    assert old.exchanges == [] and len(tab.session.chat.decodings) == 1


def test_no_further_step_is_asked_of_a_conversation_that_is_let_go(open_tab):
    tab, ended = open_tab(), threading.Event()
    ended.set()
    assert list(tab.actions._write_all(tab.session, tab.session.case, ended)) == []
    assert tab.session.case.exchanges == [] and len(tab.session.case.attached) == 1


def test_a_refused_question_stays_in_the_composer(open_tab):
    tab = open_tab(photos=0)
    assert tab.ask() == composed("What is it?")
    assert "no photo yet" in tab.look()["status"]


def test_a_question_sent_during_an_answer_is_not_lost(paused_tab):
    """Enter still sends while the button says Stop."""
    tab = paused_tab()
    tab.ask("One?")
    assert tab.ask("Two?") == composed("Two?")
    shown = tab.look()
    assert BUSY in shown["status"] and texts(shown, "user") == ["One?"]
    let_go(tab, 3)
    assert texts(tab.settle(), "user") == ["One?"]


def test_a_question_in_chinese_to_a_model_that_reads_english_only_goes_back(open_tab):
    tab = open_tab()
    tab.session.language = "zh"
    config = tab.session.chat.model.config
    config.english_only = True
    assert tab.ask("这是什么？") == composed("这是什么？")
    shown = tab.look()
    assert shown["status"] == status(say("conversation.english", "zh"))
    assert shown["chatbot"]["value"] == [] and len(tab.session.case.attached) == 1
    config.english_only = False
    assert texts(tab.finish("这是什么？"), "user") == ["这是什么？"]


def test_a_question_that_waits_for_a_poor_photo_names_it(open_tab, poor_photo):
    tab = open_tab()
    tab.finish()
    poor = tab.session.attach(poor_photo)
    assert visible(tab.look(), "cards") == []
    assert tab.ask("Two?") == composed("Two?")
    shown = tab.look()
    assert "Photo 2 could be better" in shown["status"]
    assert texts(shown, "user") == ["What is it?"] and tab.session.case.attached == [poor]


def test_a_question_for_which_nobody_has_time_is_taken_back(open_tab, monkeypatch):
    monkeypatch.setattr(queue, "_SLOTS", threading.BoundedSemaphore(1))
    tab = open_tab()
    queue._SLOTS.acquire()
    assert tab.ask() == composed("What is it?")
    shown = tab.look()
    assert shown["status"] == status(say("page.full", "en"))
    assert shown["chatbot"]["value"] == [] and len(tab.session.case.attached) == 1
    assert shown["composer"] == gr.update(submit_btn=True, stop_btn=False)
    queue._SLOTS.release()
    assert texts(tab.finish(), "assistant") == ["word0 word1 word2 "]


def test_settings_reach_the_model_and_survive_a_reload(open_tab):
    tab = open_tab()
    chosen = {"temperature": 0.7, "num_beams": 2.0, "top_p": 0.5, "max_new_tokens": 40.0}
    for name, value in chosen.items():
        tab.actions.keep(name)(value, tab.request)
    tab.actions.keep("seed")(5.0, tab.request)
    tab.actions.keep("seed")(None, tab.request)
    tab.finish()
    (decoding,) = tab.session.chat.decodings
    assert decoding == chosen | {"seed": 5}
    assert isinstance(decoding["num_beams"], int)
    reloaded = Tab(tab.page, "after a reload", tab.key).shown
    assert {name: reloaded[name] for name in (*chosen, "seed")} == chosen | {"seed": 5}


def test_words_stand_for_numbers(open_tab):
    tab = open_tab()
    shown = tab.look()
    assert (shown["variety"], shown["length"]) == ("same", "usual")
    tab.actions.keep("temperature", WORDS["variety"])("varied", tab.request)
    tab.actions.keep("temperature", WORDS["variety"])("made up", tab.request)
    tab.actions.keep("max_new_tokens")(80, tab.request)
    shown = tab.look()
    assert (shown["variety"], shown["temperature"]) == ("varied", WORDS["variety"]["varied"])
    assert (shown["length"], shown["max_new_tokens"]) == (None, 80)


def test_stop(paused_tab):
    tab = paused_tab()
    tab.ask()
    let_go(tab)
    wait_for(lambda: texts(tab.look(), "assistant") == ["word0 "])
    tab.stop()
    let_go(tab)
    shown = tab.settle()
    assert shown["status"] == status(en("stopped"))
    assert texts(shown, "assistant") == ["word0 "]


def test_retry_replaces_the_answer_and_says_why_it_is_the_same(open_tab):
    tab = open_tab()
    tab.finish()
    tab.retry()
    shown = tab.settle()
    assert texts(shown, "user") == ["What is it?"]
    assert shown["status"] == status(en("same_again"))
    seeds = [decoding["seed"] for decoding in tab.session.chat.decodings]
    assert seeds == [seeds[0], seeds[0] + 1]


def test_edit_puts_the_question_back_and_the_next_one_in_its_place(open_tab):
    tab = open_tab()
    tab.finish("First?")
    tab.finish("Secnod?")
    typed = composed("I was just")
    assert tab.edit(typed["composer"]) == composed("Secnod?")
    assert tab.look()["status"] == status(en("editing"))
    assert tab.ask("Second?") == typed, "what was being typed comes back"
    assert texts(tab.settle(), "user") == ["First?", "Second?"]
    assert tab.ask("Third?") == composed("")
    assert texts(tab.settle(), "user") == ["First?", "Second?", "Third?"]


def test_a_card_ends_the_edit_of_a_question(open_tab):
    tab = open_tab()
    tab.finish("First?")
    tab.edit({"text": "", "files": []})
    tab.actions.ask_step(1)(tab.request)
    tab.settle()
    assert texts(tab.finish("Third?"), "user") == ["First?", QUESTIONS[0], "Third?"]


def test_nothing_to_edit_or_retry(open_tab):
    tab = open_tab()
    assert tab.edit(composed("typed")["composer"]) == composed("typed")
    tab.retry()
    assert "ask one first" in tab.look()["status"]
    assert visible(tab.look(), "retry", "edit") == []


def test_a_new_conversation_during_an_answer_can_be_undone(paused_tab):
    tab = paused_tab()
    tab.ask()
    let_go(tab)
    wait_for(lambda: texts(tab.look(), "assistant") == ["word0 "])
    tab.restart()
    let_go(tab, 2)
    shown = tab.settle()
    assert shown["chatbot"]["value"] == [] and shown["status"] == status(en("begun_again"))
    tab.undo()
    shown = tab.look()
    assert texts(shown, "assistant") == ["word0 word1 word2 "]
    assert shown["status"] == status(en("undone"))
    assert not shown["undo"]["visible"]


def test_undo_comes_too_late(open_tab, monkeypatch):
    monkeypatch.setattr(session_module, "UNDO_SECONDS", 0)
    tab = open_tab()
    tab.finish()
    tab.restart()
    tab.undo()
    shown = tab.look()
    assert shown["status"] == status(en("too_late"))
    assert shown["chatbot"]["value"] == [] and not shown["undo"]["visible"]


def test_who_has_to_wait_is_told_and_answered_in_turn(paused_tab, good_photo):
    anna = paused_tab(places=1)
    bert = anna.other()
    bert.session.attach(good_photo)
    anna.ask()
    wait_for(lambda: anna.session.chat.active)
    bert.ask()
    wait_for(lambda: bert.look()["status"] == status(say("page.queue", "en", place=1)))
    let_go(anna, 3)
    wait_for(lambda: bert.look()["status"] == status(en("writing")))
    let_go(bert, 3)
    assert texts(bert.settle(), "assistant") == ["word0 word1 word2 "]


def test_who_gives_up_waiting_can_retry(paused_tab, good_photo):
    anna = paused_tab(places=1)
    bert = anna.other()
    bert.session.attach(good_photo)
    anna.ask()
    wait_for(lambda: anna.session.chat.active)
    bert.ask("Bert's question")
    wait_for(lambda: bert.look()["status"] == status(say("page.queue", "en", place=1)))
    bert.stop()
    shown = bert.settle()
    assert shown["status"] == status(en("stopped")) and shown["chatbot"]["value"] == []
    assert len(bert.session.case.attached) == 1
    let_go(anna, 3)
    anna.settle()
    assert len(anna.session.chat.decodings) == 1, "nothing was computed for who gave up"
    bert.retry()
    let_go(bert, 3)
    assert texts(bert.settle(), "user") == ["Bert's question"]


def test_photos_stand_in_the_question_that_brought_them(open_tab, good_photo):
    tab = open_tab(photos=2)
    tab.finish("Two photos?")
    tab.session.attach(good_photo)
    tab.finish("And this?")
    shown = tab.finish("Nothing new?")
    assert photos_of(shown) == [["Photo 1", "Photo 2"], ["Photo 3"], []]
    keys = [photo.key for photo in tab.session.case.photos]
    asked, _, *_ = shown["chatbot"]["value"]
    urls = [part["file"]["url"] for part in asked["content"] if "file" in part]
    assert urls == [f"/page/photos/{key}" for key in keys[:2]]
    notes = [one["content"][1]["text"] for one in shown["chatbot"]["value"][1::2]]
    assert [note.split(".")[0] for note in notes] == [
        en("saw_several", photos=seen).rstrip(".") for seen in (2, 3, 3)
    ]


def test_visitors_see_their_own_only(open_tab, good_photo):
    anna = open_tab()
    bert = anna.other()
    anna.ask("Anna's question")
    assert bert.ask("Bert's question") == composed("Bert's question")
    assert "no photo yet" in bert.look()["status"]
    bert.session.attach(good_photo)
    assert texts(bert.finish("Bert's question"), "user") == ["Bert's question"]
    assert texts(anna.settle(), "user") == ["Anna's question"]


def test_visitors_read_their_own_language(open_tab, good_photo):
    tab = open_tab()
    chinese = tab.other("wang", language="zh")
    chinese.session.attach(good_photo)
    assert chinese.look()["step 1"]["value"].startswith(say("conversation.step_1", "zh"))
    assert tab.look()["step 1"]["value"].startswith(en("step_1"))
    chinese.restart()
    assert chinese.look()["status"] == status(say("conversation.begun_again", "zh"))


def test_user_error_is_shown_and_escaped(open_tab):
    tab = open_tab(error=ChatError("Value <b> is wrong."))
    shown = tab.finish()
    assert "Value &lt;b&gt; is wrong." in shown["status"]
    assert shown["chatbot"]["value"] == [] and JOB not in tab.session.case.running


def test_unforeseen_error_is_logged_without_what_it_quotes(open_tab, caplog):
    with caplog.at_level(logging.DEBUG):
        shown = open_tab(error=ValueError("secret question")).finish()
    assert say("page.unexpected", "en") in shown["status"]
    assert "ValueError" in caplog.text and "stream_answer" in caplog.text
    assert "secret" not in caplog.text


def test_markup_becomes_text(open_tab):
    shown = open_tab().finish("<img src=http://example.com>")
    assert texts(shown, "user") == ["&lt;img src=http://example.com>"]


def test_a_whole_answer_is_shown_with_default_settings(open_tab):
    tab = open_tab()
    tab.finish()
    (decoding,) = tab.session.chat.decodings
    assert {name: decoding[name] for name in CHOICES} == {
        name: getattr(DEFAULTS, name) for name in CHOICES
    }
