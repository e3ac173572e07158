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
from skingpt4.demo.page import Page, Panel
from skingpt4.demo.queue import WaitingRoom
from skingpt4.demo.session import Sessions

EXAMPLES_FOLDER = Path(__file__).parent / "examples"
STYLE_PATH = Path(__file__).parent / "style.css"

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
    examples = sorted(EXAMPLES_FOLDER.glob("*.jpg")) if examples is None else examples
    sessions = Sessions(chat) if sessions is None else sessions
    # The one engine that runs in another process, maybe on another machine.
    is_sent_elsewhere = chat.model.config.engine == "vllm"
    with gr.Blocks(title=information.TITLE, analytics_enabled=False) as app:
        # First every panel is laid out, in the order of the page …
        consent = information.lay_out_top(chat.model.notice, is_sent_elsewhere)
        with gr.Column(visible=False, elem_id="main") as main:
            with gr.Row(equal_height=False):
                with gr.Column(scale=2, min_width=300):
                    photo_panel = photos.lay_out(examples)
                    privacy = information.lay_out_privacy(is_sent_elsewhere)
                with gr.Column(scale=3, min_width=320):
                    conversation = consultation.lay_out()
                    settings = consultation.lay_out_settings(opinion.DRAWS)
            with gr.Row(equal_height=False):
                with gr.Column(min_width=320):
                    opinion_panel = opinion.lay_out()
                with gr.Column(min_width=320):
                    evidence_panel = evidence.lay_out()
            report = patient_report.lay_out()
        panels: tuple[Panel, ...] = (
            photo_panel,
            conversation,
            settings,
            opinion_panel,
            evidence_panel,
            report,
        )
        # … then they are wired, because an action of one shows its result in all of them.
        page = Page(sessions, conversation.status, panels)
        information.wire_consent(consent, main)
        photos.wire(photo_panel, page, examples)
        information.wire_privacy(privacy, page, partial(forget_tab, app, sessions))
        # Jobs have a queue of their own: a map of a minute must not hold answers up.
        answers = WaitingRoom(max(ANSWERS_AT_ONCE, chat.engine.at_once))
        consultation.wire(conversation, settings, page, answers)
        jobs = WaitingRoom(JOBS_AT_ONCE)
        opinion.wire(opinion_panel, page, settings.draws, jobs)
        evidence.wire(evidence_panel, page, jobs)
        patient_report.wire(report, page)

        def close(request: gr.Request) -> None:
            forget_tab(app, sessions, str(request.session_hash))

        app.unload(close)
    return app.queue(default_concurrency_limit=ANSWERS_AT_ONCE, api_open=False)


def forget_tab(app: gr.Blocks, sessions: Sessions, key: str) -> None:
    """Forget a tab's session, and what Gradio remembers of its page: photo and conversation."""
    sessions.close(key)
    # Gradio keeps the last value of each component, so also the visitor's words.
    app.state_holder.session_data.pop(key, None)
