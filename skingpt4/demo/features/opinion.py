"""The second opinion: how often independent answers name the same disease, and if it is cancer."""

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from html import escape

import gradio as gr

from skingpt4.demo.i18n import Language, say, status, t, translated_notice
from skingpt4.demo.page import FOCUS, PRIVATE, Page, Panel, Updates, wire_job
from skingpt4.demo.queue import WaitingRoom
from skingpt4.demo.session import Case, Session
from skingpt4.dermatology import QUESTIONS, Condition
from skingpt4.labeler import diagnoses

JOB = "opinion"

# Independent answers (paper).
DRAWS = 10

# Of the draws: the model's own distribution, as in `evaluate.py consistency`.
TEMPERATURE = 1.0

# Below this share of draws for the most frequent reading, the model does not agree with itself.
# The figure is ours.
AGREEMENT = 0.7

# What an answer says of malignancy, in the order in which it is told: the kinds of `Condition`,
# "mixed" for several kinds of which one is alarming, "none" for no disease.
KINDS = ("malignant", "premalignant", "mixed", "benign", "non_neoplastic", "unclear", "none")

ALARMING = frozenset(("malignant", "premalignant", "mixed"))


@dataclass(frozen=True)
class Reading:
    """What one answer settles on; two answers with equal readings say the same.

    Attributes:
        conditions: Mostly one disease, or none; several if it leaves open which.
        warns: Whether it names a malignant or premalignant disease anywhere and does not deny it.
    """

    conditions: tuple[Condition, ...]
    warns: bool = field(compare=False, default=False)

    @property
    def kind(self) -> str:
        """Its malignancy, one of `KINDS`."""
        kinds = {one.malignancy for one in self.conditions} - {"unclear"}
        if len(kinds) > 1 and kinds & ALARMING:
            return "mixed"
        return next(
            (kind for kind in KINDS if kind in kinds), "unclear" if self.conditions else "none"
        )

    def name(self, language: Language) -> str:
        """Name it as plain text."""
        names = [one.chinese if language == "zh" else one.name for one in self.conditions]
        return " / ".join(names) or say("opinion.none", language)


@lru_cache(maxsize=1024)
def read(answer: str) -> Reading:
    """Read an answer; kept, because every answer is read again whenever the page shows them."""
    settled, named = diagnoses(answer)
    # In alphabetical order: "a mole or a melanoma" says the same as "a melanoma or a mole".
    conditions = tuple(sorted(settled, key=lambda one: one.name))
    return Reading(conditions, any(one.malignancy in ALARMING for one in named))


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
    def readings(self) -> list[Reading]:
        """What each draw said, in the order of their numbers."""
        return [read(self.answers[number]) for number in sorted(self.answers)]

    @property
    def counts(self) -> list[tuple[Reading, int]]:
        """How many draws said the same, each draw counted once; the most frequent first."""
        return Counter(self.readings).most_common()  # of equals, the first drawn leads

    @property
    def agrees(self) -> bool:
        """Whether enough draws settled on the same disease."""
        (top, count), *_ = self.counts
        return bool(top.conditions) and count >= AGREEMENT * len(self.answers)


@dataclass
class OpinionState:
    """The last opinion on a case.

    Attributes:
        opinion: What was drawn; None before.
        photos: How many photos it is about.
        is_shown: Whether the case has had an answer; a retry takes it back, but not the panel.
    """

    opinion: Opinion | None = None
    photos: int = 0
    is_shown: bool = False

    def on(self, case: Case) -> Opinion | None:
        """Return the opinion, if it is about all photos of the case."""
        return self.opinion if self.photos == len(case.photos) else None


@dataclass(frozen=True)
class OpinionPanel(Panel):
    """The second opinion's parts."""

    box: gr.Column
    begin: gr.Button
    stop: gr.Button
    status: gr.HTML
    chart: gr.HTML

    def show(self, session: Session) -> Updates:
        """Show the opinion on the case, if there is one; nothing before the first answer."""
        case, state = session.case, session.case.panel_state(OpinionState)
        opinion, busy = state.on(case), JOB in case.running
        line = case.told.get(JOB, "")
        if state.opinion and not opinion and not busy:
            line = status(say("opinion.stale", session.language))
        state.is_shown |= bool(case.answered)
        return {
            self.box: gr.update(visible=state.is_shown or busy),
            self.status: line,
            self.chart: chart(opinion, session) if opinion and opinion.answers else "",
            # Not switched off meanwhile, which would take the focus from who works by keyboard.
            self.begin: gr.update(interactive=bool(case.photos)),
            self.stop: gr.update(visible=busy),
        }


def lay_out() -> OpinionPanel:
    """Make the panel."""
    with gr.Column(visible=False, elem_id="opinion", elem_classes="deeper") as box:
        gr.HTML(t("opinion.intro"))
        with gr.Row():
            begin = gr.Button(t("opinion.begin"), interactive=False, elem_id="begin-opinion")
            stop = gr.Button(t("opinion.stop"), visible=False)
        line = gr.HTML(elem_id="opinion-status")
        bars = gr.HTML(elem_id="opinion-chart")
    parts = (box, begin, stop, line, bars)
    return OpinionPanel(parts, *parts)


