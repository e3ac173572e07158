"""What each click on the rating page does: saves to the store, returns what is shown next."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from skingpt4.common.errors import UserError
from skingpt4.evaluation.assignment import NO_ANSWER, Shown, Task, items_for
from skingpt4.evaluation.cases import EvalCase
from skingpt4.evaluation.pictures import data_url, jpeg
from skingpt4.evaluation.rating_store import Rater, RatingStore
from skingpt4.evaluation.responses import Response

PHOTO_SIDE = 800
LOST = "The page has lost track of who you are; reload it, give your name and press Continue."
WELCOME = "Give your name to begin. Everything is saved at once; you may stop at any time."
LOOK = "Look at the photo, write your own diagnosis, and lock it to see the answers."
RATE = "Rate each item: Tab moves on, arrow keys or the digits 1 (strongly disagree) to 5 choose."
DONE = "You have rated all your cases. Thank you; you may close the page."

Updates = dict[Any, Any]


@dataclass(frozen=True)
class AnswerColumn:
    """One system's place on the page: its answers, and a row of radio buttons for each item."""

    answers: gr.HTML
    items: dict[int, gr.Radio]


@dataclass(frozen=True)
class Page:
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


class Actions:
    """The page's actions; what they learn is in the store before they return."""

    def __init__(
        self,
        page: Page,
        store: RatingStore,
        cases: Sequence[EvalCase],
        responses: Sequence[Response],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._page = page
        self._store = store
        self._cases = {case.id: case for case in cases}
        self._responses = {(row.case, row.system): row for row in responses}
        self._clock = clock

    def start(self, name: str, kind: str) -> Updates:
        """Enter a new rater and show their first case."""
        return self._guarded(lambda: self._sit_down(self._store.register(name, kind)))

    def resume(self, name: str) -> Updates:
        """Show a known rater their first unfinished case."""
        return self._guarded(lambda: self._sit_down(self._store.resume(name)))

    def lock(self, sitting: Sitting | None, text: str) -> Updates:
        """Lock the rater's own diagnosis and show the answers."""

        def lock() -> Updates:
            here = _present(sitting)
            self._store.lock_diagnosis(here.rater, self._task(here).case, text)
            return self._case(here)

        return self._guarded(lock)

    def rate(self, column: int, item: int) -> Callable[[Sitting | None, int], Updates]:
        """Make the action of one item's radio buttons."""

        def rate(sitting: Sitting | None, score: int) -> Updates:
            return self._guarded(lambda: self._save(_present(sitting), column, item, score))

        return rate

    def forward(self, sitting: Sitting | None) -> Updates:
        """Show the next case, once this one is rated."""

        def forward() -> Updates:
            here = _present(sitting)
            missing = self._store.missing(here.rater, self._task(here))
            if missing:
                label, item = missing[0]
                raise UserError(f"{len(missing)} ratings are missing, first item {item} ({label}).")
            return self._go(here, here.place + 1)

        return self._guarded(forward)

    def back(self, sitting: Sitting | None) -> Updates:
        """Show the case before."""

        def back() -> Updates:
            here = _present(sitting)
            return self._go(here, max(here.place - 1, 0))

        return self._guarded(back)

    def _guarded(self, act: Callable[[], Updates]) -> Updates:
        """Do it, or say in one sentence why not and leave the page as it was."""
        try:
            return act()
        except UserError as error:
            return {self._page.status: _status(str(error), is_error=True)}

    def _sit_down(self, rater: Rater) -> Updates:
        return self._go(Sitting(rater, 0, 0.0), self._store.next_place(rater))

    def _go(self, sitting: Sitting, place: int) -> Updates:
        sitting.place, sitting.since = place, self._clock()
        page = self._page
        tasks = self._store.study.tasks(sitting.rater.number)
        shown = {page.sitting: sitting, page.welcome: gr.update(visible=False)}
        if place >= len(tasks):
            return shown | {page.case: gr.update(visible=False), page.status: _status(DONE)}
        return shown | {page.case: gr.update(visible=True)} | self._case(sitting)

    def _case(self, sitting: Sitting) -> Updates:
        """Show the case: before the diagnosis is locked its photo only, then the answers too."""
        page, rater, task = self._page, sitting.rater, self._task(sitting)
        diagnosis = self._store.diagnosis(rater, task.case)
        locked = diagnosis is not None
        count = len(self._store.study.tasks(rater.number))
        updates = {
            page.status: _status(RATE if locked else LOOK),
            page.progress: f"<h2>Case {sitting.place + 1} of {count}</h2>",
            page.photo: self._photo(task.case),
            page.diagnosis: gr.update(value=diagnosis or "", interactive=not locked),
            page.lock: gr.update(interactive=not locked),
            page.rating: gr.update(visible=locked),
            page.back: gr.update(interactive=sitting.place > 0),
        }
        return updates | (self._answers(rater, task) if locked else self._no_answers())

    def _answers(self, rater: Rater, task: Task) -> Updates:
        scores = self._store.scores(rater, task.case)
        asked = items_for(rater.kind)
        updates: Updates = {}
        for column, shown in zip(self._page.columns, task.shown, strict=True):
            updates[column.answers] = self._conversation(task.case, shown)
            for item, radio in column.items.items():
                score = scores.get((shown.system, item))
                updates[radio] = gr.update(value=score, visible=item in asked)
        return updates

    def _no_answers(self) -> Updates:
        """Nothing of the answers reaches the browser before the diagnosis is locked."""
        return {column.answers: "" for column in self._page.columns}

    def _conversation(self, case: str, shown: Shown) -> str:
        row = self._responses.get((case, shown.system))
        title = f"<h3>{escape(shown.label)}</h3>"
        if row is None or not row.answers:
            return f"{title}<p>{NO_ANSWER}</p>"
        return title + "".join(
            f'<p class="question">{escape(answer.question)}</p>'
            f'<p class="text">{escape(answer.text)}</p>'
            for answer in row.answers
        )

    def _photo(self, case: str) -> str:
        address = data_url(jpeg(self._cases[case].image, PHOTO_SIDE))
        return f'<img src="{address}" alt="The photo of this case">'

    def _save(self, sitting: Sitting, column: int, item: int, score: int) -> Updates:
        task, now = self._task(sitting), self._clock()
        system = task.shown[column].system
        seconds = now - sitting.since
        self._store.rate(sitting.rater, task.case, system, item, score, seconds)
        sitting.since = now
        missing = len(self._store.missing(sitting.rater, task))
        rest = f"{missing} still to rate." if missing else "This case is complete."
        return {self._page.status: _status(f"Saved. {rest}")}

    def _task(self, sitting: Sitting) -> Task:
        return self._store.study.tasks(sitting.rater.number)[sitting.place]


def _present(sitting: Sitting | None) -> Sitting:
    if sitting is None:
        raise UserError(LOST)
    return sitting


def _status(message: str, is_error: bool = False) -> str:
    """Write the status line, which screen readers read out."""
    kind = 'role="alert" class="error"' if is_error else 'role="status"'
    return f"<p {kind}>{escape(message)}</p>"


BEGIN = _status(WELCOME)
