"""The page's layout, and which action answers which click."""

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from skingpt4.conversation.chat import Chat
from skingpt4.demo.actions import WELCOME, Actions, Page
from skingpt4.demo.session import Sessions
from skingpt4.dermatology import DISCLAIMER, QUESTIONS

TITLE = "SkinGPT-4"
TAGLINE = "Upload a photo of skin and converse about it."
QUESTION_LABELS = ("Describe it", "More features", "Possible causes", "Treatment")
"""Button texts of the paper's four questions, in order."""

EXAMPLES_FOLDER = Path(__file__).parent / "examples"
STYLE_PATH = Path(__file__).parent / "style.css"

ANSWERS_AT_ONCE = 2
PHOTOS_AT_ONCE = 4
UPLOADS_SWEEP = (60, 300)
"""Every 60 s, delete uploads older than 300 s, should a tab have sent one and never used it."""


def build_app(chat: Chat, examples: Sequence[Path] | None = None) -> gr.Blocks:
    """Build the page around a chat, which all visitors share; their conversations are their own.

    Args:
        chat: Answers the questions.
        examples: Example photos; by default those in ``examples/``, if any.
    """
    photos = sorted(EXAMPLES_FOLDER.glob("*.jpg")) if examples is None else list(examples)
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=UPLOADS_SWEEP) as app:
        page = _lay_out(chat.model.notice, photos)
        _wire(app, page, Actions(Sessions(chat), page, photos))
    return app.queue(default_concurrency_limit=ANSWERS_AT_ONCE, api_open=False)


def _lay_out(notice: str, examples: Sequence[Path]) -> Page:
    _masthead(notice)
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=300):
            photo_column = _photo_column(examples)
        with gr.Column(scale=3, min_width=320):
            return Page(**photo_column, **_conversation_column())


def _masthead(notice: str) -> None:
    banner = f'<p id="banner" class="notice">{escape(notice)}</p>' if notice else ""
    gr.HTML(
        f'<h1>{TITLE}</h1><p class="tagline">{TAGLINE}</p>{banner}'
        f'<p id="disclaimer" class="notice">{escape(DISCLAIMER)}</p>',
        elem_id="masthead",
    )


def _photo_column(examples: Sequence[Path]) -> dict[str, Any]:
    photo = gr.Image(
        label="Photo",
        sources=["upload", "webcam", "clipboard"],
        type="filepath",
        height=400,
        buttons=["fullscreen"],
        elem_id="photo",
        alt_text="The photo that the conversation is about",
    )
    gr.set_static_paths([str(path) for path in examples])
    gallery = gr.Dataset(
        label="No photo at hand? Try a drawn example",
        components=[gr.Image(visible=False, type="filepath")],
        samples=[[str(path)] for path in examples],
        type="index",
        visible=bool(examples),
        elem_id="examples",
    )
    return {"photo": photo, "examples": gallery}


def _conversation_column() -> dict[str, Any]:
    chatbot = gr.Chatbot(
        label="Conversation",
        height=430,
        render_markdown=False,  # text is shown as it is: nothing in it can load or run anything
        sanitize_html=True,
        allow_tags=False,
        latex_delimiters=[],
        feedback_options=None,
        buttons=["copy"],
        elem_id="conversation",
    )
    status = gr.HTML(WELCOME, elem_id="status")
    with gr.Row(elem_id="questions"):
        listed_questions = tuple(
            gr.Button(label, size="sm", min_width=110) for label in QUESTION_LABELS
        )
    with gr.Row(elem_id="ask", equal_height=True):
        question = gr.Textbox(
            label="Your question",
            placeholder="Ask about the photo, then press Enter",
            max_lines=6,
            container=False,
            scale=5,
            min_width=240,
            elem_id="question",
        )
        send = gr.Button("Send", variant="primary", scale=1, min_width=80)
        stop = gr.Button("Stop", interactive=False, scale=1, min_width=80)
        restart = gr.Button("Restart", scale=1, min_width=80)
    return {
        "chatbot": chatbot,
        "status": status,
        "question": question,
        "send": send,
        "stop": stop,
        "restart": restart,
        "listed_questions": listed_questions,
        **_settings(),
    }


def _settings() -> dict[str, Any]:
    with gr.Accordion("Settings of the answer", open=False, elem_id="settings"):
        num_beams = gr.Slider(
            1,
            5,
            value=1,
            step=1,
            label="Beam width",
            info="Above 1, several answers are weighed and the best one appears all at once.",
        )
        temperature = gr.Slider(
            0,
            2,
            value=0,
            step=0.1,
            label="Temperature",
            info="0 always gives the most likely answer; higher values vary it.",
        )
    return {"num_beams": num_beams, "temperature": temperature}


def _wire(app: gr.Blocks, page: Page, actions: Actions) -> None:
    """Connect clicks and actions; none of them is offered as an API."""
    shown = [page.chatbot, page.status, page.send, page.stop]
    private: dict[str, Any] = {"api_visibility": "private"}
    at_once = private | {"queue": False, "show_progress": "hidden"}
    photos = private | {"concurrency_limit": PHOTOS_AT_ONCE, "concurrency_id": "photos"}
    # Raw in and out: photos reach `open_photo` as they were sent, and are shown without a file.
    photos |= {"preprocess": False, "postprocess": False, "outputs": [page.photo, *shown]}
    photos |= {"show_progress_on": page.photo}
    page.photo.input(actions.photo, [page.photo], **photos).then(
        actions.discard_uploads, None, None, **at_once
    )
    page.examples.click(actions.example, [page.examples], **photos)

    asked = [
        gr.on(
            [page.send.click, page.question.submit],
            actions.ask,
            [page.question],
            [*shown, page.question],
            **at_once,
        )
    ]
    for button, text in zip(page.listed_questions, QUESTIONS, strict=True):
        asked.append(button.click(actions.ask_listed(text), None, shown, **at_once))
    for event in asked:
        event.then(
            actions.answer,
            [page.num_beams, page.temperature],
            shown,
            concurrency_id="answers",
            concurrency_limit=ANSWERS_AT_ONCE,
            show_progress="hidden",
            **private,
        )
    page.stop.click(actions.stop, None, None, **at_once)
    gr.on(
        [page.restart.click, page.chatbot.clear],
        actions.restart,
        None,
        [page.photo, *shown],
        **at_once,
    )
    app.unload(_close(app, actions))


def _close(app: gr.Blocks, actions: Actions) -> Callable[[gr.Request], None]:
    """Make the action of a closing tab."""

    def close(request: gr.Request) -> None:
        actions.close(request)
        # Gradio would remember the page's last contents, with photo and conversation.
        app.state_holder.session_data.pop(str(request.session_hash), None)

    return close
