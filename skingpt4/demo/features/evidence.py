"""The evidence map: which parts of the photo an answer is sensitive to."""

import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

import gradio as gr
import numpy as np
from PIL import Image, ImageFilter
from torch import Tensor

from skingpt4.conversation.chat import Chat
from skingpt4.conversation.conversation import Conversation
from skingpt4.demo.i18n import Language, say, status, t, translated_notice
from skingpt4.demo.page import AT_ONCE, FOCUS, PRIVATE, Page, Panel, Updates, wire_job
from skingpt4.demo.queue import WaitingRoom
from skingpt4.demo.session import PREVIEW_QUALITY, Case, Exchange, Session
from skingpt4.documents.images import data_url, jpeg

JOB = "evidence"

# Longest question in the list of answers to explain.
QUESTION_CHARS = 60

# How bright a region is shown that does not matter; one that matters most is shown as it is.
DIM = 0.4

# The region above this share of the greatest strength is outlined.
OUTLINED = 0.5

# Cells a side.
GRID = 7

# Cells a side of the window; windows overlap, so a cell is in up to four.
WINDOW = 2

# Places of the window that are looked at together; each takes two photos.
PLACES_AT_ONCE = 4

# Longest side of the photo that windows are hidden in, in pixels; the model sees less.
WORKING_SIDE = 512

# A region matters from this weight on, in nats a token (5 % of its probability); ours. Shuffled
# weights of the embedded model stay below it.
LEAST_WEIGHT = 0.05

# What is drawn at full brightness weighs at least this, so that a weak map looks weak; ours.
FULL_WEIGHT = 0.1

# Row and column of a window's top left cell.
Place = tuple[int, int]


