"""The second opinion: how often independent answers name the same condition."""

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape

import gradio as gr

from skingpt4.demo.i18n import say, status, t
from skingpt4.demo.page import Page, Panel, Updates, wire_job
from skingpt4.demo.queue import WaitingRoom
from skingpt4.demo.session import Case, Session
from skingpt4.dermatology import QUESTIONS
from skingpt4.labeler import label_text

JOB = "opinion"

# Independent answers (paper).
DRAWS = 10

# Of the draws: the model's own distribution, as in `evaluate.py consistency`.
TEMPERATURE = 1.0

# Below this share of draws for the most frequent diagnosis, the model does not agree with itself.
# The figure is ours.
AGREEMENT = 0.7


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
        # In the draws' order, so that of equally frequent classes the first drawn leads.
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
                # The first mention only: an answer that repeats a name is no further vote.
                named = [match.words for match in reading.trace if match.name == top]
                found.update(word.lower() for word in dict.fromkeys(named[:1]))
        return [word for word, _ in found.most_common()]


@dataclass
class OpinionState:
    """The last opinion on a case.

    Attributes:
        opinion: What was drawn; None before.
        photos: How many photos it is about.
    """

    opinion: Opinion | None = None
    photos: int = 0

    def on(self, case: Case) -> Opinion | None:
        """Return the opinion, if it is about all photos of the case."""
        return self.opinion if self.photos == len(case.photos) else None


@dataclass(frozen=True)
class OpinionPanel(Panel):
    """The second opinion's parts."""

    begin: gr.Button
    stop: gr.Button
    status: gr.HTML
    chart: gr.HTML

    def show(self, session: Session) -> Updates:
        """Show the opinion on the case, if there is one."""
        case, state = session.case, session.case.panel_state(OpinionState)
        opinion, busy = state.on(case), JOB in case.running
        line = case.told.get(JOB, "")
        if state.opinion and not opinion and not busy:
            line = status(say("opinion.stale", session.language))
        return {
            self.status: line,
            self.chart: chart(opinion, session) if opinion and opinion.answers else "",
            self.begin: gr.update(interactive=bool(case.photos) and not busy),
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
    return OpinionPanel([line, bars, begin, stop], begin, stop, line, bars)


def wire(panel: OpinionPanel, page: Page, draws: gr.Slider, room: WaitingRoom) -> None:
    """Connect the panel's two buttons."""
    wire_job(panel, page, JOB, room, (panel.begin, panel.stop), [draws], draw)


def draw(session: Session, draws: float, cancel: threading.Event) -> Iterator[str]:
    """Draw an opinion on the case, in a conversation of its own; yields how far it is.

    Args:
        session: Whose case it is.
        draws: How many answers.
        cancel: Ends drawing when set.

    Raises:
        ChatError: If the engine cannot draw.
    """
    case, chat, language = session.case, session.chat, session.language
    photos = [photo.embeddings for photo in case.photos]
    opinion = Opinion(int(draws), case.seed)
    conversation = chat.new_conversation(len(photos))
    chat.ask(QUESTIONS[0], conversation)
    yield say("opinion.progress", language, done=0, draws=opinion.draws)
    seeds = range(opinion.seed, opinion.seed + opinion.draws)
    drawn = chat.draw(conversation, photos, seeds, cancel=cancel, temperature=TEMPERATURE)
    for number, text in drawn:
        opinion.answers[number] = text
        # Only now: until its first answer is there, the opinion before stays on the page.
        state = case.panel_state(OpinionState)
        state.opinion, state.photos = opinion, len(photos)
        done = len(opinion.answers)
        progress = say("opinion.progress", language, done=done, draws=opinion.draws)
        yield "" if opinion.is_complete else progress


def counts_on(case: Case) -> list[tuple[str | None, int]]:
    """Return which conditions a whole second opinion on the case named how often, if any."""
    opinion = case.panel_state(OpinionState).on(case)
    return opinion.counts if opinion and opinion.is_complete else []


def chart(opinion: Opinion, session: Session) -> str:
    """Write the counts as a table with bars, the verdict on them, and every answer to be read."""
    language, done = session.language, len(opinion.answers)
    rows = ""
    for top, count in opinion.counts:
        name = escape(top or say("opinion.none", language))
        words = escape(", ".join(f"“{word}”" for word in opinion.words(top)) if top else "")
        counted = escape(say("opinion.count", language, count=count, done=done))
        width = f"{100 * count / opinion.draws:.0f}%"  # of all that were asked for: bars only grow
        rows += (
            f'<tr><th scope="row">{name}<small>{words}</small></th>'
            f'<td><span class="bar" style="width:{width}"></span><span>{counted}</span></td></tr>'
        )
    verdict = ""
    if opinion.is_complete:
        top, count = opinion.counts[0]
        key = "agrees" if opinion.agrees else "differs" if top else "unnamed"
        sentence = escape(say(f"opinion.{key}", language, count=count, done=done))
        verdict = f'<p class="verdict {key}" role="status">{sentence}</p>'
    # The answers themselves, folded away, with what it takes to draw them again.
    items = "".join(f"<li>{escape(opinion.answers[n])}</li>" for n in sorted(opinion.answers))
    heading = escape(say("opinion.all", language, done=done))
    last = opinion.seed + opinion.draws - 1
    values = {"temperature": TEMPERATURE, "first": opinion.seed, "last": last}
    caption = escape(say("opinion.caption", language, done=done))
    condition, answers, note = (
        escape(say(f"opinion.{key}", language, **values))
        for key in ("condition", "answers", "repeat")
    )
    return (
        f'{verdict}<table class="bars"><caption>{caption}</caption>'
        f'<thead><tr><th scope="col">{condition}</th><th scope="col">{answers}</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>"
        f"<details><summary>{heading}</summary><ol>{items}</ol><p>{note}</p></details>"
    )
