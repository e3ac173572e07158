"""The second opinion: how often independent answers name the same condition."""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import gradio as gr
from torch import Tensor

from skingpt4.conversation.chat import Chat
from skingpt4.demo.i18n import say, t
from skingpt4.demo.page import AT_ONCE, PRIVATE, Page, Updates, status
from skingpt4.demo.queue import WaitingRoom, run_job
from skingpt4.demo.session import Case, Session
from skingpt4.dermatology import QUESTIONS
from skingpt4.labeler import label_text

DRAWS = 10
"""Independent answers (paper)."""

TEMPERATURE = 1.0
"""Of the draws: the model's own distribution, as in ``evaluate.py consistency``."""

AGREEMENT = 0.7
"""Below this share of draws for the most frequent diagnosis, the model does not agree with itself.
The figure is ours."""


@dataclass
class Opinion:
    """What the draws said so far.

    Attributes:
        draws: How many were asked for.
        seed: Of the first draw; the others follow it.
        answers: What each finished draw said, by its number from 0.
    """

    draws: int
    seed: int
    answers: dict[int, str] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        """Whether every draw is there."""
        return len(self.answers) == self.draws

    @property
    def counts(self) -> list[tuple[str | None, int]]:
        """How many draws settled on each class, or on none; the most frequent first."""
        tops = Counter(label_text(self.answers[number]).top for number in sorted(self.answers))
        return tops.most_common()

    @property
    def agrees(self) -> bool:
        """Whether enough draws settled on the same class."""
        (top, count), *_ = self.counts
        return top is not None and count >= AGREEMENT * len(self.answers)

    def words(self, top: str | None) -> list[str]:
        """Return the answers' own words for a class, the most frequent first."""
        found: Counter[str] = Counter()
        for text in self.answers.values():
            reading = label_text(text)
            if reading.top == top:
                named = [match.words for match in reading.trace if match.name == top]
                found.update(word.lower() for word in dict.fromkeys(named[:1]))
        return [word for word, _ in found.most_common()]


def ask_again(
    chat: Chat, photos: Sequence[Tensor], opinion: Opinion, cancel: threading.Event
) -> Iterator[None]:
    """Draw the answers, in a conversation of their own; yields after each.

    Args:
        chat: Answers.
        photos: What the model saw of each photo.
        opinion: Gets the answers.
        cancel: Ends drawing when set.

    Raises:
        ChatError: If the engine cannot draw.
    """
    conversation = chat.new_conversation()
    for _ in photos:
        conversation.add_photo()
    chat.ask(QUESTIONS[0], conversation)
    seeds = range(opinion.seed, opinion.seed + opinion.draws)
    drawn = chat.draw(conversation, photos, seeds, cancel=cancel, temperature=TEMPERATURE)
    for number, text in drawn:
        opinion.answers[number] = text
        yield


JOB = "opinion"

WAITING_AT_ONCE = 8


@dataclass
class OpinionRecord:
    """The last opinion on a case.

    Attributes:
        opinion: What was drawn; None before.
        photos: How many photos it is about.
        told: What its line of status says.
    """

    opinion: Opinion | None = None
    photos: int = 0
    told: str = ""

    def on(self, case: Case) -> Opinion | None:
        """Return the opinion, if it is about all photos of the case."""
        return self.opinion if self.photos == len(case.photos) else None


@dataclass(frozen=True)
class OpinionPanel:
    """The second opinion's parts."""

    begin: gr.Button
    stop: gr.Button
    status: gr.HTML
    chart: gr.HTML

    @property
    def outputs(self) -> Sequence[Any]:
        """The chart, its line of status and the buttons."""
        return [self.status, self.chart, self.begin, self.stop]

    def show(self, session: Session) -> Updates:
        """Show the opinion on the case, if there is one."""
        record = session.case.panel_state(OpinionRecord)
        opinion = record.on(session.case)
        busy = JOB in session.case.running
        is_stale = bool(record.opinion and not opinion)
        return {
            self.status: status(say("opinion.stale", session.language))
            if is_stale and not busy
            else record.told,
            self.chart: chart(opinion, session) if opinion and opinion.answers else "",
            self.begin: gr.update(interactive=bool(session.case.photos) and not busy),
            self.stop: gr.update(interactive=busy),
        }


