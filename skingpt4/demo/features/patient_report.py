"""The report: made from the conversation in one click, edited on the page, saved where wanted.

What is edited is kept with the case in the server's memory, so that a reload shows it again, and a
newer conversation only offers its text. The file comes as a link that holds it.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from difflib import SequenceMatcher
from html import escape
from importlib.metadata import version
from typing import Any

import gradio as gr

from skingpt4.common.environment import model_name
from skingpt4.common.errors import ChatError
from skingpt4.demo.features.report_draft import (
    FIELDS,
    LONGEST_FIELD,
    LONGEST_SECTION,
    SECTIONS,
    ConditionCount,
    PatientReport,
    draft,
    to_html,
    to_json,
    to_pdf,
)
from skingpt4.demo.i18n import Language, failure, say, status, t, translated_notice
from skingpt4.demo.page import AT_ONCE, PRIVATE, Page, Panel, Updates
from skingpt4.demo.session import Case, Session
from skingpt4.documents.images import data_url

# Type and writer by file ending.
FORMATS: dict[str, tuple[str, Callable[[PatientReport], bytes]]] = {
    "pdf": ("application/pdf", to_pdf),
    "html": ("text/html", to_html),
    "json": ("application/json", to_json),
}

# What can be left out of the report, and whether it is in it from the start.
EXTRAS = {"with_photos": True, "with_evidence": False, "with_opinion": False}

# Where the report's texts are compared: at the ends of lines and sentences.
SENTENCE_END = re.compile(r"\n+|(?<=[.!?])\s+|(?<=[。！？])")

# What a panel beside this one knows of a case; panels do not import each other.
OpinionOn = Callable[[Case, Language], tuple[Sequence[ConditionCount], str]]
MapOn = Callable[[Case, Language], tuple[str, str] | None]

# Saves the file of a link; where the browser does not allow it, the link stays to be pressed.
FOLLOW_LINK = """(html) => {
  const box = document.createElement("div");
  box.innerHTML = html;
  box.querySelector("a")?.click();
}"""

# The pressed button goes, so the focus moves to what the button was about.
FOCUS = """() => {
  const part = document.querySelector("#%s");
  part.tabIndex = -1;
  part.focus();
  return [];
}"""


@dataclass
class ReportState:
    """A case's report.

    Attributes:
        entries: What each of `FIELDS`, `SECTIONS` and `EXTRAS` holds.
        drafted: The conversation's text for each section that was last taken or turned down; empty
            before the report is made.
        offered: Newer text for a section, until it is taken or turned down.
        is_shown: Whether the case has had an answer.
        is_unsaved: Whether something was edited after the last save.
        message: What came of making or updating it, as HTML.
    """

    entries: dict[str, Any] = field(
        default_factory=lambda: dict.fromkeys((*FIELDS, *SECTIONS), "") | EXTRAS
    )
    drafted: dict[str, str] = field(default_factory=dict)
    offered: dict[str, str] = field(default_factory=dict)
    is_shown: bool = False
    is_unsaved: bool = False
    message: str = ""

    def take_in(self, sections: dict[str, str]) -> str:
        """Fill the sections or, if they were filled before, offer what is newer.

        Returns:
            The text that says what came of it; empty if texts are offered, which say so themselves.
        """
        if not self.drafted:
            self.entries |= sections
            self.drafted = sections
            return "made"
        # What was turned down before, or stands there already, is no news.
        self.offered = {
            name: text
            for name, text in sections.items()
            if text not in (self.drafted[name], self.entries[name])
        }
        self.drafted = sections | {name: self.drafted[name] for name in self.offered}
        return "" if self.offered else "nothing_new"


@dataclass(frozen=True)
class Offer:
    """A section's newer text: what it would change, and the two answers to it."""

    box: gr.Column
    difference: gr.HTML
    take: gr.Button
    keep: gr.Button


