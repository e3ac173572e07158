"""The rating page: layout, which action answers which click, and serving it on this machine."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, wraps
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from skingpt4.common.errors import EvaluationError, UserError
from skingpt4.dermatology import LIKERT, QUESTIONNAIRE
from skingpt4.documents.images import data_url, jpeg
from skingpt4.documents.launch import launch_options
from skingpt4.evaluation.cases import EvalCase
from skingpt4.evaluation.responses import Response
from skingpt4.evaluation.study.assignment import NO_ANSWER, Task, items_for
from skingpt4.evaluation.study.rating_store import (
    KINDS,
    MAX_DIAGNOSIS,
    MAX_NAME,
    Rater,
    RatingStore,
)

logger = logging.getLogger(__name__)

TITLE = "SkinGPT-4: reader study"

TEMPLATES = Path(__file__).parent / "templates"

# Raters sit at this machine: photos of patients do not go over a network.
HOST = "127.0.0.1"

SCALE = [(words.capitalize(), score) for score, words in LIKERT.items()]

# Move the keyboard's focus to where the rater goes on, once the page shows it: the part is drawn
# some time after the update has reached the browser, so this looks for it 40 times.
FOCUS = """() => {{
  const go = (tries) => {{
    const part = document.querySelector('{}');
    if (part && part.offsetParent && !part.disabled) part.focus();
    else if (tries) setTimeout(go, 50, tries - 1);
  }};
  go(40);
}}"""

TO_DIAGNOSIS = FOCUS.format("#diagnosis textarea")

TO_FIRST_ITEM = FOCUS.format("fieldset.item input")

# In pixels, of the longer side: fits beside the answers on a laptop.
PHOTO_SIDE = 800

LOST = "The page has lost track of who you are; reload it, give your name and press Continue."

WELCOME = "Give your name to begin. Everything is saved at once; you may stop at any time."

LOOK = "Look at the photo, write your own diagnosis, and lock it to see the answers."

RATE = "Rate each item: Tab moves on, arrow keys or the digits 1 (strongly disagree) to 5 choose."

DONE = "You have rated all your cases. Thank you; you may close the page."

# From a part of the page to its update; a part that is not in it stays as it is.
RatingUpdates = dict[Any, Any]


@dataclass(frozen=True)
class AnswerColumn:
    """One system's place on the page: its answers, and a row of radio buttons for each item."""

    answers: gr.HTML
    items: dict[int, gr.Radio]


@dataclass(frozen=True)
class RatingPage:
    """The parts of the page that actions read or change."""

    sitting: gr.State
    status: gr.HTML
    welcome: gr.Column
    name: gr.Textbox
    kind: gr.Radio
    start: gr.Button
    resume: gr.Button
    case: gr.Column
    progress: gr.HTML
    photo: gr.HTML
    diagnosis: gr.Textbox
    lock: gr.Button
    rating: gr.Column
    columns: tuple[AnswerColumn, ...]
    back: gr.Button
    forward: gr.Button


@dataclass
class Sitting:
    """A rater at the page.

    Attributes:
        rater: Who it is.
        place: Index of the case shown.
        since: Clock reading of the last step, in seconds.
    """

    rater: Rater
    place: int
    since: float


def _status(message: str, is_error: bool = False) -> str:
    """Write the status line, which screen readers read out."""
    kind = 'role="alert" class="error"' if is_error else 'role="status"'
    return f"<p {kind}>{escape(message)}</p>"


def _explained(action: Callable[..., RatingUpdates]) -> Callable[..., RatingUpdates]:
    """Let an action that fails say in one sentence why, and leave the page as it was."""

    @wraps(action)
    def explained(self: "Actions", first: Any, *rest: Any, **named: Any) -> RatingUpdates:
        try:
            # A page that outlived its server sends no sitting: the server has forgotten it.
            if first is None:
                raise UserError(LOST)
            return action(self, first, *rest, **named)
        except UserError as error:
            return {self._page.status: _status(str(error), is_error=True)}

    return explained


