"""The conversation: messages with their photos, the composer, the four questions as cards.

Beside it, folded away, stand the settings of an answer.
"""

import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from skingpt4.common.errors import ChatError
from skingpt4.conversation.engines import Decoding
from skingpt4.demo.i18n import failure, say, status, t, translated_notice
from skingpt4.demo.page import AT_ONCE, SHOWING, Page, Panel, Updates
from skingpt4.demo.queue import Steps, WaitingRoom, queue_sentence, run_job, start_job
from skingpt4.demo.session import BUSY, Case, Session
from skingpt4.dermatology import QUESTIONS

# Names the job that writes answers; `Session.stop` ends the answer itself.
JOB = "writing"

DEFAULTS = Decoding()

# Chinese characters.
CHINESE = re.compile(r"[\u3400-\u9fff]")

LARGEST_SEED = 2**31 - 1

DRAWS_RANGE = (3, 20)

# Fields of `Decoding` that the page offers, and their ranges.
CHOICES: dict[str, dict[str, Any]] = {
    "temperature": {"minimum": 0, "maximum": 2, "step": 0.1},
    "num_beams": {"minimum": 1, "maximum": 5, "step": 1},
    "top_p": {"minimum": 0.05, "maximum": 1, "step": 0.05},
    "max_new_tokens": {"minimum": 20, "maximum": 600, "step": 20},
}

# What a clinician chooses in words sets these fields.
WORDS: dict[str, dict[str, float]] = {
    "variety": {"same": 0.0, "varied": 0.7},
    "length": {"short": 60, "usual": DEFAULTS.max_new_tokens, "long": 600},
}
FIELD_OF = {"variety": "temperature", "length": "max_new_tokens"}


@dataclass
class QuestionState:
    """What the composer is for.

    Attributes:
        is_edit: Whether what is typed takes the place of the last question.
        draft: What was being typed before that.
    """

    is_edit: bool = False
    draft: str = ""


@dataclass(frozen=True)
class SettingsPanel(Panel):
    """The settings' parts.

    Attributes:
        words: A choice in words for each of ``WORDS``, in its order.
        sliders: One for each of ``CHOICES``, in its order.
        seed: What repeats a conversation's sampled answers.
        draws: How many answers make a second opinion.
    """

    words: tuple[gr.Radio, ...]
    sliders: tuple[gr.Slider, ...]
    seed: gr.Number
    draws: gr.Slider

    def show(self, session: Session) -> Updates:
        """Show what the visitor has chosen, and the seed of the case."""
        updates: Updates = {self.seed: session.case.seed}
        for name, slider in zip(CHOICES, self.sliders, strict=True):
            updates[slider] = session.settings.get(name, getattr(DEFAULTS, name))
        for name, radio in zip(WORDS, self.words, strict=True):
            chosen = updates[self.sliders[list(CHOICES).index(FIELD_OF[name])]]
            # A value between the words is none of them.
            updates[radio] = next((w for w, value in WORDS[name].items() if value == chosen), None)
        return updates


@dataclass(frozen=True)
class ConversationPanel(Panel):
    """The conversation's parts."""

    chatbot: gr.Chatbot
    status: gr.HTML
    undo: gr.Button
    cards: gr.Row
    steps: tuple[gr.Button, ...]
    ask_all: gr.Button
    controls: gr.Row
    retry: gr.Button
    edit: gr.Button
    restart: gr.Button
    composer: gr.MultimodalTextbox

    def show(self, session: Session) -> Updates:
        """Show the conversation and what can be done next; what cannot be done is not shown."""
        case, language = session.case, session.language
        left, is_begun = steps_left(case), bool(case.exchanges)
        is_answering = case.is_answering or JOB in case.running
        is_free = not is_answering and not any(photo.is_undecided for photo in case.attached)
        # Cards in an empty conversation; afterwards only the next sensible step.
        offered = (left[:1] if is_begun else left) if case.photos or case.attached else ()
        rest = "ask_all" if len(left) == len(QUESTIONS) else "ask_rest"
        updates: Updates = {
            self.chatbot: gr.update(value=messages(session), visible=is_begun),
            self.undo: gr.update(visible=session.can_undo),
            self.cards: gr.update(
                visible=is_free and bool(offered), elem_classes=["chips" if is_begun else "cards"]
            ),
            self.ask_all: gr.update(
                visible=len(left) > 1,
                value=say(f"conversation.{rest}", language, number=len(left)),
            ),
            self.controls: gr.update(visible=not case.is_empty),
            self.restart: gr.update(visible=not case.is_empty),
        }
        for number, button in enumerate(self.steps, start=1):
            plain = say(f"conversation.step_{number}", language)
            # What will be asked stands under it, in the language in which it is asked.
            label = plain if is_begun else f"{plain}\n{QUESTIONS[number - 1]}"
            updates[button] = gr.update(value=label, visible=number in offered)
        again = gr.update(visible=not is_answering and case.last is not None)
        updates |= {self.retry: again, self.edit: again}
        # Send turns into Stop.
        updates[self.composer] = gr.update(submit_btn=not is_answering, stop_btn=is_answering)
        return updates


