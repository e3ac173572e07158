"""The evidence map: which parts of the photo an answer is sensitive to."""

import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from html import escape
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image, ImageFilter
from torch import Tensor

from skingpt4.conversation.chat import Chat
from skingpt4.conversation.conversation import Conversation
from skingpt4.demo.i18n import say, t
from skingpt4.demo.page import AT_ONCE, PRIVATE, SHOWING, Page, Updates, status
from skingpt4.demo.previews import data_url
from skingpt4.demo.queue import WaitingRoom, run_job
from skingpt4.demo.session import Exchange, Session

GRID = 7
"""Cells a side."""

WINDOW = 2
"""Cells a side of the window; windows overlap, so a cell is in up to four."""

PLACES_AT_ONCE = 4
"""Places of the window that are looked at together; each takes two photos."""

WORKING_SIDE = 512
"""Longest side of the photo that windows are hidden in, in pixels; the model sees less."""

LEAST_WEIGHT = 0.05
"""A region matters from this weight on, in nats a token (5 % of its probability); ours. Shuffled
weights of the embedded model stay below it."""

FULL_WEIGHT = 0.1
"""What is drawn at full brightness weighs at least this, so that a weak map looks weak; ours."""

Place = tuple[int, int]
"""Row and column of a window's top left cell."""


def _cells() -> np.ndarray:
    return np.zeros((GRID, GRID))


@dataclass
class Evidence:
    """The map of one answer over one photo; all in nats a token, over ``[GRID, GRID]`` cells.

    Attributes:
        hidden: How much less likely the answer is where a window hides something.
        alone: How much likelier it is where a window shows something, than if nothing is shown.
        done: Places of the window looked at.
    """

    hidden: np.ndarray = field(default_factory=_cells)
    alone: np.ndarray = field(default_factory=_cells)
    done: int = 0

    @property
    def share(self) -> float:
        """Share of the places that have been looked at."""
        return self.done / len(places())

    @property
    def weights(self) -> np.ndarray:
        """The map ``[GRID, GRID]``."""
        return (self.hidden + self.alone) / 2

    @property
    def strongest(self) -> Place:
        """The cell that matters most."""
        row, column = np.unravel_index(int(self.weights.argmax()), self.weights.shape)
        return int(row), int(column)

    @property
    def matters(self) -> bool:
        """Whether any region changes the answer's likelihood noticeably."""
        return bool(self.weights.max() >= LEAST_WEIGHT)

    def strength(self) -> np.ndarray:
        """Return how brightly to draw each cell, from 0 to 1, ``[GRID, GRID]``.

        If nothing matters, everything is 0: an untrained model's map has a shape, too.
        """
        if not self.matters:
            return _cells()
        above = (self.weights - max(self.weights.min(), 0)).clip(min=0)
        return above / max(above.max(), FULL_WEIGHT)


def places() -> list[Place]:
    """Return every place of the window, so ordered that the map gets finer everywhere at once."""
    steps = range(GRID - WINDOW + 1)
    ordered = [(row, column) for row in steps for column in steps]
    return [ordered[i] for i in np.random.default_rng(0).permutation(len(ordered))]


def look_for_evidence(
    chat: Chat,
    conversation: Conversation,
    photos: Sequence[Tensor],
    shown: tuple[int, Image.Image],
    answer: str,
    cancel: threading.Event,
) -> Iterator[Evidence]:
    """Make the map; yields it after every few places.

    Args:
        chat: Gives the likelihoods.
        conversation: Ends with the question that was answered.
        photos: What the model saw of each of its photos.
        shown: Which of them the map is for (0 is the first), and the photo itself, RGB.
        answer: What was answered.
        cancel: Ends the work when set.

    Raises:
        ChatError: If the engine gives no likelihoods.
    """
    number, image = shown
    image = image.copy()
    image.thumbnail((WORKING_SIDE, WORKING_SIDE))
    blank = Image.new("RGB", image.size, _median(image))

    def likelihoods(images: Sequence[Image.Image]) -> np.ndarray:
        """Return the answer's mean log-probability a token with each in the photo's place."""
        lists = [
            [*photos[:number], seen, *photos[number + 1 :]] for seen in chat.encode_photos(images)
        ]
        return chat.log_likelihoods(conversation, lists, answer)

    with_all, with_nothing = likelihoods([image, blank])
    hidden, alone, seen = np.zeros((3, GRID, GRID))
    left, done = places(), 0
    while left and not cancel.is_set():
        some, left = left[:PLACES_AT_ONCE], left[PLACES_AT_ONCE:]
        masks = [_window(image.size, place) for place in some]
        without = likelihoods([Image.composite(blank, image, mask) for mask in masks])
        just = likelihoods([Image.composite(image, blank, mask) for mask in masks])
        for (row, column), without_it, just_it in zip(some, without, just, strict=True):
            cells = np.s_[row : row + WINDOW, column : column + WINDOW]
            hidden[cells] += with_all - without_it
            alone[cells] += just_it - with_nothing
            seen[cells] += 1
        done += len(some)
        yield Evidence(hidden / seen.clip(min=1), alone / seen.clip(min=1), done)