@dataclass(frozen=True)
class ReportPanel(Panel):
    """The report's parts.

    Attributes:
        opinion_on: Gives what a case's whole second opinion named how often, and what that says of
            malignancy.
        map_on: Gives a case's evidence map as a ``data:`` address, and what it says.
        box: Holds all of them; there from the first finished answer on.
        make: Makes the report, later updates it.
        status: What came of that.
        editor: Holds what can be edited, and what saves it.
        all_offers: Says how many newer texts there are; takes or turns down all of them.
        boxes: What is edited, by the name of the entry.
        extras: Around the boxes of `EXTRAS`, for what cannot be had is not offered.
        offers: The newer text of each of `SECTIONS`.
        save: A button for each of `FORMATS`.
        unsaved: Says that there are changes in no file; the page's script asks before it leaves.
        link: What came of saving, and the file.
    """

    opinion_on: OpinionOn
    map_on: MapOn
    box: gr.Column
    make: gr.Button
    status: gr.HTML
    editor: gr.Column
    all_offers: Offer
    boxes: dict[str, gr.Textbox | gr.Checkbox]
    extras: dict[str, gr.Column]
    offers: dict[str, Offer]
    save: tuple[gr.Button, ...]
    unsaved: gr.HTML
    link: gr.HTML

    def show(self, session: Session) -> Updates:
        """Show the case's report as it was edited, and newer texts beside it."""
        case, language = session.case, session.language
        state = case.panel_state(ReportState)
        is_made = bool(state.drafted)
        # A retry takes the only answer back, but not the panel.
        state.is_shown |= bool(case.answered)
        label = say("report.update" if is_made else "report.make", language)
        updates: Updates = {
            self.box: gr.update(visible=state.is_shown),
            self.make: gr.update(value=label),
            self.status: state.message,
            self.editor: gr.update(visible=is_made),
            self.all_offers.box: gr.update(visible=bool(state.offered)),
            self.all_offers.difference: "",
            self.unsaved: unsaved(session),
        }
        if not is_made:  # no file of another case stays
            updates[self.link] = ""
        if count := len(state.offered):
            sentence = say("report.offered", language, count=count, most=len(SECTIONS))
            updates[self.all_offers.difference] = status(sentence)
        for name, offer in self.offers.items():
            updates[offer.box] = gr.update(visible=name in state.offered)
            updates[offer.difference] = difference(name, session)
        updates |= {box: state.entries[name] for name, box in self.boxes.items()}
        counts, _ = self.opinion_on(case, language)
        return updates | {
            self.extras["with_evidence"]: gr.update(visible=bool(self.map_on(case, language))),
            self.extras["with_opinion"]: gr.update(visible=bool(counts)),
        }


def unsaved(session: Session) -> str:
    """Say that the report has changes that no file has, if it has; the page's script looks."""
    if not session.case.panel_state(ReportState).is_unsaved:
        return ""
    sentence = escape(say("report.unsaved", session.language))
    return f'<p id="report-unsaved" data-unsaved="true">{sentence}</p>'


def difference(name: str, session: Session) -> str:
    """Write what taking a section's newer text would change, if there is one."""
    state, language = session.case.panel_state(ReportState), session.language
    if name not in state.offered:
        return ""
    title = say("report.difference", language, section=say(f"report.{name}", language))
    mine, new = (
        [line for line in SENTENCE_END.split(text) if line]
        for text in (state.entries[name], state.offered[name])
    )
    items = []
    for kind, first, end, new_first, new_end in SequenceMatcher(
        None, mine, new, autojunk=False
    ).get_opcodes():
        if kind == "equal":
            items += [f"<li>{escape(line)}</li>" for line in mine[first:end]]
            continue
        for key, tag, lines in (
            ("removed", "del", mine[first:end]),
            ("added", "ins", new[new_first:new_end]),
        ):
            word = escape(say(f"report.{key}", language))
            items += [
                f'<li class="{key}"><strong>{word}</strong> <{tag}>{escape(line)}</{tag}></li>'
                for line in lines
            ]
    return f"<h3>{escape(title)}</h3><ul>{''.join(items)}</ul>"


