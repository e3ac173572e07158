"""Puts the page together from its panels."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

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
from skingpt4.demo.page import AT_ONCE, SHOWING, Page, Panel
from skingpt4.demo.queue import WaitingRoom
from skingpt4.demo.session import Sessions

EXAMPLES_FOLDER = Path(__file__).parent / "examples"
EXAMPLE_FILES = sorted(EXAMPLES_FOLDER.glob("*.jpg"))

# Answers written side by side in this process; an external engine may be worth more.
ANSWERS_AT_ONCE = 2

# Second opinions and evidence maps that are worked on beside the answers.
JOBS_AT_ONCE = 1


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
    # The one engine that runs in another process, maybe on another machine.
    is_sent_elsewhere = chat.model.config.engine == "vllm"
    with gr.Blocks(title=information.TITLE, analytics_enabled=False) as app:
        # First every panel is laid out, in the order of the page …
        information.lay_out_top(chat.model.notice)
        box, agree = information.lay_out_consent(is_sent_elsewhere)
        with (
            gr.Column(visible=False, elem_id="main") as main,
            gr.Row(equal_height=False, elem_id="columns"),
        ):
            with gr.Column(scale=3, min_width=300, elem_id="talk"):
                start, pictures = photos.lay_out_start(samples)
                chatbot = consultation.lay_out_messages()
                conversation, waiting = consultation.lay_out_composer(
                    chatbot, photos.lay_out_waiting
                )
            with gr.Column(scale=2, min_width=300, elem_id="tools"):
                opinion_panel = opinion.lay_out()
                evidence_panel = evidence.lay_out()
                report = patient_report.lay_out()
                settings = consultation.lay_out_settings(opinion.DRAWS)
                privacy = information.lay_out_privacy(is_sent_elsewhere)
        version = gr.HTML("0", visible="hidden", elem_id="version")
        entry = gr.Textbox(visible="hidden", elem_id="entry")
        enter = gr.Button(visible="hidden", elem_id="enter")
        refresh = gr.Button(visible="hidden", elem_id="refresh")
        consent = information.ConsentPanel([box, main], box, main, agree)
        photo_panel = photos.PhotoPanel(
            [waiting, start, pictures], waiting, start, pictures, samples
        )
        panels: tuple[Panel, ...] = (
            consent,
            photo_panel,
            conversation,
            settings,
            opinion_panel,
            evidence_panel,
            report,
        )
        # … then they are wired.
        page = Page(sessions, conversation.status, version, panels)
        gr.on(
            [app.load, enter.click],
            page.enter,
            [entry],
            page.outputs,
            js="() => window.skingpt4.entry()",
            **AT_ONCE,
            **SHOWING,
        )
        refresh.click(page.refresh, [version], page.outputs, **AT_ONCE, **SHOWING)
        information.wire_consent(consent, page)
        photos.wire(photo_panel, page)
        information.wire_privacy(privacy, page, partial(forget_page, app))
        # Jobs have a queue of their own: a map of a minute must not hold answers up.
        answers = WaitingRoom(max(ANSWERS_AT_ONCE, chat.engine.at_once))
        consultation.wire(conversation, settings, page, answers)
        jobs = WaitingRoom(JOBS_AT_ONCE)
        opinion.wire(opinion_panel, page, settings.draws, jobs)
        evidence.wire(evidence_panel, page, jobs)
        patient_report.wire(report, page, opinion.counts_on)
    return app.queue(api_open=False)


def forget_page(app: gr.Blocks, name: str) -> None:
    """Forget what Gradio remembers of a page: the last value of each part, the visitor's words."""
    app.state_holder.session_data.pop(name, None)
