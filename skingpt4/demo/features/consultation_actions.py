"""What the conversation's buttons do."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from skingpt4.demo.features import settings
from skingpt4.demo.features.consultation import ConversationPanel, steps_left
from skingpt4.demo.i18n import say
from skingpt4.demo.page import AT_ONCE, PRIVATE, SHOWING, Page, Updates, failure, status
from skingpt4.demo.queue import WaitingRoom, queue_sentence
from skingpt4.demo.session import Case, Session
from skingpt4.dermatology import QUESTIONS

WAITING_AT_ONCE = 48
"""Visitors who are answered or see their place in the queue; each takes one of 80 threads."""

FRAME_SECONDS = 0.05
"""An answer is shown no more often than this: a word at a time would keep the browser too busy for
its buttons."""


@dataclass
class Draft:
    """Whether what is typed takes the place of the last question."""

    is_edit: bool = False


def wire(
    panel: ConversationPanel, page: Page, sliders: settings.SettingsPanel, room: WaitingRoom
) -> None:
    """Connect the steps, the questions and the buttons under them."""
    actions = ConversationActions(panel, page, room)
    shown = [page.status, *panel.outputs, panel.question]
    sent = [panel.send.click, panel.question.submit]
    asked = [
        gr.on(sent, actions.ask, [panel.question], shown, **AT_ONCE),
        panel.retry.click(actions.retry, None, shown, **AT_ONCE),
    ]
    asked += [
        button.click(actions.ask_step(number), None, shown, **AT_ONCE)
        for number, button in enumerate(panel.steps, start=1)
    ]
    writing: dict[str, Any] = PRIVATE | {
        "inputs": list(sliders.sliders),
        "outputs": shown,
        "concurrency_id": "answers",
        "concurrency_limit": WAITING_AT_ONCE,
        "show_progress": "hidden",
    }
    whole_page: dict[str, Any] = {"inputs": None, "outputs": page.outputs, **AT_ONCE, **SHOWING}
    for event in asked:
        event.then(actions.answer, **writing).then(page.refresh, **whole_page)
    panel.ask_all.click(actions.ask_all, **writing).then(page.refresh, **whole_page)
    panel.edit.click(actions.edit, None, shown, **AT_ONCE)
    panel.stop.click(actions.stop, None, shown, **AT_ONCE)
    gr.on(
        [panel.restart.click, panel.chatbot.clear],
        actions.restart,
        **whole_page | {"outputs": [*page.outputs, panel.question]},
    )
    page.on_load(actions.welcome)


class ConversationActions:
    """What the buttons do; nothing of one visitor is held here, only in their session."""

    def __init__(self, panel: ConversationPanel, page: Page, room: WaitingRoom) -> None:
        self._panel = panel
        self._page = page
        self._room = room

    def ask(self, question: str, request: gr.Request) -> Updates:
        """Put what was typed into the conversation and clear the text box."""
        session = self._page.session(request)
        draft = session.case.panel_state(Draft)
        put = session.ask_again if draft.is_edit else session.ask
        updates = self._ask(session, put, question)
        return updates | {self._panel.question: ""} if session.case.pending else updates

    def ask_step(self, number: int) -> Callable[[gr.Request], Updates]:
        """Make the action of a step's button; what is being typed stays."""

        def ask(request: gr.Request) -> Updates:
            session = self._page.session(request)
            return self._ask(session, session.ask, QUESTIONS[number - 1])

        return ask

    def retry(self, request: gr.Request) -> Updates:
        """Ask the last question again."""
        session = self._page.session(request)
        return self._ask(session, session.ask_again)

    def edit(self, request: gr.Request) -> Updates:
        """Put the last question into the text box, to be changed and sent again."""
        session = self._page.session(request)
        last = session.case.last
        if last is None or session.case.is_answering:
            message = status(say("conversation.nothing_to_edit", session.language))
            return {self._page.status: message}
        session.case.panel_state(Draft).is_edit = True
        message = status(say("conversation.editing", session.language))
        return {self._panel.question: last.question, self._page.status: message}

    def answer(self, request: gr.Request, *chosen: float) -> Iterator[Updates]:
        """Write the answer to the question just asked, piece by piece."""
        session = self._page.session(request)
        if session.case.pending is None:  # the page would go blank if nothing were shown
            yield self._panel.show(session)
        else:
            yield from self._write(session, settings.chosen(chosen))

    def ask_all(self, request: gr.Request, *chosen: float) -> Iterator[Updates]:
        """Ask the steps that are left, one after the other, until one is stopped or fails."""
        session = self._page.session(request)
        case, left = session.case, steps_left(session.case)
        for number in left:
            updates = self._ask(session, session.ask, QUESTIONS[number - 1])
            writing = say("conversation.writing_step", session.language, step=number)
            if session.case is not case or case.pending is None:
                yield updates
                return
            yield updates | {self._page.status: status(writing)}
            yield from self._write(session, settings.chosen(chosen))
            if case.ending("answer").is_set() or number in steps_left(case):
                return
        message = say("conversation.all_asked", session.language)
        yield self._panel.show(session) | {self._page.status: status(message)}

    def stop(self, request: gr.Request) -> Updates:
        """Stop the answer; the action that writes it then shows its end."""
        session = self._page.session(request)
        session.stop()
        return self._panel.show(session)

    def restart(self, request: gr.Request) -> Updates:
        """Forget the photos and the conversation, and what is being typed."""
        self._page.session(request).restart()
        return self.welcome(request) | {self._panel.question: ""}

    def welcome(self, request: gr.Request) -> Updates:
        """Show the page as it is at the beginning, in the visitor's language."""
        session = self._page.session(request)
        return self._page.show(session, status(say("conversation.welcome", session.language)))

    def _ask(self, session: Session, put: Callable[..., None], *question: str) -> Updates:
        """Put a question; the answer is written by the action that follows."""
        try:
            put(*question)
        except Exception as error:
            return {self._page.status: failure(error, session.language)}
        session.case.panel_state(Draft).is_edit = False
        writing = status(say("conversation.writing", session.language))
        return self._panel.show(session) | {self._page.status: writing}

    def _write(self, session: Session, decoding: dict[str, Any]) -> Iterator[Updates]:
        """Wait for the model, write the answer, show how it ended."""
        case, message = session.case, ""
        try:
            with self._room.ticket() as ticket:
                for wait in ticket.wait(case.ending("answer")):
                    yield {self._page.status: status(queue_sentence(wait, session))}
                if ticket.has_waited:
                    writing = say("conversation.writing", session.language)
                    yield {self._page.status: status(writing)}
                for _ in now_and_then(session.answer(case, **decoding)):
                    if case is session.case:
                        yield self._panel.show_messages(session)
            message = status(_ending(case, session))
        except Exception as error:
            message = failure(error, session.language)
        if case is session.case:
            yield self._panel.show(session) | {self._page.status: message}
        else:  # Gradio would show the last answer once more: show what has replaced it
            yield self._panel.show(session)


def now_and_then(pieces: Iterable[object], seconds: float = FRAME_SECONDS) -> Iterator[None]:
    """Pass through pieces, but tell of no more than one in so many seconds."""
    shown = float("-inf")
    for _ in pieces:
        now = time.monotonic()
        if now - shown >= seconds:
            shown = now
            yield


def _ending(case: Case, session: Session) -> str:
    """Tell how an answer ended, if there is anything to tell."""
    if case.ending("answer").is_set():
        return say("conversation.stopped", session.language)
    last = case.last
    if last is not None and last.attempt > 0 and last.settings["temperature"] == 0:
        return say("conversation.same_again", session.language)
    return ""