@dataclass
class Evidence:
    """The map of one answer over one photo; all in nats a token, over ``[GRID, GRID]`` cells.

    Attributes:
        hidden: How much less likely the answer is where a window hides something.
        alone: How much likelier it is where a window shows something, than if nothing is shown.
        done: Places of the window looked at.
    """

    hidden: np.ndarray
    alone: np.ndarray
    done: int = 0

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
            return np.zeros_like(self.weights)
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
    # Hidden behind the photo's median colour: black would be a feature of its own.
    median = np.median(np.asarray(image).reshape(-1, 3), axis=0)
    blank = Image.new("RGB", image.size, tuple(int(value) for value in median))

    def likelihoods(images: Sequence[Image.Image]) -> np.ndarray:
        """Return the answer's mean log-probability a token with each in the photo's place."""
        lists = [
            [*photos[:number], seen, *photos[number + 1 :]] for seen in chat.encode_photos(images)
        ]
        return chat.log_likelihoods(conversation, lists, answer)

    # What every window is compared with: all of the photo, and none of it.
    with_all, with_nothing = likelihoods([image, blank])
    (width, height), left = image.size, places()
    hidden, alone, seen = np.zeros((3, GRID, GRID))
    while left and not cancel.is_set():
        some, left = left[:PLACES_AT_ONCE], left[PLACES_AT_ONCE:]
        masks = []
        for row, column in some:
            mask = Image.new("L", image.size)
            top, bottom = (place * height // GRID for place in (row, row + WINDOW))
            start, end = (place * width // GRID for place in (column, column + WINDOW))
            mask.paste(255, (start, top, end, bottom))
            # Edges are soft, for a sharp one would be a feature of its own.
            masks.append(mask.filter(ImageFilter.GaussianBlur(min(width, height) / GRID / 8)))
        without = likelihoods([Image.composite(blank, image, mask) for mask in masks])
        just = likelihoods([Image.composite(image, blank, mask) for mask in masks])
        for (row, column), without_it, just_it in zip(some, without, just, strict=True):
            # Two opposite questions: is it needed, and is it enough?
            cells = np.s_[row : row + WINDOW, column : column + WINDOW]
            hidden[cells] += with_all - without_it
            alone[cells] += just_it - with_nothing
            seen[cells] += 1
        done = len(places()) - len(left)
        # A cell is in up to four windows and gets their mean.
        yield Evidence(hidden / seen.clip(min=1), alone / seen.clip(min=1), done)


def draw(image: Image.Image, evidence: Evidence) -> Image.Image:
    """Draw the map: what matters stays as it is, the rest is grey and dark.

    Nothing covers the skin, and the map can be read without seeing colours.

    Args:
        image: The photo, RGB.
        evidence: The map.
    """
    cells = (evidence.strength() * 255).astype(np.uint8)  # [GRID, GRID]
    strength = Image.fromarray(cells).resize(image.size, Image.Resampling.BICUBIC)
    dark = image.convert("L").point([int(value * DIM) for value in range(256)]).convert("RGB")
    drawn = Image.composite(image, dark, strength)
    if evidence.matters:
        inside = strength.point([255 * (value >= OUTLINED * cells.max()) for value in range(256)])
        # The outline is what a filter adds around the region.
        wide = 2 * max(1, max(image.size) // 256) + 1
        wider = inside.filter(ImageFilter.MaxFilter(wide))
        outline = Image.composite(Image.new("L", image.size), wider, inside)
        drawn.paste((255, 255, 255), mask=outline)
    return drawn


@dataclass
class EvidenceState:
    """The last map of a case.

    Attributes:
        overlay: The map, drawn over the photo, as a ``data:`` address; empty before.
        evidence: What it was drawn from.
        exchange: The answer that it explains.
        photo: Number of the photo that it lies over.
        photos: How many photos there were when it was made.
        chosen: The answer that the visitor wants explained; None for the first.
        chosen_photo: Number of the photo that they want to see it over.
        is_shown: Whether the case has had an answer.
    """

    overlay: str = ""
    evidence: Evidence | None = None
    exchange: Exchange | None = None
    photo: int = 1
    photos: int = 0
    chosen: Exchange | None = None
    chosen_photo: int = 1
    is_shown: bool = False


@dataclass(frozen=True)
class EvidencePanel(Panel):
    """The evidence map's parts."""

    box: gr.Column
    answer: gr.Radio
    photo: gr.Radio
    begin: gr.Button
    stop: gr.Button
    status: gr.HTML
    map: gr.HTML

    def show(self, session: Session) -> Updates:
        """Offer the answers and photos there are, and show the case's map, if there is one.

        Before the first answer nothing of the panel is shown.
        """
        case, language = session.case, session.language
        state, busy = case.panel_state(EvidenceState), JOB in case.running
        line = case.told.get(JOB, "")
        # Of a map of an answer that was asked again, or from before another photo came.
        is_stale = state.exchange not in case.exchanges or state.photos != len(case.photos)
        if state.overlay and is_stale and not busy:
            line = status(say("evidence.stale", language))
        # A retry takes the only answer back, but not the panel.
        state.is_shown |= bool(case.answered)
        updates: Updates = {
            self.box: gr.update(visible=state.is_shown or busy),
            # Not switched off meanwhile, which would take the focus from who works by keyboard.
            self.begin: gr.update(interactive=bool(case.answered)),
            self.stop: gr.update(visible=busy),
            self.status: line,
            self.map: figure(state, session) if state.overlay else "",
        }
        answered, numbers = case.answered, range(1, len(case.photos) + 1)
        asked = [(shortened(one.question), n) for n, one in enumerate(answered)]
        photos = [(say("evidence.photo_number", language, number=n), n) for n in numbers]
        chosen = answered.index(state.chosen) if state.chosen in answered else 0
        updates[self.answer] = gr.update(choices=asked, value=chosen, visible=bool(asked))
        updates[self.photo] = gr.update(
            choices=photos, value=state.chosen_photo, visible=len(photos) > 1
        )
        return updates


def map_on(case: Case, language: Language) -> tuple[str, str] | None:
    """Return the map as a ``data:`` address, and what it says; None if the case has none now."""
    state = case.panel_state(EvidenceState)
    # Not before it is whole, nor of an answer that was asked again.
    is_whole = state.evidence and state.evidence.done == len(places())
    if not state.evidence or not is_whole or state.exchange not in case.exchanges:
        return None
    question = state.exchange.question
    about = say("evidence.about", language, number=state.photo, question=question)
    return state.overlay, f"{told(state.evidence, language)} {about}"


def told(evidence: Evidence, language: Language) -> str:
    """Tell what a map says; nothing of one that is not whole and shows nothing yet."""
    if evidence.matters:
        row, column = evidence.strongest
        place = say(f"evidence.place_{row * 3 // GRID}_{column * 3 // GRID}", language)
        # Nats a token to "so many times as likely" and "so many per cent less likely".
        times = f"{math.exp(evidence.alone[row, column]):.1f}"
        drop = f"{100 * abs(math.expm1(min(0, -evidence.hidden[row, column]))):.1f}"
        return say("evidence.result", language, place=place, times=times, drop=drop)
    if evidence.done < len(places()):
        return ""
    # Exactly what was measured: all of it may be below the threshold, or even negative.
    most = f"{100 * math.expm1(evidence.weights.max()):+.1f}"
    least = f"{100 * math.expm1(LEAST_WEIGHT):.0f}"
    return say("evidence.nothing", language, most=most, least=least)


def shortened(question: str) -> str:
    """Cut a question after a word, so that it fits a line of the list."""
    if len(question) <= QUESTION_CHARS:
        return question
    cut = question[:QUESTION_CHARS]
    # Chinese has no spaces, and may be cut anywhere.
    return f"{cut.rpartition(' ')[0] or cut}…"


def figure(state: EvidenceState, session: Session) -> str:
    """Show the map with what it is, what it says and of which answer, and the model's notice."""
    language, exchange = session.language, state.exchange
    label = escape(say("evidence.label", language))
    sentence = escape(told(state.evidence, language)) if state.evidence else ""
    question = exchange.question if exchange else ""
    lang = ' lang="en"' if question.isascii() else ""
    about = escape(say("evidence.about", language, number=state.photo, question="{question}"))
    about = about.replace("{question}", f"<q{lang}>{escape(question)}</q>")
    # Its own notice, else that of this software.
    own = session.chat.model.notice
    notice = escape(translated_notice(language, own, "masthead.disclaimer"))
    # All of it in the caption: whoever cuts the figure out of the page takes it along.
    return (
        f'<figure><img src="{state.overlay}" alt="{label}: {sentence}">'
        f"<figcaption><p><strong>{label}</strong></p><p>{sentence}</p><p>{about}</p><p>{notice}</p>"
        "</figcaption></figure>"
    )


def lay_out() -> EvidencePanel:
    """Make the panel."""
    with gr.Column(visible=False, elem_id="evidence", elem_classes="deeper") as box:
        gr.HTML(t("evidence.intro"))
        # No list to unfold: Gradio's stays open when a visitor leaves it with the Tab key.
        answer = gr.Radio([], label=t("evidence.answer"), visible=False)
        photo = gr.Radio([], label=t("evidence.photo"), visible=False)
        with gr.Row():
            begin = gr.Button(t("evidence.begin"), interactive=False, elem_id="begin-evidence")
            stop = gr.Button(t("evidence.stop"), visible=False)
        line = gr.HTML(elem_id="evidence-status")
        picture = gr.HTML(elem_id="evidence-map")
    parts = (box, answer, photo, begin, stop, line, picture)
    return EvidencePanel(parts, *parts)


def wire(panel: EvidencePanel, page: Page, room: WaitingRoom) -> None:
    """Connect the panel's two buttons, and keep what is chosen."""

    def choose(answer: int | None, photo: int | None, request: gr.Request) -> None:
        """Keep the choices, so that a reload does not change them."""
        session = page.session(request)
        state, answered = session.case.panel_state(EvidenceState), session.case.answered
        state.chosen = answered[answer] if answer is not None and answer < len(answered) else None
        state.chosen_photo = photo or 1
        session.changed()

    choices = [panel.answer, panel.photo]
    gr.on([one.input for one in choices], choose, choices, None, **AT_ONCE)
    # First, for what follows it waits for the server.
    panel.stop.click(None, js=FOCUS.format(button="begin-evidence"), **PRIVATE)
    wire_job(page, JOB, room, (panel.begin, panel.stop), choices, make_map)


def make_map(
    session: Session, answer: int | None, photo: int | None, cancel: threading.Event
) -> Iterator[str]:
    """Make the map of one answer over one photo; the case's state always holds it so far.

    Args:
        session: Whose case it is.
        answer: Which finished answer, from 0; None for the first.
        photo: Number of the photo, from 1; None for the first.
        cancel: Ends the work when set.

    Yields:
        How far it is.
    """
    case, language = session.case, session.language
    if not 0 <= (answer or 0) < len(case.answered):
        yield say("evidence.no_answer", language)
        return
    exchange = case.answered[answer or 0]
    # The answer rests on the photos that there were then.
    number = min(photo or 1, exchange.photos) - 1
    state, photos = case.panel_state(EvidenceState), list(case.photos)
    image, seen = photos[number].image, [one.embeddings for one in photos[: exchange.photos]]
    for evidence in look_for_evidence(
        session.chat, exchange.history, seen, (number, image), exchange.answer, cancel
    ):
        shown = jpeg(draw(image, evidence), quality=PREVIEW_QUALITY)
        state.overlay, state.evidence = data_url(shown), evidence
        state.exchange, state.photo, state.photos = exchange, number + 1, len(photos)
        percent = round(100 * evidence.done / len(places()))
        yield say("evidence.progress", language, percent=percent) if percent < 100 else ""
