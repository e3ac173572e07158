"""The report: made from the conversation in one click, edited on the page, saved where wanted.

What is edited stays in the browser until it is saved; the file comes as a link that holds it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from html import escape
from typing import Any

import gradio as gr

from skingpt4.demo.features.masthead import notice_in
from skingpt4.demo.features.opinion import OpinionRecord
from skingpt4.demo.features.report_draft import (
    LONGEST_SECTION,
    SECTIONS,
    Report,
    data_url,
    draft,
    model_name,
    to_html,
    to_json,
    to_pdf,
)
from skingpt4.demo.i18n import say, t
from skingpt4.demo.page import AT_ONCE, PRIVATE, Page, Updates, failure, status
from skingpt4.demo.session import Session

FORMATS: dict[str, tuple[str, Callable[[Report], bytes]]] = {
    "pdf": ("application/pdf", to_pdf),
    "html": ("text/html", to_html),
    "json": ("application/json", to_json),
}
"""Type and writer by file ending."""

FOLLOW_LINK = """(html) => {
  const box = document.createElement("div");
  box.innerHTML = html;
  box.querySelector("a")?.click();
}"""
"""Saves the file of a link; where the browser does not allow it, the link stays to be pressed."""


@dataclass
class ReportState:
    """What is known of a case's report."""

    is_made: bool = False


@dataclass(frozen=True)
class ReportPanel:
    """The report's parts.

    Attributes:
        make: Makes the report.
        status: What came of it.
        editor: Holds the sections and what saves them.
        sections: A text box for each of `SECTIONS`.
        save: A button for each of `FORMATS`.
        link: The file to save.
    """

    make: gr.Button
    status: gr.HTML
    editor: gr.Column
    sections: tuple[gr.Textbox, ...]
    save: tuple[gr.Button, ...]
    link: gr.HTML

    @property
    def outputs(self) -> Sequence[Any]:
        """Everything, because a report goes when its conversation goes."""
        return [self.make, self.status, self.editor, *self.sections, self.link]

    def show(self, session: Session) -> Updates:
        """Take the report away if it belongs to another case; else leave it as it was edited."""
        has_answer = bool(session.case.answered)
        updates: Updates = {self.make: gr.update(interactive=has_answer)}
        if session.case.panel_state(ReportState).is_made:
            return updates
        updates |= {self.editor: gr.update(visible=False), self.status: "", self.link: ""}
        return updates | dict.fromkeys(self.sections, "")


def lay_out() -> ReportPanel:
    """Make the button, and the report's editor, which is hidden until there is a report."""
    with gr.Column(elem_id="report"):
        make = gr.Button(t("report.make"), interactive=False, elem_id="make-report")
        line = gr.HTML("", elem_id="report-status")
        with gr.Column(visible=False, elem_id="report-editor") as editor:
            gr.HTML(t("report.intro"))
            sections = tuple(
                gr.Textbox(
                    label=t(f"report.{name}"),
                    lines=2,
                    max_lines=12,
                    max_length=LONGEST_SECTION,
                    elem_id=f"report-{name.replace('_', '-')}",
                )
                for name in SECTIONS
            )
            with gr.Row():
                save = tuple(
                    gr.Button(t(f"report.save_{ending}"), elem_id=f"save-{ending}", min_width=160)
                    for ending in FORMATS
                )
            link = gr.HTML("", elem_id="report-link")
    return ReportPanel(make, line, editor, sections, save, link)


def wire(panel: ReportPanel, page: Page) -> None:
    """Connect making and saving."""
    actions = ReportActions(panel, page)
    made = [panel.status, panel.editor, *panel.sections, panel.link]
    panel.make.click(actions.make, None, made, **AT_ONCE)
    for button, ending in zip(panel.save, FORMATS, strict=True):
        button.click(
            actions.save(ending), {*panel.sections}, [panel.status, panel.link], **AT_ONCE
        ).then(None, [panel.link], None, js=FOLLOW_LINK, **PRIVATE)


class ReportActions:
    """What the report's buttons do."""

    def __init__(self, panel: ReportPanel, page: Page) -> None:
        self._panel = panel
        self._page = page

    def make(self, request: gr.Request) -> Updates:
        """Draft the report from what was said so far."""
        session = self._page.session(request)
        try:
            sections = draft(_exchanges(session), session.language, _counts(session))
        except Exception as error:
            return {self._panel.status: failure(error, session.language)}
        session.case.panel_state(ReportState).is_made = True
        updates: Updates = {
            self._panel.status: status(say("report.made", session.language)),
            self._panel.editor: gr.update(visible=True),
            self._panel.link: "",
        }
        boxes = zip(self._panel.sections, SECTIONS, strict=True)
        return updates | {box: sections[name] for box, name in boxes}

    def save(self, ending: str) -> Callable[[dict[gr.Textbox, str], gr.Request], Updates]:
        """Make the action that writes the edited report as a file of this ending."""
        mime, write = FORMATS[ending]

        def save(edited: dict[gr.Textbox, str], request: gr.Request) -> Updates:
            session = self._page.session(request)
            try:
                report = _report(session, [edited[box] for box in self._panel.sections])
                content = write(report)
            except Exception as error:
                return {self._panel.status: failure(error, session.language), self._panel.link: ""}
            name = f"{report.say('filename')}-{report.day.isoformat()}.{ending}"
            sentence = report.say("ready", name=name, size=max(1, len(content) // 1000))
            link = (
                f'<a href="{data_url(content, mime)}" download="{name}">'
                f"{escape(report.say('link'))}</a>"
            )
            return {self._panel.status: status(sentence), self._panel.link: link}

        return save


def _exchanges(session: Session) -> list[tuple[str, str]]:
    """Return what has been asked and answered to the end."""
    return [(exchange.question, exchange.answer) for exchange in session.case.answered]


def _counts(session: Session) -> list[tuple[str | None, int]]:
    """Return which conditions a second opinion named how often, if there is one."""
    opinion = session.case.panel_state(OpinionRecord).on(session.case)
    return opinion.counts if opinion and opinion.is_complete else []


def _report(session: Session, texts: Sequence[str]) -> Report:
    model = session.chat.model
    return Report(
        sections=dict(zip(SECTIONS, texts, strict=True)),
        photos=[photo.image for photo in session.case.photos],
        model=model_name(model.config),
        notice=notice_in(session.language, model.notice),
        language=session.language,
        day=date.today(),
    )
