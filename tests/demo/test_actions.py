"""What each action shows: sentences for people, nothing of theirs in the log."""

import logging
from types import SimpleNamespace

import gradio as gr
import pytest

from skingpt4.common.errors import ChatError
from skingpt4.demo import actions as actions_module
from skingpt4.demo.actions import READY, STOPPED, UNEXPECTED, WELCOME, Actions, Page
from skingpt4.demo.session import Sessions

PARTS = Page.__dataclass_fields__
ANNA = SimpleNamespace(session_hash="anna")
BERT = SimpleNamespace(session_hash="bert")


@pytest.fixture
def make_actions(make_chat, tmp_path, photo_bytes):
    """Make actions on a page of names, with one example photo."""
    example = tmp_path / "example.png"
    example.write_bytes(photo_bytes)

    def make(**chat):
        page = Page(**{name: name for name in PARTS})
        return Actions(Sessions(make_chat(**chat)), page, [example])

    return make


@pytest.fixture
def upload(tmp_path, photo_bytes, monkeypatch):
    """A photo where Gradio would put it."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    path = tmp_path / "uploads" / "hash" / "anna.png"
    path.parent.mkdir(parents=True)
    path.write_bytes(photo_bytes)
    return path


def texts(updates, role):
    messages = [message for message in updates["chatbot"] if message["role"] == role]
    return [message["content"][0]["text"] for message in messages]


def test_photo_is_shown_and_its_file_deleted(make_actions, upload):
    actions = make_actions()
    shown = actions.photo({"path": str(upload)}, ANNA)
    assert shown["status"] == READY
    assert shown["photo"]["url"].startswith("data:image/jpeg;base64,")
    actions.discard_uploads(ANNA)
    assert not upload.parent.exists()


def test_bad_photo_shows_a_sentence_and_the_photo_before(make_actions, upload):
    actions = make_actions()
    before = actions.example(0, ANNA)["photo"]
    upload.write_text("not a photo")
    shown = actions.photo({"path": str(upload)}, ANNA)
    assert 'class="error"' in shown["status"]
    assert "anna" not in shown["status"]
    assert shown["photo"] == before
    assert "chatbot" not in shown


@pytest.mark.parametrize("disguise", ["{0}", "{1}/../../{2}"])
def test_no_other_file_of_this_machine_is_shown_or_deleted(
    make_actions, upload, tmp_path, photo_bytes, disguise
):
    """A crafted request may name any path."""
    private = tmp_path / "private.png"
    private.write_bytes(photo_bytes)
    actions = make_actions()
    path = disguise.format(private, upload.parent, private.name)
    shown = actions.photo({"path": path}, ANNA)
    assert "was not uploaded through this page" in shown["status"]
    assert shown["photo"] is None
    actions.discard_uploads(ANNA)
    assert private.exists()


def test_removing_the_photo_starts_over(make_actions):
    actions = make_actions()
    actions.example(0, ANNA)
    shown = actions.photo(None, ANNA)
    assert (shown["photo"], shown["chatbot"], shown["status"]) == (None, [], WELCOME)


def test_question_and_answer(make_actions):
    actions = make_actions()
    actions.example(0, ANNA)
    asked = actions.ask("What is it?", ANNA)
    assert asked["question"] == ""
    assert asked["send"] == gr.update(interactive=False)
    assert asked["stop"] == gr.update(interactive=True)
    *pieces, last = actions.answer(1, 0.0, ANNA)
    assert [texts(piece, "assistant") for piece in pieces[:2]] == [["word0 "], ["word0 word1 "]]
    assert last["chatbot"][-1]["content"][1]["text"] == actions_module.ANSWER_NOTE
    assert last["send"] == gr.update(interactive=True)
    assert last["stop"] == gr.update(interactive=False)


def test_listed_question_leaves_the_text_box(make_actions):
    actions = make_actions()
    actions.example(0, ANNA)
    shown = actions.ask_listed("Cause?")(ANNA)
    assert texts(shown, "user") == ["Cause?"]
    assert "question" not in shown


def test_failed_question_keeps_the_text(make_actions):
    shown = make_actions().ask("What is it?", ANNA)
    assert "no photo yet" in shown["status"]
    assert set(shown) == {"status"}


def test_stop(make_actions):
    actions = make_actions()
    actions.example(0, ANNA)
    actions.ask("What is it?", ANNA)
    pieces = actions.answer(1, 0.0, ANNA)
    next(pieces)
    actions.stop(ANNA)
    (last,) = pieces
    assert last["status"] == STOPPED
    assert texts(last, "assistant") == ["word0 "]


def test_restart_during_an_answer_shows_the_empty_page(make_actions):
    actions = make_actions()
    actions.example(0, ANNA)
    actions.ask("What is it?", ANNA)
    pieces = actions.answer(1, 0.0, ANNA)
    next(pieces)
    actions.restart(ANNA)
    (last,) = pieces
    assert last["chatbot"] == []
    assert "status" not in last


def test_nothing_to_answer(make_actions):
    (shown,) = make_actions().answer(1, 0.0, ANNA)
    assert shown["chatbot"] == []
    assert shown["send"]["interactive"]
    assert "status" not in shown


def test_visitors_see_their_own_only(make_actions):
    actions = make_actions()
    actions.example(0, ANNA)
    actions.ask("Anna's question", ANNA)
    assert "no photo yet" in actions.ask("Bert's question", BERT)["status"]
    actions.example(0, BERT)
    assert texts(actions.ask("Bert's question", BERT), "user") == ["Bert's question"]


def test_closed_tab_is_forgotten(make_actions):
    actions = make_actions()
    actions.example(0, ANNA)
    actions.close(ANNA)
    assert "no photo yet" in actions.ask("Still there?", ANNA)["status"]


def test_user_error_is_shown_and_escaped(make_actions):
    actions = make_actions(error=ChatError("Value <b> is wrong."))
    actions.example(0, ANNA)
    actions.ask("What is it?", ANNA)
    *_, last = actions.answer(1, 0.0, ANNA)
    assert "Value &lt;b&gt; is wrong." in last["status"]
    assert last["chatbot"] == []


def test_unforeseen_error_is_logged_without_what_it_quotes(make_actions, caplog):
    actions = make_actions(error=ValueError("secret question"))
    actions.example(0, ANNA)
    actions.ask("What is it?", ANNA)
    with caplog.at_level(logging.DEBUG):
        *_, last = actions.answer(1, 0.0, ANNA)
    assert UNEXPECTED in last["status"]
    assert "ValueError" in caplog.text and "stream_answer" in caplog.text
    assert "secret" not in caplog.text


def test_markup_becomes_text(make_actions):
    actions = make_actions()
    actions.example(0, ANNA)
    shown = actions.ask("<img src=http://example.com>", ANNA)
    assert texts(shown, "user") == ["&lt;img src=http://example.com>"]
