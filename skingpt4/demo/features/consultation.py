"""The conversation: the four steps in order, questions in one's own words, Stop, Retry, Edit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from skingpt4.demo.i18n import say, t
from skingpt4.demo.page import Updates
from skingpt4.demo.session import Case, Exchange, Session
from skingpt4.dermatology import QUESTIONS


@dataclass(frozen=True)
class ConversationPanel:
    """The conversation's parts."""

    chatbot: gr.Chatbot
    status: gr.HTML
    steps: tuple[gr.Button, ...]
    ask_all: gr.Button
    question: gr.Textbox
    send: gr.Button
    stop: gr.Button
    retry: gr.Button
    edit: gr.Button
    restart: gr.Button

    @property
    def outputs(self) -> Sequence[Any]:
        """The conversation and the buttons that depend on its state."""
        return [
            self.chatbot,
            *self.steps,
            self.ask_all,
            self.send,
            self.stop,
            self.retry,
            self.edit,
        ]

    def show(self, session: Session) -> Updates:
        """Show the conversation, which step is next, and the buttons that fit its state."""
        case = session.case
        idle = gr.update(interactive=not case.is_answering)
        again = gr.update(interactive=not case.is_answering and case.last is not None)
        return {
            **self.show_messages(session),
            **self._show_steps(session),
            self.ask_all: idle,
            self.send: idle,
            self.stop: gr.update(interactive=case.is_answering),
            self.retry: again,
            self.edit: again,
        }

    def show_messages(self, session: Session) -> Updates:
        """Show what has been said so far."""
        return {self.chatbot: _messages(session)}

    def _show_steps(self, session: Session) -> Updates:
        """Mark the steps that are done, and the one that is next."""
        case = session.case
        left = steps_left(case)
        done = set(range(1, len(QUESTIONS) + 1)) - set(left)
        following = min(left, default=None) if case.photos else None
        updates: Updates = {}
        for number, button in enumerate(self.steps, start=1):
            mark = "✓ " if number in done else "▸ " if number == following else ""
            updates[button] = gr.update(
                value=mark + say(f"conversation.step_{number}", session.language),
                interactive=not case.is_answering,
            )
        return updates


def steps_left(case: Case) -> tuple[int, ...]:
    """Return the numbers, from 1, of the paper's questions that have no answer yet."""
    asked = {exchange.question for exchange in case.exchanges}
    return tuple(number for number, text in enumerate(QUESTIONS, 1) if text not in asked)


def lay_out() -> ConversationPanel:
    """Make the conversation, the steps and the text box."""
    chatbot = gr.Chatbot(
        label=t("conversation.title"),
        placeholder=t("conversation.empty"),  # type: ignore[arg-type]
        height=430,
        render_markdown=False,  # text is shown as it is: nothing in it can load or run anything
        sanitize_html=True,
        allow_tags=False,
        latex_delimiters=[],
        feedback_options=None,
        buttons=["copy", "copy_all"],
        elem_id="conversation",
    )
    line = gr.HTML(t("conversation.welcome"), elem_id="status")
    with gr.Row(elem_id="steps"):
        steps = tuple(
            gr.Button(t(f"conversation.step_{number}"), size="sm", min_width=120)
            for number in range(1, len(QUESTIONS) + 1)
        )
        ask_all = gr.Button(t("conversation.ask_all"), size="sm", min_width=120, elem_id="ask-all")
    with gr.Row(elem_id="ask", equal_height=True):
        question = gr.Textbox(
            label=t("conversation.question"),
            placeholder=t("conversation.question_hint"),
            max_lines=6,
            container=False,
            scale=5,
            min_width=240,
            elem_id="question",
        )
        send = gr.Button(t("conversation.send"), variant="primary", scale=1, min_width=80)
    with gr.Row(elem_id="controls"):
        stop, retry, edit = (
            gr.Button(t(f"conversation.{name}"), size="sm", min_width=90, interactive=False)
            for name in ("stop", "retry", "edit")
        )
        restart = gr.Button(t("conversation.restart"), size="sm", min_width=90)
    return ConversationPanel(
        chatbot, line, steps, ask_all, question, send, stop, retry, edit, restart
    )


def _messages(session: Session) -> list[dict[str, Any]]:
    """Write the conversation in the chat box's form; an answer is followed by a note.

    Where there are several photos, a question names those that were new with it.
    """
    shown, messages = 0, []
    for exchange in session.case.exchanges:
        new = range(shown + 1, exchange.photos + 1) if len(session.case.photos) > 1 else ()
        shown = exchange.photos
        names = [say("conversation.photo", session.language, number=number) for number in new]
        messages += [
            _message("user", [*([" · ".join(names)] if names else []), exchange.question]),
            _message("assistant", _answer(exchange, session)),
        ]
    return messages


def _answer(exchange: Exchange, session: Session) -> list[str]:
    text = exchange.answer or "…"
    note = say("conversation.note", session.language)
    return [text, note] if exchange.is_finished else [text]


def _message(role: str, parts: Sequence[str]) -> dict[str, Any]:
    """Make a message of plain text; the chat box would run safe HTML, and fetch images in it."""
    texts = [part.replace("<", "&lt;") for part in parts]
    return {"role": role, "content": [{"type": "text", "text": text} for text in texts]}
