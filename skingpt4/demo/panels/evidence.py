"""The evidence map: which parts of the photo an answer is sensitive to."""

import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import Any

import gradio as gr

from skingpt4.demo.evidence import GRID, Evidence, draw, look_for_evidence
from skingpt4.demo.i18n import say, t
from skingpt4.demo.jobs import run_job
from skingpt4.demo.page import AT_ONCE, PRIVATE, SHOWING, Page, Updates, status
from skingpt4.demo.previews import data_url
from skingpt4.demo.session import Exchange, Session
from skingpt4.demo.waiting import WaitingRoom

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