def lay_out(
    opinion_on: OpinionOn,
    map_on: MapOn,
) -> ReportPanel:
    """Make the panel, which is hidden until there is an answer; its editor, until a report.

    Args:
        opinion_on: See `ReportPanel`.
        map_on: The same.
    """
    boxes: dict[str, gr.Textbox | gr.Checkbox] = {}
    offers, extras = {}, {}
    with gr.Column(visible=False, elem_id="report", elem_classes="deeper") as box:
        gr.HTML(t("report.heading"))
        make = gr.Button(t("report.make"), elem_id="make-report")
        line = gr.HTML("", elem_id="report-status")
        with gr.Column(visible=False, elem_id="report-editor") as editor:
            all_offers = lay_out_offer("all", "take_all", "keep_all")
            gr.HTML(t("report.intro"))
            with gr.Row():
                for name in FIELDS:
                    boxes[name] = gr.Textbox(
                        label=t(f"report.{name}"),
                        max_length=LONGEST_FIELD,
                        min_width=200,
                        elem_id=f"report-{name}",
                        # No browser is to remember a patient's name.
                        html_attributes=gr.InputHTMLAttributes(autocomplete="off"),
                    )
            for name in SECTIONS:
                boxes[name] = gr.Textbox(
                    label=t(f"report.{name}"),
                    lines=2,
                    max_lines=12,
                    max_length=LONGEST_SECTION,
                    elem_id=f"report-{name.replace('_', '-')}",
                )
                offers[name] = lay_out_offer(name.replace("_", "-"), "take", "keep")
            with gr.Row():
                for name, is_in in EXTRAS.items():
                    with gr.Column(visible=name == "with_photos", min_width=160) as extras[name]:
                        boxes[name] = gr.Checkbox(
                            is_in,
                            label=t(f"report.{name}"),
                            elem_id=f"report-{name.replace('_', '-')}",
                        )
            with gr.Row():
                save = tuple(
                    gr.Button(t(f"report.save_{ending}"), elem_id=f"save-{ending}", min_width=160)
                    for ending in FORMATS
                )
            mark = gr.HTML("")
            link = gr.HTML("", elem_id="report-link")
    offered = (all_offers, *offers.values())
    parts = [part for one in offered for part in (one.box, one.difference)]
    outputs = [box, make, line, editor, *boxes.values(), *extras.values(), *parts, mark, link]
    places = (box, make, line, editor, all_offers, boxes, extras, offers, save, mark, link)
    return ReportPanel(outputs, opinion_on, map_on, *places)


def lay_out_offer(name: str, take: str, keep: str) -> Offer:
    """Make the place of a newer text, and its two buttons, which `take` and `keep` are texts of."""
    with gr.Column(visible=False, elem_id=f"offer-{name}", elem_classes="offer") as box:
        text = gr.HTML("")
        with gr.Row():
            buttons = [gr.Button(t(f"report.{key}"), min_width=160) for key in (take, keep)]
    return Offer(box, text, *buttons)


def wire(panel: ReportPanel, page: Page) -> None:
    """Connect making, editing, updating and saving."""
    actions = ReportActions(panel, page)
    panel.make.click(actions.make_report, None, None, **AT_ONCE)
    for name, box in panel.boxes.items():
        # While one value is on its way the next ones wait, and only the last of them is sent.
        box.input(
            actions.keep(name),
            box,
            [panel.unsaved, panel.link],
            trigger_mode="always_last",
            **AT_ONCE,
        )
    for offer, names in (
        (panel.all_offers, SECTIONS),
        *((offer, (name,)) for name, offer in panel.offers.items()),
    ):
        focus = "make-report" if names == SECTIONS else f"report-{names[0].replace('_', '-')}"
        for button, is_taken in ((offer.take, True), (offer.keep, False)):
            action = actions.decide(names, is_taken)
            button.click(action, None, None, js=FOCUS % focus, **AT_ONCE)
    for button, ending in zip(panel.save, FORMATS, strict=True):
        button.click(
            actions.save(ending),
            {*panel.boxes.values()},
            [panel.unsaved, panel.link],
            **AT_ONCE,
        ).then(None, [panel.link], None, js=FOLLOW_LINK, **PRIVATE)