class Actions:
    """The page's actions; what they learn is in the store before they return."""

    def __init__(
        self,
        page: RatingPage,
        store: RatingStore,
        cases: Sequence[EvalCase],
        responses: Sequence[Response],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._page = page
        self._store = store
        # Read-only from here on, so that all raters can share them; a rater's state is the sitting.
        self._cases = {case.id: case for case in cases}
        self._responses = {(row.case, row.system): row for row in responses}
        self._clock = clock

    @_explained
    def start(self, name: str, kind: str) -> RatingUpdates:
        """Enter a new rater and show their first case."""
        rater = self._store.register(name, kind)
        # Place and clock are settled by _go(); until then they stand for nothing.
        return self._go(Sitting(rater, 0, 0.0), self._store.next_place(rater))

    @_explained
    def resume(self, name: str) -> RatingUpdates:
        """Show a known rater their first unfinished case."""
        rater = self._store.resume(name)
        return self._go(Sitting(rater, 0, 0.0), self._store.next_place(rater))

    @_explained
    def lock(self, sitting: Sitting, text: str) -> RatingUpdates:
        """Lock the rater's own diagnosis and show the answers."""
        self._store.lock_diagnosis(sitting.rater, self._task(sitting).case, text)
        # Not _go(), which would restart the clock: a case's time includes the diagnosis.
        return self._show_case(sitting)

    @_explained
    def rate(self, sitting: Sitting, score: int, column: int, item: int) -> RatingUpdates:
        """Save one item's rating of the system in a column."""
        task, now = self._task(sitting), self._clock()
        system = task.shown[column].system
        # Since the last step, not since the case came up: the times of a case then add up to it.
        seconds = now - sitting.since
        self._store.rate(sitting.rater, task.case, system, item, score, seconds)
        sitting.since = now
        missing = len(self._store.missing(sitting.rater, task))
        rest = f"{missing} still to rate." if missing else "This case is complete."
        return {self._page.status: _status(f"Saved. {rest}")}

    @_explained
    def forward(self, sitting: Sitting) -> RatingUpdates:
        """Show the next case, once this one is rated."""
        missing = self._store.missing(sitting.rater, self._task(sitting))
        if missing:
            # The label, not the system's name, which a blinded rater must not learn.
            label, item = missing[0]
            raise UserError(f"{len(missing)} ratings are missing, first item {item} ({label}).")
        return self._go(sitting, sitting.place + 1)

    @_explained
    def back(self, sitting: Sitting) -> RatingUpdates:
        """Show the case before."""
        # At the first case the button is off, but a second click may be on its way.
        return self._go(sitting, max(sitting.place - 1, 0))

    def _task(self, sitting: Sitting) -> Task:
        return self._store.study.tasks(sitting.rater.number)[sitting.place]

    def _go(self, sitting: Sitting, place: int) -> RatingUpdates:
        # The clock starts when the case is sent; reading the photo and the answers counts as well.
        sitting.place, sitting.since = place, self._clock()
        page = self._page
        tasks = self._store.study.tasks(sitting.rater.number)
        shown = {page.sitting: sitting, page.welcome: gr.update(visible=False)}
        if place >= len(tasks):
            return shown | {page.case: gr.update(visible=False), page.status: _status(DONE)}
        return shown | {page.case: gr.update(visible=True)} | self._show_case(sitting)

    def _show_case(self, sitting: Sitting) -> RatingUpdates:
        """Show the case: before the diagnosis is locked its photo only, then the answers too."""
        page, rater, task = self._page, sitting.rater, self._task(sitting)
        diagnosis = self._store.diagnosis(rater, task.case)
        locked = diagnosis is not None
        count = len(self._store.study.tasks(rater.number))
        # The photo goes inside the page: its file's name may tell the diagnosis.
        # Nor does its alternative text describe it, for the same reason.
        photo = data_url(jpeg(self._cases[task.case].image, PHOTO_SIDE))
        updates = {
            page.status: _status(RATE if locked else LOOK),
            page.progress: f"<h2>Case {sitting.place + 1} of {count}</h2>",
            page.photo: f'<img src="{photo}" alt="The photo of this case">',
            page.diagnosis: gr.update(value=diagnosis or "", interactive=not locked),
            page.lock: gr.update(interactive=not locked),
            page.rating: gr.update(visible=locked),
            page.back: gr.update(interactive=sitting.place > 0),
        }
        # Nothing of the answers reaches the browser before the diagnosis is locked.
        if not locked:
            return updates | {column.answers: "" for column in page.columns}
        scores = self._store.scores(rater, task.case)
        asked = items_for(rater.kind)
        for column, shown in zip(page.columns, task.shown, strict=True):
            # Escaped: an answer is a model's text, and must not become part of the page.
            row = self._responses.get((task.case, shown.system))
            conversation = "".join(
                f'<p class="question">{escape(answer.question)}</p>'
                f'<p class="text">{escape(answer.text)}</p>'
                for answer in (row.answers if row else ())
            )
            # A failed answer does not say why: "out of memory" would tell systems apart.
            title = f"<h3>{escape(shown.label)}</h3>"
            updates[column.answers] = title + (conversation or f"<p>{NO_ANSWER}</p>")
            # All items are there for every rater, as the layout is made before anyone sits down;
            # those that a lay rater is not asked are hidden.
            for item, radio in column.items.items():
                # None clears what was chosen for the case before.
                score = scores.get((shown.system, item))
                updates[radio] = gr.update(value=score, visible=item in asked)
        return updates


def build_page(
    store: RatingStore, cases: Sequence[EvalCase], responses: Sequence[Response]
) -> gr.Blocks:
    """Build the page of a study.

    Args:
        store: Keeps the ratings, and knows the study.
        cases: The case list.
        responses: Answers of the study's systems to the cases.
    """
    with gr.Blocks(title=TITLE, analytics_enabled=False) as app:
        page = lay_out(len(store.study.systems))
        actions = Actions(page, store, cases, responses)
        # Every action may update any part; what it leaves out stays as it is.
        everything = [
            *(part for part in vars(page).values() if isinstance(part, gr.blocks.Block)),
            *(column.answers for column in page.columns),
            *(radio for column in page.columns for radio in column.items.values()),
        ]

        def connect(
            trigger: Callable[..., Any],
            action: Callable[..., Any],
            inputs: list[Any],
            focus: str = "",
            mode: str = "once",
        ) -> None:
            event = trigger(
                action,
                inputs,
                everything,
                # Saving takes milliseconds; a queue would only put raters behind one another.
                queue=False,
                show_progress="hidden",
                trigger_mode=mode,
                # Not offered as an API: a rating is to come from a rater at the page.
                api_visibility="private",
            )
            if focus:
                event.then(None, None, None, js=focus, queue=False, api_visibility="private")

        connect(page.start.click, actions.start, [page.name, page.kind], TO_DIAGNOSIS)
        connect(page.resume.click, actions.resume, [page.name], TO_DIAGNOSIS)
        connect(page.lock.click, actions.lock, [page.sitting, page.diagnosis], TO_FIRST_ITEM)
        connect(page.back.click, actions.back, [page.sitting], TO_DIAGNOSIS)
        connect(page.forward.click, actions.forward, [page.sitting], TO_DIAGNOSIS)
        for place, column in enumerate(page.columns):
            for item, radio in column.items.items():
                # Arrow keys choose faster than a save returns: the last choice is sent after it.
                action = partial(actions.rate, column=place, item=item)
                connect(radio.input, action, [page.sitting, radio], mode="always_last")
    return app


def serve_page(app: gr.Blocks, port: int | None) -> None:
    """Serve the page to this machine only, until Ctrl+C.

    Args:
        app: From :func:`build_page`.
        port: Where; None takes the first free one from 7860 on.

    Raises:
        EvaluationError: If the port cannot be used.
    """
    try:
        app.launch(
            server_name=HOST,
            server_port=port,
            css_paths=[TEMPLATES / "rating.css"],
            js=(TEMPLATES / "rating.js").read_text(encoding="utf-8"),
            share=False,  # True would tunnel the page through Gradio's servers
            **launch_options(),
        )
    except OSError:
        raise EvaluationError(f"--port {port} is in use on this machine; choose another.") from None
    logger.info("The rating page is ready: %s (Ctrl+C ends it)", app.local_url)
    app.block_thread()


def lay_out(systems: int) -> RatingPage:
    """Lay out the page for so many systems side by side; Gradio shows parts where they are made."""
    sitting = gr.State(None)  # on the server; the browser holds only a key to it
    gr.HTML(f"<h1>{TITLE}</h1>")
    status = gr.HTML(_status(WELCOME), elem_id="status")
    with gr.Column(elem_id="welcome") as welcome:
        name = gr.Textbox(label="Your name", max_lines=1, max_length=MAX_NAME, elem_id="name")
        kinds = [("Dermatologist", KINDS[0]), ("Lay person", KINDS[1])]
        kind = gr.Radio(kinds, value=KINDS[0], label="You are a", elem_id="kind")
        with gr.Row():
            start = gr.Button("Start", variant="primary")
            resume = gr.Button("Continue")
    columns = []
    with gr.Column(visible=False, elem_id="case") as case:
        progress = gr.HTML(elem_id="progress")
        with gr.Row():
            photo = gr.HTML(elem_id="photo")
            with gr.Column():
                diagnosis = gr.Textbox(
                    label="Your own diagnosis",
                    max_lines=2,
                    max_length=MAX_DIAGNOSIS,
                    elem_id="diagnosis",
                )
                lock = gr.Button("Lock diagnosis", variant="primary")
        with gr.Column(visible=False, elem_id="rating") as rating:
            with gr.Row(equal_height=False):
                for _ in range(systems):
                    with gr.Column(min_width=320):  # pixels; on a narrow screen columns wrap
                        answers = gr.HTML(elem_classes="answers")
                        items = {
                            number: gr.Radio(SCALE, label=f"{number}. {item}", elem_classes="item")
                            for number, item in enumerate(QUESTIONNAIRE, start=1)
                        }
                    columns.append(AnswerColumn(answers, items))
            with gr.Row():
                back = gr.Button("Back")
                forward = gr.Button("Next case", variant="primary")
    return RatingPage(
        sitting, status, welcome, name, kind, start, resume, case, progress, photo, diagnosis, lock,
        rating, tuple(columns), back, forward,
    )  # fmt: skip