def lay_out() -> OpinionPanel:
    """Make the panel."""
    with gr.Accordion(t("opinion.title"), open=True, elem_id="opinion"):
        gr.HTML(t("opinion.intro"))
        with gr.Row():
            begin = gr.Button(t("opinion.begin"), size="sm", min_width=140, interactive=False)
            stop = gr.Button(t("opinion.stop"), size="sm", min_width=100, interactive=False)
        line = gr.HTML(elem_id="opinion-status")
        bars = gr.HTML(elem_id="opinion-chart")
    return OpinionPanel(begin, stop, line, bars)


def wire(panel: OpinionPanel, page: Page, draws: gr.Slider, room: WaitingRoom) -> None:
    """Connect the panel's two buttons."""

    def draw(wanted: float, request: gr.Request) -> Iterator[Updates]:
        yield from begin(panel, page.session(request), int(wanted), room)

    def stop(request: gr.Request) -> None:
        page.session(request).case.end(JOB)

    panel.begin.click(
        draw,
        [draws],
        panel.outputs,
        concurrency_id=JOB,
        concurrency_limit=WAITING_AT_ONCE,
        show_progress="hidden",
        **PRIVATE,
    )
    panel.stop.click(stop, None, None, **AT_ONCE)


def begin(
    panel: OpinionPanel, session: Session, draws: int, room: WaitingRoom
) -> Iterator[Updates]:
    """Draw an opinion on the case, and show it as it grows."""
    case = session.case
    record, opinion = case.panel_state(OpinionRecord), Opinion(draws, case.seed)
    photos = case.embeddings

    def steps(cancel: threading.Event) -> Iterator[str]:
        yield _progress(opinion, session)
        for _ in ask_again(session.chat, photos, opinion, cancel):
            record.opinion, record.photos = opinion, len(photos)
            yield "" if opinion.is_complete else _progress(opinion, session)

    def show(message: str) -> Updates:
        record.told = message
        return panel.show(session)

    yield from run_job(JOB, session, room, steps, show)


def _progress(opinion: Opinion, session: Session) -> str:
    done = len(opinion.answers)
    return say("opinion.progress", session.language, done=done, draws=opinion.draws)


def chart(opinion: Opinion, session: Session) -> str:
    """Write the counts as a table with bars, the verdict on them, and every answer to be read."""
    done = len(opinion.answers)
    rows = "".join(_bar(opinion, top, count, session) for top, count in opinion.counts)
    caption = say("opinion.caption", session.language, done=done)
    head = "".join(
        f'<th scope="col">{escape(say(f"opinion.{name}", session.language))}</th>'
        for name in ("condition", "answers")
    )
    return (
        f"{_verdict(opinion, session) if opinion.is_complete else ''}"
        f'<table class="bars"><caption>{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        f"{_all_answers(opinion, session)}"
    )


def _bar(opinion: Opinion, top: str | None, count: int, session: Session) -> str:
    done = len(opinion.answers)
    name = top or say("opinion.none", session.language)
    words = ", ".join(f"“{word}”" for word in opinion.words(top)) if top else ""
    counted = say("opinion.count", session.language, count=count, done=done)
    return (
        f'<tr><th scope="row">{escape(name)}<small>{escape(words)}</small></th>'
        f'<td><span class="bar" style="width:{100 * count / opinion.draws:.0f}%"></span>'
        f"<span>{escape(counted)}</span></td></tr>"
    )


def _verdict(opinion: Opinion, session: Session) -> str:
    (top, count), *_ = opinion.counts
    key = "agrees" if opinion.agrees else "differs" if top else "unnamed"
    sentence = say(f"opinion.{key}", session.language, count=count, done=len(opinion.answers))
    return f'<p class="verdict {key}" role="status">{escape(sentence)}</p>'


def _all_answers(opinion: Opinion, session: Session) -> str:
    """Write the answers themselves, folded away."""
    language = session.language
    items = "".join(f"<li>{escape(opinion.answers[n])}</li>" for n in sorted(opinion.answers))
    heading = say("opinion.all", language, done=len(opinion.answers))
    last = opinion.seed + opinion.draws - 1
    values = {"temperature": TEMPERATURE, "first": opinion.seed, "last": last}
    note = say("opinion.repeat", language, **values)
    return (
        f"<details><summary>{escape(heading)}</summary><ol>{items}</ol>"
        f"<p>{escape(note)}</p></details>"
    )
