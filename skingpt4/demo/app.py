"""Puts the page together from its panels."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import gradio as gr

from skingpt4.conversation.chat import Chat
from skingpt4.demo.features import (
    consent,
    evidence,
    masthead,
    opinion,
    privacy,
    report,
    settings,
)
from skingpt4.demo.features import (
    consultation as conversation,
)
from skingpt4.demo.features import (
    consultation_actions as conversation_actions,
)
from skingpt4.demo.features import (
    photos as photo,
)
from skingpt4.demo.features.masthead import TITLE
from skingpt4.demo.page import Page, Panel
from skingpt4.demo.queue import WaitingRoom
from skingpt4.demo.session import Sessions

EXAMPLES_FOLDER = Path(__file__).parent / "examples"
STYLE_PATH = Path(__file__).parent / "style.css"

ANSWERS_AT_ONCE = 2
"""Answers written side by side in this process; an engine elsewhere may be worth more."""

JOBS_AT_ONCE = 1
"""Second opinions and evidence maps that are worked on beside the answers."""


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
    with gr.Blocks(title=TITLE, analytics_enabled=False) as app:
        masthead.lay_out(chat.model.notice)
        is_sent_elsewhere = chat.model.config.engine == "vllm"
        consent_panel = consent.lay_out(is_sent_elsewhere)
        with gr.Column(visible=False, elem_id="main") as main:
            with gr.Row(equal_height=False):
                with gr.Column(scale=2, min_width=300):
                    photo_panel = photo.lay_out(examples)
                    privacy_panel = privacy.lay_out(is_sent_elsewhere)
                with gr.Column(scale=3, min_width=320):
                    conversation_panel = conversation.lay_out()
                    settings_panel = settings.lay_out()
            with gr.Row(equal_height=False):
                with gr.Column(min_width=320):
                    opinion_panel = opinion.lay_out()
                with gr.Column(min_width=320):
                    evidence_panel = evidence.lay_out()
            report_panel = report.lay_out()
        panels: tuple[Panel, ...] = (
            photo_panel,
            conversation_panel,
            settings_panel,
            opinion_panel,
            evidence_panel,
            report_panel,
        )
        visitors = Sessions(chat) if sessions is None else sessions
        page = Page(visitors, conversation_panel.status, panels)
        consent.wire(consent_panel, main)
        photo.wire(photo_panel, page, examples)
        privacy.wire(privacy_panel, page, partial(forget_tab, app, page.sessions))
        answers = WaitingRoom(max(ANSWERS_AT_ONCE, chat.engine.at_once))
        conversation_actions.wire(conversation_panel, page, settings_panel, answers)
        settings.wire(settings_panel, page)
        background = WaitingRoom(JOBS_AT_ONCE)
        opinion.wire(opinion_panel, page, settings_panel.draws, background)
        evidence.wire(evidence_panel, page, background)
        report.wire(report_panel, page)
        app.unload(_close(app, page.sessions))
    return app.queue(default_concurrency_limit=ANSWERS_AT_ONCE, api_open=False)


def forget_tab(app: gr.Blocks, sessions: Sessions, key: str) -> None:
    """Forget a tab's session, and what Gradio remembers of its page: photo and conversation."""
    sessions.close(key)
    app.state_holder.session_data.pop(key, None)


def _close(app: gr.Blocks, sessions: Sessions) -> Callable[[gr.Request], None]:
    """Make the action of a closing tab."""

    def close(request: gr.Request) -> None:
        forget_tab(app, sessions, str(request.session_hash))

    return close
