"""What each click does: changes the visitor's session, returns what the page shows next."""

import logging
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from skingpt4.common.errors import UserError
from skingpt4.demo.privacy import own_upload, read_upload
from skingpt4.demo.session import Case, Exchange, Session, Sessions

logger = logging.getLogger(__name__)

UNEXPECTED = (
    "Something went wrong here, and the conversation is as it was before; please try again, and "
    "tell whoever runs this page if it happens again."
)
ANSWER_NOTE = "Not a diagnosis. Please see a dermatologist."

Updates = dict[Any, Any]


def _status(message: str) -> str:
    """Write a message for the line under the conversation."""
    return f'<p role="status">{escape(message)}</p>'


WELCOME = _status("Add a photo of the skin to begin.")
READY = _status("The photo is ready. Ask about it, or pick one of the questions.")
WRITING = _status("Writing the answer…")
STOPPED = _status("Stopped. You can ask again.")


@dataclass(frozen=True)
class Page:
    """The parts of the page that actions read or change."""

    photo: gr.Image
    examples: gr.Dataset
    chatbot: gr.Chatbot
    status: gr.HTML
    question: gr.Textbox
    send: gr.Button
    stop: gr.Button
    restart: gr.Button
    listed_questions: tuple[gr.Button, ...]
    num_beams: gr.Slider
    temperature: gr.Slider


class Actions:
    """The page's actions; nothing of one visitor is held here, only in their session."""

    def __init__(self, sessions: Sessions, page: Page, examples: Sequence[Path]) -> None:
        self._sessions = sessions
        self._page = page
        self._examples = examples

    def photo(self, upload: dict[str, Any] | None, request: gr.Request) -> Updates:
        """Take a photo from file, clipboard or webcam; without one, start over."""
        if not upload or not upload.get("path"):
            return self.restart(request)

        def read() -> bytes:
            path = own_upload(str(upload["path"]))
            self._session(request).uploads.append(path)
            return read_upload(path)

        return self._show_photo(read, request)

    def discard_uploads(self, request: gr.Request) -> None:
        """Delete what was sent, once the browser has stopped showing it from there."""
        self._session(request).discard_uploads()

    def example(self, index: int, request: gr.Request) -> Updates:
        """Take one of the example photos."""
        return self._show_photo(self._examples[index].read_bytes, request)

    def ask(self, question: str, request: gr.Request) -> Updates:
        """Put a question into the conversation and clear the text box."""
        session = self._session(request)
        try:
            session.ask(question)
        except Exception as error:
            return {self._page.status: _failure(error)}
        return self._conversation(session.case, WRITING) | {self._page.question: ""}

    def ask_listed(self, question: str) -> Callable[[gr.Request], Updates]:
        """Make the action of a button that asks one question; what is being typed stays."""

        def ask(request: gr.Request) -> Updates:
            updates = self.ask(question, request)
            updates.pop(self._page.question, None)
            return updates

        return ask

    def answer(self, num_beams: int, temperature: float, request: gr.Request) -> Iterator[Updates]:
        """Write the answer to the question just asked, piece by piece."""
        session = self._session(request)
        case, message = session.case, _status("")
        if case.pending is None:  # the page would go blank if nothing were shown
            yield self._conversation(case)
            return
        try:
            for _ in session.answer(num_beams, temperature):
                if case is session.case:
                    yield {self._page.chatbot: _messages(case.exchanges)}
        except Exception as error:
            message = _failure(error)
        if case is session.case:
            yield self._conversation(case, STOPPED if case.cancel.is_set() else message)
        else:  # Gradio would show the last answer once more: show what has replaced it
            yield self._conversation(session.case)

    def stop(self, request: gr.Request) -> None:
        """Stop the answer; the action that writes it then shows its end."""
        self._session(request).stop()

    def restart(self, request: gr.Request) -> Updates:
        """Forget the photo and the conversation."""
        session = self._session(request)
        session.restart()
        return self._conversation(session.case, WELCOME) | {self._page.photo: None}

    def close(self, request: gr.Request) -> None:
        """Forget the session of a closed tab."""
        self._sessions.close(str(request.session_hash))

    def _session(self, request: gr.Request) -> Session:
        return self._sessions.get(str(request.session_hash))

    def _show_photo(self, read: Callable[[], bytes], request: gr.Request) -> Updates:
        session = self._session(request)
        try:
            session.show_photo(read())
            updates = self._conversation(session.case, READY)
        except Exception as error:
            updates = {self._page.status: _failure(error)}
        return updates | {self._page.photo: _preview(session.case)}

    def _conversation(self, case: Case, message: str | None = None) -> Updates:
        """Show the conversation, the buttons that fit its state and, if given, a message."""
        busy = case.is_answering
        updates = {
            self._page.chatbot: _messages(case.exchanges),
            self._page.send: gr.update(interactive=not busy),
            self._page.stop: gr.update(interactive=busy),
        }
        return updates if message is None else updates | {self._page.status: message}


def _messages(exchanges: Sequence[Exchange]) -> list[dict[str, Any]]:
    """Write the conversation in the chat box's form; an answer is followed by a note."""
    messages = []
    for exchange in exchanges:
        parts = [exchange.answer or "…"]
        if exchange.is_finished:
            parts.append(ANSWER_NOTE)
        messages += [_message("user", [exchange.question]), _message("assistant", parts)]
    return messages


def _message(role: str, parts: Sequence[str]) -> dict[str, Any]:
    """Make a message of plain text; the chat box would run safe HTML, and fetch images in it."""
    texts = [part.replace("<", "&lt;") for part in parts]
    return {"role": role, "content": [{"type": "text", "text": text} for text in texts]}


def _preview(case: Case) -> dict[str, str] | None:
    return {"url": case.preview} if case.preview else None


def _failure(error: Exception) -> str:
    """Give the sentence to show; an unforeseen error goes to the log, without what it quotes."""
    if isinstance(error, UserError):
        sentence = str(error)
    else:
        sentence = UNEXPECTED
        trace = "".join(traceback.format_tb(error.__traceback__))
        logger.error("%s in an action of the page\n%s", type(error).__name__, trace)
    return f'<p role="alert" class="error">{escape(sentence)}</p>'
