"""The conversation: the four steps in order, questions in one's own words, Stop, Retry, Edit.

Beside it, folded away, stand the settings of an answer.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from skingpt4.conversation.engines import Decoding
from skingpt4.demo.i18n import failure, say, status, t
from skingpt4.demo.page import AT_ONCE, PRIVATE, SHOWING, Page, Panel, Updates
from skingpt4.demo.queue import WaitingRoom, queue_sentence
from skingpt4.demo.session import Case, Session
from skingpt4.dermatology import QUESTIONS

# Visitors who are answered or see their place in the queue; each takes one of 80 threads.
WAITING_AT_ONCE = 48

# An answer is shown no more often than this: a word at a time would keep the browser too busy for
# its buttons.
FRAME_SECONDS = 0.05

DEFAULTS = Decoding()

LARGEST_SEED = 2**31 - 1

DRAWS_RANGE = (3, 20)

# Fields of `Decoding` that the page offers, and their ranges.
CHOICES: dict[str, dict[str, Any]] = {
    "temperature": {"minimum": 0, "maximum": 2, "step": 0.1},
    "num_beams": {"minimum": 1, "maximum": 5, "step": 1},
    "top_p": {"minimum": 0.05, "maximum": 1, "step": 0.05},
    "max_new_tokens": {"minimum": 20, "maximum": 600, "step": 20},
}


@dataclass
class QuestionState:
    """Whether what is typed takes the place of the last question."""

    is_edit: bool = False


@dataclass(frozen=True)
class SettingsPanel(Panel):
    """The settings' parts.

    Attributes:
        sliders: One for each of ``CHOICES``, in its order.
        seed: What repeats a conversation's sampled answers.
        draws: How many answers make a second opinion.
    """

    sliders: tuple[gr.Slider, ...]
    seed: gr.Number
    draws: gr.Slider

    def show(self, session: Session) -> Updates:
        """Show the seed of the case."""
        return {self.seed: session.case.seed}


@dataclass(frozen=True)
class ConversationPanel(Panel):
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

    def show(self, session: Session) -> Updates:
        """Show the conversation, which step is next, and the buttons that fit its state."""
        case = session.case
        left = steps_left(case)
        # Without a photo no step can be taken, so none is marked as the next.
        following = min(left, default=None) if case.photos else None
        updates = self.show_messages(session)
        for number, button in enumerate(self.steps, start=1):
            mark = "▸ " if number == following else "" if number in left else "✓ "
            label = mark + say(f"conversation.step_{number}", session.language)
            updates[button] = gr.update(value=label, interactive=not case.is_answering)
        idle = gr.update(interactive=not case.is_answering)
        again = gr.update(interactive=not case.is_answering and case.last is not None)
        updates |= {self.ask_all: idle, self.send: idle, self.retry: again, self.edit: again}
        return updates | {self.stop: gr.update(interactive=case.is_answering)}

    def show_messages(self, session: Session) -> Updates:
        """Show what has been said so far; a note follows each finished answer.

        Where there are several photos, a question names those that were new with it.
        """
        shown, language = 0, session.language
        messages: list[dict[str, Any]] = []
        for exchange in session.case.exchanges:
            new = range(shown + 1, exchange.photos + 1) if len(session.case.photos) > 1 else ()
            shown = exchange.photos
            names = [say("conversation.photo", language, number=number) for number in new]
            asked = [*([" · ".join(names)] if names else []), exchange.question]
            note = [say("conversation.note", language)] if exchange.is_finished else []
            for role, texts in (("user", asked), ("assistant", [exchange.answer or "…", *note])):
                # As text: the chat box would run what is safe HTML, and fetch images in it.
                parts = [{"type": "text", "text": text.replace("<", "&lt;")} for text in texts]
                messages.append({"role": role, "content": parts})
        return {self.chatbot: messages}


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
    outputs = [chatbot, *steps, ask_all, send, stop, retry, edit]  # what depends on the state
    return ConversationPanel(
        outputs, chatbot, line, steps, ask_all, question, send, stop, retry, edit, restart
    )


def lay_out_settings(draws: int) -> SettingsPanel:
    """Make the settings.

    Args:
        draws: Answers of a second opinion, unless the visitor chooses another number.
    """
    with gr.Accordion(t("settings.title"), open=False, elem_id="settings"):
        sliders = tuple(
            gr.Slider(
                value=getattr(DEFAULTS, name),
                label=t(f"settings.{name}"),
                info=t(f"settings.{name}_info"),
                elem_id=f"setting-{name}",
                **choice,
            )
            for name, choice in CHOICES.items()
        )
        seed = gr.Number(
            label=t("settings.seed"),
            info=t("settings.seed_info"),
            precision=0,
            minimum=0,
            maximum=LARGEST_SEED,
            elem_id="setting-seed",
        )
        draws_slider = gr.Slider(
            *DRAWS_RANGE,
            value=draws,
            step=1,
            label=t("settings.draws"),
            info=t("settings.draws_info"),
            elem_id="setting-draws",
        )
    return SettingsPanel([seed], sliders, seed, draws_slider)


def wire(panel: ConversationPanel, settings: SettingsPanel, page: Page, room: WaitingRoom) -> None:
    """Connect the steps, the questions, the buttons under them and the seed."""
    actions = ConversationActions(panel, page, room)
    shown = [page.status, *panel.outputs, panel.question]
    # A question is shown at once, by an event of its own; only its answer waits in the queue.
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
        "inputs": list(settings.sliders),
        "outputs": shown,
        "concurrency_id": "answers",
        "concurrency_limit": WAITING_AT_ONCE,
        "show_progress": "hidden",
    }
    # While an answer grows, only the conversation is sent; the other panels follow at its end.
    whole_page: dict[str, Any] = {"inputs": None, "outputs": page.outputs, **AT_ONCE, **SHOWING}
    for event in asked:
        event.then(actions.answer, **writing).then(actions.refresh, **whole_page)
    panel.ask_all.click(actions.ask_all, **writing).then(actions.refresh, **whole_page)
    panel.edit.click(actions.edit, None, shown, **AT_ONCE)
    panel.stop.click(actions.stop, None, shown, **AT_ONCE)
    gr.on(
        [panel.restart.click, panel.chatbot.clear],
        actions.restart,
        **whole_page | {"outputs": [*page.outputs, panel.question]},
    )
    settings.seed.input(actions.keep_seed, [settings.seed], None, **AT_ONCE)
    gr.on(None, actions.welcome, **whole_page)  # when the page is opened


@dataclass(frozen=True)
class ConversationActions:
    """What the buttons do; nothing of one visitor is held here, only in their session."""

    panel: ConversationPanel
    page: Page
    room: WaitingRoom

    def ask(self, question: str, request: gr.Request) -> Updates:
        """Put what was typed into the conversation and clear the text box."""
        session = self.page.session(request)
        is_edit = session.case.panel_state(QuestionState).is_edit
        updates = self._put(session, session.ask_again if is_edit else session.ask, question)
        # A question that was refused stays in the box, to be changed.
        return updates | {self.panel.question: ""} if session.case.pending else updates

    def ask_step(self, number: int) -> Callable[[gr.Request], Updates]:
        """Make the action of a step's button; what is being typed stays."""

        def ask_step(request: gr.Request) -> Updates:
            session = self.page.session(request)
            return self._put(session, session.ask, QUESTIONS[number - 1])

        return ask_step

    def retry(self, request: gr.Request) -> Updates:
        """Ask the last question again."""
        session = self.page.session(request)
        return self._put(session, session.ask_again)

    def edit(self, request: gr.Request) -> Updates:
        """Put the last question into the text box, to be changed and sent again."""
        session = self.page.session(request)
        last = session.case.last
        if last is None or session.case.is_answering:
            message = status(say("conversation.nothing_to_edit", session.language))
            return {self.page.status: message}
        session.case.panel_state(QuestionState).is_edit = True
        message = status(say("conversation.editing", session.language))
        return {self.panel.question: last.question, self.page.status: message}

    def answer(self, request: gr.Request, *chosen: float) -> Iterator[Updates]:
        """Write the answer to the question just asked, piece by piece."""
        session = self.page.session(request)
        if session.case.pending is None:  # the page would go blank if nothing were shown
            yield self.panel.show(session)
        else:
            yield from self._write(session, chosen)

    def ask_all(self, request: gr.Request, *chosen: float) -> Iterator[Updates]:
        """Ask the steps that are left, one after the other, until one is stopped or fails."""
        session = self.page.session(request)
        case = session.case
        for number in steps_left(case):
            updates = self._put(session, session.ask, QUESTIONS[number - 1])
            writing = say("conversation.writing_step", session.language, step=number)
            if session.case is not case or case.pending is None:
                yield updates
                return
            yield updates | {self.page.status: status(writing)}
            yield from self._write(session, chosen)
            if number in steps_left(case):
                return
            if case.cancel["answer"].is_set():
                # Said here too: Stop may have come after the last word, when `_write` had ended.
                if session.case is case:
                    stopped = status(say("conversation.stopped", session.language))
                    yield self.panel.show(session) | {self.page.status: stopped}
                return
        message = say("conversation.all_asked", session.language)
        yield self.panel.show(session) | {self.page.status: status(message)}

    def stop(self, request: gr.Request) -> Updates:
        """Stop the answer; the action that writes it then shows its end."""
        session = self.page.session(request)
        session.stop()
        return self.panel.show(session)

    def restart(self, request: gr.Request) -> Updates:
        """Forget the photos and the conversation, and what is being typed."""
        self.page.session(request).restart()
        return self.welcome(request) | {self.panel.question: ""}

    def welcome(self, request: gr.Request) -> Updates:
        """Show the page as it is at the beginning, in the visitor's language."""
        session = self.page.session(request)
        return self.page.show(session, status(say("conversation.welcome", session.language)))

    def refresh(self, request: gr.Request) -> Updates:
        """Show the tab's session in every panel."""
        return self.page.show(self.page.session(request))

    def keep_seed(self, seed: float | None, request: gr.Request) -> None:
        """Keep the seed that a visitor chooses; an empty box changes nothing."""
        if seed is not None:
            self.page.session(request).case.seed = int(seed)

    def _put(self, session: Session, put: Callable[..., None], *question: str) -> Updates:
        """Put a question; the answer is written by the action that follows."""
        try:
            put(*question)
        except Exception as error:
            return {self.page.status: failure(error, session.language)}
        session.case.panel_state(QuestionState).is_edit = False
        writing = status(say("conversation.writing", session.language))
        return self.panel.show(session) | {self.page.status: writing}

    def _write(self, session: Session, chosen: Sequence[float]) -> Iterator[Updates]:
        """Wait for the model, write the answer, show how it ended.

        Args:
            session: Whose question is pending.
            chosen: The sliders' values, in the order of ``CHOICES``.
        """
        # The case as it is now: after Restart the answer belongs to a case that is gone.
        case, language, message = session.case, session.language, ""
        # Sliders send floats; whole numbers of ``Decoding`` stay whole.
        fields = zip(CHOICES, chosen, strict=True)
        decoding = {name: type(getattr(DEFAULTS, name))(value) for name, value in fields}
        try:
            with self.room.ticket() as ticket:
                for wait in ticket.wait(case.cancel["answer"]):
                    yield {self.page.status: status(queue_sentence(wait, session))}
                if ticket.has_waited:
                    writing = say("conversation.writing", language)
                    yield {self.page.status: status(writing)}
                shown = float("-inf")
                for _ in session.answer(case, **decoding):
                    now = time.monotonic()
                    if case is session.case and now - shown >= FRAME_SECONDS:
                        shown = now
                        yield self.panel.show_messages(session)
            last = case.last
            if case.cancel["answer"].is_set():
                message = say("conversation.stopped", language)
            elif last and last.attempt > 0 and last.settings["temperature"] == 0:
                message = say("conversation.same_again", language)
            message = status(message)
        except Exception as error:
            message = failure(error, language)
        if case is session.case:
            yield self.panel.show(session) | {self.page.status: message}
        else:  # Gradio would show the last answer once more: show what has replaced it
            yield self.panel.show(session)
