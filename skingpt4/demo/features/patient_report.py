"""The report: made from the conversation in one click, edited on the page, saved where wanted.

What is edited stays in the browser until it is saved; the file comes as a link that holds it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from html import escape

import gradio as gr

from skingpt4.common.environment import model_name
from skingpt4.demo.features.report_draft import (
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

# Saves the file of a link; where the browser does not allow it, the link stays to be pressed.
FOLLOW_LINK = """(html) => {
  const box = document.createElement("div");
  box.innerHTML = html;
  box.querySelector("a")?.click();
}"""


@dataclass
class ReportState:
    """What is known of a case's report."""

    is_made: bool = False


@dataclass(frozen=True)
class ReportPanel(Panel):
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
    # A report goes when its conversation goes, so all of it depends on the session.
    outputs = [make, line, editor, *sections, link]
    return ReportPanel(outputs, make, line, editor, sections, save, link)


def wire(
    panel: ReportPanel, page: Page, counts_on: Callable[[Case, Language], Sequence[ConditionCount]]
) -> None:
    """Connect making and saving.

    Args:
        panel: Its parts.
        page: The page.
        counts_on: Tells how often a second opinion on a case named which condition.
    """
    actions = ReportActions(panel, page, counts_on)
    made = [panel.status, panel.editor, *panel.sections, panel.link]
    panel.make.click(actions.make_report, None, made, **AT_ONCE)
    for button, ending in zip(panel.save, FORMATS, strict=True):
        button.click(
            actions.save(ending), {*panel.sections}, [panel.status, panel.link], **AT_ONCE
        ).then(None, [panel.link], None, js=FOLLOW_LINK, **PRIVATE)


@dataclass(frozen=True)
class ReportActions:
    """What the report's buttons do."""

    panel: ReportPanel
    page: Page
    counts_on: Callable[[Case, Language], Sequence[ConditionCount]]

    def make_report(self, request: gr.Request) -> Updates:
        """Draft the report from what was said so far."""
        session = self.page.session(request)
        exchanges = [(one.question, one.answer) for one in session.case.answered]
        try:
            sections = draft(
                exchanges, session.language, self.counts_on(session.case, session.language)
            )
        except Exception as error:
            return {self.panel.status: failure(error, session.language)}
        # From now on the boxes hold what was edited, until the case ends.
        session.case.panel_state(ReportState).is_made = True
        updates: Updates = {
            self.panel.status: status(say("report.made", session.language)),
            self.panel.editor: gr.update(visible=True),
            self.panel.link: "",
        }
        boxes = zip(self.panel.sections, SECTIONS, strict=True)
        return updates | {box: sections[name] for box, name in boxes}

    def save(self, ending: str) -> Callable[[dict[gr.Textbox, str], gr.Request], Updates]:
        """Make the action that writes the edited report as a file of this ending."""
        mime, write = FORMATS[ending]

        def save(edited: dict[gr.Textbox, str], request: gr.Request) -> Updates:
            session = self.page.session(request)
            model = session.chat.model
            try:
                # What the visitor edited, not what was drafted.
                texts = (edited[box] for box in self.panel.sections)
                report = PatientReport(
                    sections=dict(zip(SECTIONS, texts, strict=True)),
                    photos=[photo.image for photo in session.case.photos],
                    model=model_name(model.config),
                    notice=translated_notice(session.language, model.notice),
                    language=session.language,
                    day=date.today(),
                )
                content = write(report)
            except Exception as error:
                return {self.panel.status: failure(error, session.language), self.panel.link: ""}
            name = f"{report.say('filename')}-{report.day.isoformat()}.{ending}"
            sentence = report.say("ready", name=name, size=max(1, len(content) // 1000))
            # The link holds the file, so that none is written on this machine.
            link = (
                f'<a href="{data_url(content, mime)}" download="{name}">'
                f"{escape(report.say('link'))}</a>"
            )
            return {self.panel.status: status(sentence), self.panel.link: link}

        return save