@dataclass(frozen=True)
class ReportActions:
    """What the report's buttons and boxes do."""

    panel: ReportPanel
    page: Page

    def make_report(self, request: gr.Request) -> None:
        """Draft the report from what was said so far; if there is one, offer what is newer."""
        session = self.page.session(request)
        state, language = session.case.panel_state(ReportState), session.language
        exchanges = [(one.question, one.answer) for one in session.case.answered]
        try:
            sections = draft(exchanges, language, *self.panel.opinion_on(session.case, language))
        except Exception as error:
            state.message = failure(error, language)
        else:
            key = state.take_in(sections)
            state.message = status(say(f"report.{key}", language)) if key else ""
        session.changed()

    def keep(self, name: str) -> Callable[[Any, gr.Request], Updates]:
        """Make the action that keeps what was written in a box."""

        def keep(value: str | bool | None, request: gr.Request) -> Updates:
            session = self.page.session(request)
            state = session.case.panel_state(ReportState)
            written = bool(value) if name in EXTRAS else str(value or "")
            # A last key press may come when its report is gone, and is no part of the next one; or
            # when a file holds it, for who presses "save" also leaves the box.
            if not state.drafted or state.entries[name] == written:
                return {}
            state.entries[name] = written
            state.is_unsaved = True
            self.page.note(request, {self.panel.boxes[name]: state.entries[name]})
            # A file from before the change is not offered any longer.
            return {self.panel.unsaved: unsaved(session), self.panel.link: ""}

        return keep

    def decide(self, names: Iterable[str], is_taken: bool) -> Callable[[gr.Request], None]:
        """Make the action that takes these sections' newer texts, or turns them down."""

        def decide(request: gr.Request) -> None:
            session = self.page.session(request)
            state, language = session.case.panel_state(ReportState), session.language
            decided = {name: state.offered.pop(name) for name in names if name in state.offered}
            state.drafted |= decided
            if is_taken:
                state.entries |= decided
            if decided:  # a second press of a slow connection decides nothing
                titles = "; ".join(say(f"report.{name}", language) for name in decided)
                key = "report.taken" if is_taken else "report.kept"
                state.message = status(say(key, language, sections=titles))
            session.changed()

        return decide

    def save(self, ending: str) -> Callable[[dict[Any, Any], gr.Request], Updates]:
        """Make the action that writes the edited report as a file of this ending."""
        mime, write = FORMATS[ending]

        def save(edited: dict[Any, Any], request: gr.Request) -> Updates:
            session = self.page.session(request)
            state = session.case.panel_state(ReportState)
            try:
                if not state.drafted:
                    raise ChatError(say("report.nothing", session.language))
                # What the visitor sees, also if its last change has not come by itself.
                state.entries |= {name: edited[box] for name, box in self.panel.boxes.items()}
                self.page.note(request, edited)
                report = self.written(session, state.entries)
                content = write(report)
            except Exception as error:
                return {self.panel.link: failure(error, session.language)}
            state.is_unsaved = False
            name = f"{report.say('filename')}-{report.day.isoformat()}.{ending}"
            sentence = report.say("ready", name=name, size=max(1, len(content) // 1000))
            # The link holds the file, so that none is written on this machine.
            link = (
                f'<a href="{data_url(content, mime)}" download="{name}">'
                f"{escape(report.say('link'))}</a>"
            )
            return {
                self.panel.unsaved: unsaved(session),
                self.panel.link: status(sentence) + link,
            }

        return save

    def written(self, session: Session, entries: dict[str, Any]) -> PatientReport:
        """Put a session's report together as its file will have it.

        Raises:
            ChatError: If a section is too long.
        """
        case, model, language = session.case, session.chat.model, session.language
        counts, malignancy = self.panel.opinion_on(case, language)
        return PatientReport(
            sections={name: str(entries[name] or "") for name in SECTIONS},
            head={name: str(entries[name] or "")[:LONGEST_FIELD] for name in FIELDS},
            photos=[photo.image for photo in case.photos] if entries["with_photos"] else [],
            model=f"SkinGPT-4 {version('skingpt4')}",
            notice=translated_notice(language, model.notice),
            language=language,
            day=date.today(),
            details=model_name(model.config),
            evidence=self.panel.map_on(case, language) if entries["with_evidence"] else None,
            opinion=counts if entries["with_opinion"] else [],
            malignancy=malignancy,
        )