def _median(image: Image.Image) -> tuple[int, ...]:
    return tuple(int(value) for value in np.median(np.asarray(image).reshape(-1, 3), axis=0))


def _window(size: tuple[int, int], place: Place) -> Image.Image:
    """Return the mask of a window, with soft edges that are no feature themselves."""
    width, height = size
    row, column = place
    box = (
        column * width // GRID,
        row * height // GRID,
        (column + WINDOW) * width // GRID,
        (row + WINDOW) * height // GRID,
    )
    mask = Image.new("L", size)
    mask.paste(255, box)
    return mask.filter(ImageFilter.GaussianBlur(min(width, height) / GRID / 8))


DIM = 0.4
"""How bright a region is shown that does not matter; one that matters most is shown as it is."""

OUTLINED = 0.5
"""The region above this share of the greatest strength is outlined."""


def draw(image: Image.Image, evidence: Evidence) -> Image.Image:
    """Draw the map: what matters stays as it is, the rest is grey and dark.

    Nothing covers the skin, and the map can be read without seeing colours.

    Args:
        image: The photo, RGB.
        evidence: The map.
    """
    cells = (evidence.strength() * 255).astype(np.uint8)
    strength = Image.fromarray(cells).resize(image.size, Image.Resampling.BICUBIC)
    dark = image.convert("L").point([int(value * DIM) for value in range(256)]).convert("RGB")
    drawn = Image.composite(image, dark, strength)
    if evidence.matters:
        inside = strength.point([255 * (value >= OUTLINED * cells.max()) for value in range(256)])
        wide = 2 * max(1, max(image.size) // 256) + 1
        outline = Image.composite(
            Image.new("L", image.size), inside.filter(ImageFilter.MaxFilter(wide)), inside
        )
        drawn.paste((255, 255, 255), mask=outline)
    return drawn


JOB = "evidence"

WAITING_AT_ONCE = 8

QUESTION_CHARS = 60
"""Longest question in the list of answers to explain."""


@dataclass
class EvidenceRecord:
    """The last map of a case.

    Attributes:
        evidence: The map; None before.
        overlay: It, drawn over the photo, as a ``data:`` address.
        sentence: What it says.
        told: What its line of status says.
        listed: How many answers were offered last; -1 before any offer.
    """

    evidence: Evidence | None = None
    overlay: str = ""
    sentence: str = ""
    told: str = ""
    listed: int = -1


@dataclass(frozen=True)
class EvidencePanel:
    """The evidence map's parts."""

    answer: gr.Radio
    photo: gr.Radio
    begin: gr.Button
    stop: gr.Button
    status: gr.HTML
    map: gr.HTML

    @property
    def outputs(self) -> Sequence[Any]:
        """Everything."""
        return [self.answer, self.photo, self.begin, self.stop, self.status, self.map]

    def show(self, session: Session) -> Updates:
        """Offer the answers and photos there are, and show the case's map, if there is one."""
        case, record = session.case, session.case.panel_state(EvidenceRecord)
        busy = JOB in case.running
        updates: Updates = {
            self.begin: gr.update(interactive=bool(case.answered) and not busy),
            self.stop: gr.update(interactive=busy),
            self.status: record.told,
            self.map: _figure(record, session),
        }
        if len(case.answered) != record.listed:  # a choice that was made stays otherwise
            record.listed = len(case.answered)
            updates |= self._choices(session)
        return updates

    def _choices(self, session: Session) -> Updates:
        answered = session.case.answered
        questions = [(one.question[:QUESTION_CHARS], n) for n, one in enumerate(answered)]
        photos = [
            (say("evidence.photo_number", session.language, number=number), number)
            for number in range(1, len(session.case.photos) + 1)
        ]
        return {
            self.answer: gr.update(
                choices=questions, value=0 if questions else None, visible=bool(questions)
            ),
            self.photo: gr.update(
                choices=photos, value=1 if photos else None, visible=len(photos) > 1
            ),
        }


def lay_out() -> EvidencePanel:
    """Make the panel."""
    with gr.Accordion(t("evidence.title"), open=True, elem_id="evidence"):
        gr.HTML(t("evidence.intro"))
        # No list to unfold: Gradio's stays open when somebody leaves it with the Tab key.
        answer = gr.Radio([], label=t("evidence.answer"), visible=False)
        photo = gr.Radio([], label=t("evidence.photo"), visible=False)
        with gr.Row():
            begin = gr.Button(t("evidence.begin"), size="sm", min_width=120, interactive=False)
            stop = gr.Button(t("evidence.stop"), size="sm", min_width=100, interactive=False)
        line = gr.HTML(elem_id="evidence-status")
        picture = gr.HTML(elem_id="evidence-map")
    return EvidencePanel(answer, photo, begin, stop, line, picture)


def wire(panel: EvidencePanel, page: Page, room: WaitingRoom) -> None:
    """Connect the panel's two buttons."""

    def make(answer: int | None, photo: int | None, request: gr.Request) -> Iterator[Updates]:
        yield from begin(panel, page.session(request), answer, photo, room)

    def stop(request: gr.Request) -> None:
        page.session(request).case.end(JOB)

    panel.begin.click(
        make,
        [panel.answer, panel.photo],
        panel.outputs,
        concurrency_id=JOB,
        concurrency_limit=WAITING_AT_ONCE,
        show_progress="hidden",
        **PRIVATE,
        **SHOWING,
    )
    panel.stop.click(stop, None, None, **AT_ONCE)


def begin(
    panel: EvidencePanel,
    session: Session,
    answer: int | None,
    photo: int | None,
    room: WaitingRoom,
) -> Iterator[Updates]:
    """Make the map of one answer over one photo, and show it as it gets finer.

    Args:
        panel: Where to show it.
        session: Whose.
        answer: Which finished answer, from 0; None for the first.
        photo: Number of the photo, from 1; None for the first.
        room: Where to wait for the model.
    """
    record = session.case.panel_state(EvidenceRecord)

    def show(message: str) -> Updates:
        record.told = message
        return panel.show(session)

    answered = session.case.answered
    if not 0 <= (answer or 0) < len(answered):
        yield show(status(say("evidence.no_answer", session.language)))
        return
    steps = partial(_steps, session, answered[answer or 0], photo or 1)
    yield from run_job(JOB, session, room, steps, show)


def _steps(
    session: Session, exchange: Exchange, number: int, cancel: threading.Event
) -> Iterator[str]:
    """Look at place after place; the record always holds the map so far."""
    case, place = session.case, min(number, exchange.photos) - 1
    image, record = case.photos[place].image, case.panel_state(EvidenceRecord)
    seen = case.embeddings[: exchange.photos]
    for evidence in look_for_evidence(
        session.chat, exchange.history, seen, (place, image), exchange.answer, cancel
    ):
        record.evidence = evidence
        record.overlay = data_url(draw(image, evidence))
        record.sentence = _sentence(evidence, session)
        percent = round(100 * evidence.share)
        going = say("evidence.progress", session.language, percent=percent)
        yield going if evidence.share < 1 else ""


def _sentence(evidence: Evidence, session: Session) -> str:
    """Tell in words what the map shows."""
    if not evidence.matters:
        return say("evidence.nothing", session.language)
    row, column = evidence.strongest
    third = f"evidence.place_{row * 3 // GRID}_{column * 3 // GRID}"
    return say(
        "evidence.result",
        session.language,
        place=say(third, session.language),
        times=f"{math.exp(evidence.alone[row, column]):.1f}",
        drop=f"{100 * -math.expm1(min(0, -evidence.hidden[row, column])):.1f}",
    )


def _figure(record: EvidenceRecord, session: Session) -> str:
    """Write the map with its label; what it shows is also told in words."""
    if not record.overlay:
        return ""
    label = escape(say("evidence.label", session.language))
    sentence = escape(record.sentence)
    return (
        f'<figure><img src="{record.overlay}" alt="{label}: {sentence}">'
        f"<figcaption><strong>{label}.</strong> {sentence}</figcaption></figure>"
    )