def wire(panel: OpinionPanel, page: Page, draws: gr.Slider, room: WaitingRoom) -> None:
    """Connect the panel's two buttons."""
    # First, for what follows it waits for the server.
    panel.stop.click(None, js=FOCUS.format(button="begin-opinion"), **PRIVATE)
    wire_job(page, JOB, room, (panel.begin, panel.stop), [draws], draw)


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


def summary_on(case: Case, language: Language) -> tuple[list[tuple[str, int]], str]:
    """Return what a whole second opinion on the case named how often, and if that is cancer.

    Both are empty if there is none.
    """
    opinion = case.panel_state(OpinionState).on(case)
    if not opinion or not opinion.is_complete:
        return [], ""
    counts = [(reading.name(language), count) for reading, count in opinion.counts]
    return counts, malignancy(opinion, language)[1]


def verdict(opinion: Opinion, language: Language) -> str:
    """Say in two sentences whether the draws agree on the disease, and whether on malignancy.

    None of it is shown as good news: a model that repeats itself can be wrong every time.
    """
    (top, count), done = opinion.counts[0], len(opinion.answers)
    key = "agrees" if opinion.agrees else "differs" if top.conditions else "unnamed"
    same = escape(say(f"opinion.{key}", language, count=count, done=done))
    cancer, sentence = malignancy(opinion, language)
    return (
        f'<div role="status"><p class="verdict {key}">{same}</p>'
        f'<p class="verdict {cancer}">{escape(sentence)}</p></div>'
    )


def malignancy(opinion: Opinion, language: Language) -> tuple[str, str]:
    """Say whether the draws agree on malignancy: as a word of ours, and as sentences."""
    done = len(opinion.answers)
    found = Counter(reading.kind for reading in opinion.readings)
    named = [
        say(
            "opinion.named", language, count=found[kind], kind=say(f"opinion.kind_{kind}", language)
        )
        for kind in KINDS
        if found[kind]
    ]
    # Benign or no tumour is the same side of the question; what names neither takes no side.
    sides = {"benign" if kind == "non_neoplastic" else kind for kind in found} - {"unclear", "none"}
    cancer = "harmless" if not sides & ALARMING else "certain"
    if sides & ALARMING and (len(sides) > 1 or "mixed" in sides):
        cancer = "disputed"
    kinds = say("opinion.list", language).join(named)
    sentences = [say(f"opinion.{cancer}", language, done=done, kinds=kinds)]
    if warned := sum(one.warns and one.kind not in ALARMING for one in opinion.readings):
        sentences.append(say("opinion.warned", language, count=warned))
    return cancer, " ".join(sentences)


def chart(opinion: Opinion, session: Session) -> str:
    """Write the counts as a table with bars, the verdict on them, and every answer to be read."""
    language, done = session.language, len(opinion.answers)
    rows = ""
    for reading, count in opinion.counts:
        name, english = escape(reading.name(language)), ""
        kind = (
            "" if reading.kind == "none" else escape(say(f"opinion.kind_{reading.kind}", language))
        )
        if language == "zh" and reading.conditions:
            english = f'<span lang="en">{escape(reading.name("en"))}</span> · '
        counted = escape(say("opinion.count", language, count=count, done=done))
        width = f"{100 * count / opinion.draws:.0f}%"  # of all that were asked for: bars only grow
        rows += (
            f'<tr><th scope="row">{name}<small>{english}{kind}</small></th>'
            f'<td><span class="bar" style="width:{width}"></span><span>{counted}</span></td></tr>'
        )
    # The answers themselves, folded away, with what it takes to draw them again.
    items = "".join(
        f'<li lang="en">{escape(opinion.answers[n])}</li>' for n in sorted(opinion.answers)
    )
    heading = escape(say("opinion.all", language, done=done))
    last = opinion.seed + opinion.draws - 1
    values = {"temperature": TEMPERATURE, "first": opinion.seed, "last": last}
    caption = escape(say("opinion.caption", language, done=done))
    condition, answers, note = (
        escape(say(f"opinion.{key}", language, **values))
        for key in ("condition", "answers", "repeat")
    )
    # Its own notice, else that of this software.
    own = session.chat.model.notice
    notice = escape(translated_notice(language, own, "masthead.disclaimer"))
    # One figure, so that whoever cuts it out of the page takes the notice along.
    return (
        f"<figure>{verdict(opinion, language) if opinion.is_complete else ''}"
        f'<table class="bars"><caption>{caption}</caption>'
        f'<thead><tr><th scope="col">{condition}</th><th scope="col">{answers}</th></tr></thead>'
        f"<tbody>{rows}</tbody></table><figcaption>{notice}</figcaption></figure>"
        f"<details><summary>{heading}</summary><ol>{items}</ol><p>{note}</p></details>"
    )