def messages(session: Session) -> list[dict[str, Any]]:
    """Write what has been said so far: photos inside their messages, a note under each answer."""
    language, notice = session.language, session.chat.model.notice
    # What the model was trained on.
    notice = translated_notice(language, notice, "conversation.note")
    shown: list[dict[str, Any]] = []
    for exchange in session.case.exchanges:
        asked: list[dict[str, Any]] = []
        joined = session.case.photos[exchange.shown : exchange.photos]
        for number, photo in enumerate(joined, exchange.shown + 1):
            url, name = f"{session.root}/page/photos/{photo.key}", str(number)
            alt = say("photo.number", language, number=name)
            file = {"path": name, "url": url, "orig_name": name, "mime_type": "image/jpeg"}
            asked.append({"type": "file", "file": file, "alt_text": alt})
        asked.append({"type": "text", "text": exchange.question})
        said = [{"type": "text", "text": exchange.answer or "…"}]
        if exchange.is_finished:
            key = "conversation.saw" if exchange.photos == 1 else "conversation.saw_several"
            saw = say(key, language, photos=exchange.photos)
            said.append({"type": "text", "text": f"{saw} {notice}"})
        for part in (*asked, *said):
            # As text: the chat box would run what is safe HTML, and fetch images in it.
            if "text" in part:
                part["text"] = part["text"].replace("<", "&lt;")
        shown += [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
    return shown


def steps_left(case: Case) -> tuple[int, ...]:
    """Return the numbers, from 1, of the paper's questions not yet answered about all photos."""
    photos = len(case.photos) + len(case.attached)
    asked = {one.question for one in case.exchanges if one.photos == photos}
    return tuple(number for number, text in enumerate(QUESTIONS, 1) if text not in asked)


def lay_out(waiting: gr.HTML) -> ConversationPanel:
    """Make the messages, and the composer with cards, status and waiting photos above it.

    Args:
        waiting: The place of the waiting photos, not rendered yet.
    """
    chatbot = gr.Chatbot(
        label=t("conversation.title"),
        show_label=False,
        visible=False,  # before there is a message
        height="100%",
        render_markdown=False,  # text is shown as it is: nothing in it can load or run anything
        sanitize_html=True,
        allow_tags=False,
        latex_delimiters=[],
        feedback_options=None,
        buttons=["copy", "copy_all"],
        elem_id="conversation",
    )
    with gr.Column(elem_id="composer-area"):
        with gr.Row(visible=False, elem_id="cards") as cards:
            steps = tuple(
                gr.Button(t(f"conversation.step_{number}"), min_width=150)
                for number in range(1, len(QUESTIONS) + 1)
            )
            ask_all = gr.Button(t("conversation.ask_all"), min_width=150, elem_id="ask-all")
        with gr.Row(elem_id="status-line"):
            line = gr.HTML(elem_id="status")
            undo = gr.Button(t("conversation.undo"), size="sm", visible=False, elem_id="undo")
        waiting.render()
        with gr.Row(elem_id="ask", equal_height=True):
            composer = gr.MultimodalTextbox(
                label=t("conversation.question"),
                show_label=False,
                placeholder=t("conversation.question_hint"),  # type: ignore[arg-type]
                sources=["upload"],
                file_types=["image", ".heic", ".heif", ".hif", ".avif"],
                file_count="multiple",
                max_lines=6,
                max_plain_text_length=100_000,
                submit_btn=True,
                elem_id="composer",
            )
        with gr.Row(visible=False, elem_id="controls") as controls:
            retry = gr.Button(t("conversation.retry"), size="sm", min_width=90)
            edit = gr.Button(t("conversation.edit"), size="sm", min_width=90)
            # Pressed in the browser only: the picture comes by the photos' own road.
            gr.Button(t("photo.take"), size="sm", min_width=90, elem_id="camera")
            restart = gr.Button(
                t("conversation.restart"), size="sm", min_width=90, elem_id="restart"
            )
    parts = (chatbot, line, undo, cards, steps, ask_all, controls, retry, edit, restart, composer)
    outputs = [chatbot, undo, cards, *steps, ask_all, controls, retry, edit, restart, composer]
    return ConversationPanel(outputs, *parts)


def lay_out_settings(draws: int) -> SettingsPanel:
    """Make the settings: in words, and as numbers for who knows what they mean.

    Args:
        draws: Answers of a second opinion, unless the visitor chooses another number.
    """
    with gr.Accordion(t("settings.title"), open=False, elem_id="settings"):
        words = tuple(
            gr.Radio(
                [(t(f"settings.{name}_{word}"), word) for word in choices],
                label=t(f"settings.{name}"),
                elem_id=f"setting-{name}",
            )
            for name, choices in WORDS.items()
        )
        draws_slider = gr.Slider(
            *DRAWS_RANGE,
            value=draws,
            step=1,
            label=t("settings.draws"),
            info=t("settings.draws_info"),
            elem_id="setting-draws",
        )
        with gr.Accordion(t("settings.advanced"), open=False, elem_id="advanced"):
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
    return SettingsPanel([*words, *sliders, seed], words, sliders, seed, draws_slider)


def wire(panel: ConversationPanel, settings: SettingsPanel, page: Page, room: WaitingRoom) -> None:
    """Connect the cards, the composer, the buttons under it and the settings."""
    actions = ConversationActions(panel, page, room)
    composed: dict[str, Any] = {"inputs": [panel.composer], "outputs": [panel.composer]}
    panel.composer.submit(actions.ask, **composed, **AT_ONCE, **SHOWING)
    panel.edit.click(actions.edit, **composed, **AT_ONCE, **SHOWING)
    for number, button in enumerate(panel.steps, start=1):
        button.click(actions.ask_step(number), None, None, **AT_ONCE)
    for button, action in (
        (panel.ask_all, actions.ask_all),
        (panel.retry, actions.retry),
        (panel.restart, actions.restart),
        (panel.undo, actions.undo),
    ):
        button.click(action, None, None, **AT_ONCE)
    panel.composer.stop(actions.stop, None, None, **AT_ONCE)
    for name, slider in zip(CHOICES, settings.sliders, strict=True):
        slider.input(actions.keep(name), [slider], None, **AT_ONCE)
    for name, radio in zip(WORDS, settings.words, strict=True):
        radio.input(actions.keep(FIELD_OF[name], WORDS[name]), [radio], None, **AT_ONCE)
    settings.seed.input(actions.keep("seed"), [settings.seed], None, **AT_ONCE)


@dataclass(frozen=True)
class ConversationActions:
    """What the buttons do; nothing of one visitor is held here, only in their session."""

    panel: ConversationPanel
    page: Page
    room: WaitingRoom

    def ask(self, composed: dict[str, Any], request: gr.Request) -> Updates:
        """Send what was typed; Gradio has emptied the composer, and what is refused goes back."""
        session = self.page.session(request)
        state = session.case.panel_state(QuestionState)
        put, draft = (session.ask_again if state.is_edit else session.ask), state.draft
        if session.chat.model.config.english_only and CHINESE.search(composed["text"]):
            session.changed(status(say("conversation.english", session.language)))
            return {self.panel.composer: _typed(composed["text"])}
        if not self._put(request, partial(put, composed["text"])):
            return {self.panel.composer: _typed(composed["text"])}
        state.draft = ""
        return {self.panel.composer: _typed(draft)}

    def ask_step(self, number: int) -> Any:
        """Make the action of a card; what is being typed stays."""

        def ask_step(request: gr.Request) -> None:
            session = self.page.session(request)
            self._put(request, partial(session.ask, QUESTIONS[number - 1]))

        return ask_step

    def retry(self, request: gr.Request) -> None:
        """Ask the last question again."""
        self._put(request, self.page.session(request).ask_again)

    def edit(self, composed: dict[str, Any], request: gr.Request) -> Updates:
        """Put the last question into the composer, to be changed and sent again."""
        session = self.page.session(request)
        state, last = session.case.panel_state(QuestionState), session.case.last
        if last is None or session.case.is_answering:
            return {self.panel.composer: _typed(composed["text"])}
        if not state.is_edit:
            state.is_edit, state.draft = True, composed["text"]
        session.changed(status(say("conversation.editing", session.language)))
        return {self.panel.composer: _typed(last.question)}

    def ask_all(self, request: gr.Request) -> None:
        """Ask the steps that are left, one after the other, until one is stopped or fails."""
        session = self.page.session(request)
        self._start(session, partial(self._write_all, session, session.case))

    def stop(self, request: gr.Request) -> None:
        """Stop the answer; the thread that writes it then tells its end."""
        session = self.page.session(request)
        session.stop()
        session.changed()

    def restart(self, request: gr.Request) -> None:
        """Begin a new conversation; the old one can be had back for a while."""
        session = self.page.session(request)
        session.begin_again()
        session.changed(status(say("conversation.begun_again", session.language)))

    def undo(self, request: gr.Request) -> None:
        """Have back what was removed last."""
        session = self.page.session(request)
        key = "undone" if session.undo() else "too_late"
        session.changed(status(say(f"conversation.{key}", session.language)))

    def keep(self, name: str, words: dict[str, float] | None = None) -> Callable[..., None]:
        """Make the action that keeps a setting, so that a reload does not change it.

        Args:
            name: Field of ``Decoding``, or "seed"; an empty box changes nothing.
            words: What the words that are chosen stand for; by default numbers are chosen.
        """

        def keep(chosen: Any, request: gr.Request) -> None:
            session = self.page.session(request)
            value = chosen if words is None else words.get(chosen)
            if name == "seed" and value is not None:  # the conversation's own
                session.case.seed = int(value)
            elif value is not None:
                # Sliders send floats; whole numbers of ``Decoding`` stay whole.
                session.settings[name] = type(getattr(DEFAULTS, name))(value)
            session.changed()

        return keep

    def _put(self, request: gr.Request, put: Callable[[], None]) -> bool:
        """Put a question, and let its answer be written; tell whether it was taken."""
        session = self.page.session(request)
        case = session.case
        try:
            if JOB in case.running:  # also between two of all four questions
                raise ChatError(BUSY, "busy")
            put()
        except Exception as error:
            session.changed(failure(error, session.language))
            return False
        session.changed("")
        if not self._start(session, lambda _: self._write(session, case)):
            self.stop(request)  # takes the question back, which nobody is going to answer
            return False
        case.panel_state(QuestionState).is_edit = False
        return True

    def _start(self, session: Session, steps: Steps) -> bool:
        case = session.case

        def tell(message: str) -> None:
            if case is session.case:  # after "New conversation" nothing is said of the old one
                session.message = message

        return start_job(session, JOB, run_job(JOB, session, None, steps, tell))

    def _write_all(self, session: Session, case: Case, ended: threading.Event) -> Iterator[str]:
        for number in steps_left(case):
            if ended.is_set():  # the case was let go between two questions
                return
            session.ask(QUESTIONS[number - 1], case=case)
            cancel = case.cancel["answer"]
            last = ""
            for last in self._write(session, case):
                yield last
            if cancel.is_set() or number in steps_left(case):
                yield last
                return
        yield say("conversation.all_asked", session.language)

    def _write(self, session: Session, case: Case) -> Iterator[str]:
        """Wait for the model and write the answer; yields what to say, the last of it for good."""
        language, cancel = session.language, case.cancel["answer"]
        with self.room.ticket() as ticket:
            for wait in ticket.wait(cancel):
                yield queue_sentence(wait, session)
            chosen = session.settings
            decoding = {name: chosen.get(name, getattr(DEFAULTS, name)) for name in CHOICES}
            if not cancel.is_set():  # else it has been given up before its turn
                yield say("conversation.writing", language)
                for _ in session.answer(case, **decoding):
                    yield say("conversation.writing", language)
        last = case.last
        if cancel.is_set():
            yield say("conversation.stopped", language)
        elif last and last.attempt > 0 and last.settings["temperature"] == 0:
            yield say("conversation.same_again", language)
        else:
            yield ""


def _typed(text: str) -> dict[str, Any]:
    """Return the composer's value: text only, for photos go their own way."""
    return {"text": text, "files": []}
