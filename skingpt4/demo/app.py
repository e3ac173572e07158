"""Puts the page together from its panels."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import gradio as gr

from skingpt4.conversation.chat import Chat
from skingpt4.demo.features import (
    consultation,
    evidence,
    information,
    opinion,
    patient_report,
    photos,
)
from skingpt4.demo.page import Page, wire_news
from skingpt4.demo.queue import WaitingRoom
from skingpt4.demo.session import Sessions

EXAMPLES_FOLDER = Path(__file__).parent / "examples"
EXAMPLE_FILES = sorted(EXAMPLES_FOLDER.glob("*.jpg"))

# Answers written side by side in this process; an external engine may be worth more.
ANSWERS_AT_ONCE = 2

# Second opinions and evidence maps that are worked on beside the answers.
JOBS_AT_ONCE = 1


class Panels(NamedTuple):
    """Every panel that shows something of a session."""

    consent: information.ConsentPanel
    photos: photos.PhotoPanel
    conversation: consultation.ConversationPanel
    settings: consultation.SettingsPanel
    opinion: opinion.OpinionPanel
    evidence: evidence.EvidencePanel
    report: patient_report.ReportPanel


def build_app(
    chat: Chat, examples: Sequence[Path] | None = None, sessions: Sessions | None = None
) -> gr.Blocks:
    """Build the page around a chat, which all visitors share; their conversations are their own.

    Args:
        chat: Answers the questions.
        examples: Example photos; by default those in ``examples/``, if any.
        sessions: The visitors; by default nobody yet.
    """
    samples = tuple(EXAMPLE_FILES if examples is None else examples)
    sessions = Sessions(chat) if sessions is None else sessions
    with gr.Blocks(title=information.TITLE, analytics_enabled=False) as app:
        panels, privacy = lay_out(chat, samples)
        version = gr.HTML("0", visible="hidden", elem_id="version")
        page = Page(sessions, panels.conversation.status, version, panels)
        wire_news(app, page)
        information.wire_consent(panels.consent, page)
        photos.wire(panels.photos, page)
        information.wire_privacy(privacy, page)
        # Jobs have a queue of their own: a map of a minute must not hold answers up.
        answers = WaitingRoom(max(ANSWERS_AT_ONCE, chat.engine.at_once))
        consultation.wire(panels.conversation, panels.settings, page, answers)
        jobs = WaitingRoom(JOBS_AT_ONCE)
        opinion.wire(panels.opinion, page, panels.settings.draws, jobs)
        evidence.wire(panels.evidence, page, jobs)
        patient_report.wire(panels.report, page)
    sessions.forget_page = lambda name: app.state_holder.session_data.pop(name, None)
    return app.queue(api_open=False)


def lay_out(chat: Chat, samples: tuple[Path, ...]) -> tuple[Panels, information.PrivacyPanel]:
    """Lay every panel out, in the order of the page.

    Args:
        chat: Whose model is shown.
        samples: Example photos.
    """
    # The one engine that runs in another process, maybe on another machine.
    is_sent_elsewhere = chat.model.config.engine == "vllm"
    information.lay_out_top(chat.model.notice)
    box, agree = information.lay_out_consent(is_sent_elsewhere)
    with (
        gr.Column(visible=False, elem_id="main") as main,
        gr.Row(equal_height=False, elem_id="columns"),
    ):
        with gr.Column(scale=3, min_width=300, elem_id="talk"):
            photo_panel = photos.lay_out(samples)
            conversation = consultation.lay_out(photo_panel.waiting)
        with gr.Column(scale=2, min_width=300, elem_id="tools"):
            opinion_panel = opinion.lay_out()
            evidence_panel = evidence.lay_out()
            report = patient_report.lay_out(opinion.summary_on, evidence.map_on)
            settings = consultation.lay_out_settings(opinion.DRAWS)
            privacy = information.lay_out_privacy(is_sent_elsewhere)
    panels = Panels(
        information.ConsentPanel([box, main], box, main, agree),
        photo_panel,
        conversation,
        settings,
        opinion_panel,
        evidence_panel,
        report,
    )
    return panels, privacy
