"""The rating page: layout, which action answers which click, and serving it on this machine."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from skingpt4.common.page import LAUNCH
from skingpt4.common.theme import THEME
from skingpt4.dermatology import LIKERT, QUESTIONNAIRE
from skingpt4.evaluation.cases import EvalCase
from skingpt4.evaluation.errors import EvaluationError
from skingpt4.evaluation.rating_actions import BEGIN, Actions, AnswerColumn, Page
from skingpt4.evaluation.rating_store import KINDS, MAX_DIAGNOSIS, MAX_NAME, RatingStore
from skingpt4.evaluation.responses import Response

logger = logging.getLogger(__name__)

TITLE = "SkinGPT-4: reader study"
TEMPLATES = Path(__file__).parent / "templates"
HOST = "127.0.0.1"
SCALE = [(words.capitalize(), score) for score, words in LIKERT.items()]
FOCUS = """() => {{
  const go = (tries) => {{
    const part = document.querySelector('{}');
    if (part && part.offsetParent && !part.disabled) part.focus();
    else if (tries) setTimeout(go, 50, tries - 1);
  }};
  go(40);
}}"""
TO_DIAGNOSIS = FOCUS.format("#diagnosis textarea")
TO_FIRST_ITEM = FOCUS.format("fieldset.item input")
"""Move the keyboard's focus to where the rater goes on, once the page shows it."""


def build_page(
    store: RatingStore, cases: Sequence[EvalCase], responses: Sequence[Response]
) -> gr.Blocks:
    """Build the page of a study.

    Args:
        store: Keeps the ratings, and knows the study.
        cases: The case list.
        responses: Answers of the study's systems to the cases.
    """
    with gr.Blocks(title=TITLE, analytics_enabled=False) as app:
        page = _lay_out(len(store.study.systems))
        _wire(page, Actions(page, store, cases, responses))
    return app


def serve_page(app: gr.Blocks, port: int | None) -> None:
    """Serve the page to this machine only, until Ctrl+C.

    Args:
        app: From :func:`build_page`.
        port: Where; None takes the first free one from 7860 on.

    Raises:
        EvaluationError: If the port cannot be used.
    """
    try:
        app.launch(
            server_name=HOST,
            server_port=port,
            theme=THEME,
            css_paths=[TEMPLATES / "rating.css"],
            js=(TEMPLATES / "rating.js").read_text(encoding="utf-8"),
            share=False,
            **LAUNCH,
        )
    except OSError:
        raise EvaluationError(f"--port {port} is in use on this machine; choose another.") from None
    logger.info("The rating page is ready: %s (Ctrl+C ends it)", app.local_url)
    app.block_thread()


def _lay_out(systems: int) -> Page:
    sitting = gr.State(None)
    gr.HTML(f"<h1>{TITLE}</h1>")
    status = gr.HTML(BEGIN, elem_id="status")
    return Page(sitting=sitting, status=status, **_welcome(), **_case(systems))


def _welcome() -> dict[str, Any]:
    with gr.Column(elem_id="welcome") as welcome:
        name = gr.Textbox(label="Your name", max_lines=1, max_length=MAX_NAME, elem_id="name")
        kinds = [("Dermatologist", KINDS[0]), ("Lay person", KINDS[1])]
        kind = gr.Radio(kinds, value=KINDS[0], label="You are a", elem_id="kind")
        with gr.Row():
            start = gr.Button("Start", variant="primary")
            resume = gr.Button("Continue")
    return {"welcome": welcome, "name": name, "kind": kind, "start": start, "resume": resume}


def _case(systems: int) -> dict[str, Any]:
    with gr.Column(visible=False, elem_id="case") as case:
        progress = gr.HTML(elem_id="progress")
        with gr.Row():
            photo = gr.HTML(elem_id="photo")
            with gr.Column():
                diagnosis = gr.Textbox(
                    label="Your own diagnosis",
                    max_lines=2,
                    max_length=MAX_DIAGNOSIS,
                    elem_id="diagnosis",
                )
                lock = gr.Button("Lock diagnosis", variant="primary")
        with gr.Column(visible=False, elem_id="rating") as rating:
            with gr.Row(equal_height=False):
                columns = tuple(_answer_column() for _ in range(systems))
            with gr.Row():
                back = gr.Button("Back")
                forward = gr.Button("Next case", variant="primary")
    return {
        "case": case,
        "progress": progress,
        "photo": photo,
        "diagnosis": diagnosis,
        "lock": lock,
        "rating": rating,
        "columns": columns,
        "back": back,
        "forward": forward,
    }


def _answer_column() -> AnswerColumn:
    with gr.Column(min_width=320):
        answers = gr.HTML(elem_classes="answers")
        items = {
            number: gr.Radio(SCALE, label=f"{number}. {item}", elem_classes="item")
            for number, item in enumerate(QUESTIONNAIRE, start=1)
        }
    return AnswerColumn(answers, items)


def _wire(page: Page, actions: Actions) -> None:
    """Connect clicks and actions; none of them is offered as an API."""
    everything = [
        *(part for part in vars(page).values() if isinstance(part, gr.blocks.Block)),
        *(column.answers for column in page.columns),
        *(radio for column in page.columns for radio in column.items.values()),
    ]

    def connect(
        trigger: Callable[..., Any],
        action: Callable[..., Any],
        inputs: list[Any],
        focus: str = "",
        mode: str = "once",
    ) -> None:
        event = trigger(
            action,
            inputs,
            everything,
            queue=False,
            show_progress="hidden",
            trigger_mode=mode,
            api_visibility="private",
        )
        if focus:
            event.then(None, None, None, js=focus, queue=False, api_visibility="private")

    connect(page.start.click, actions.start, [page.name, page.kind], TO_DIAGNOSIS)
    connect(page.resume.click, actions.resume, [page.name], TO_DIAGNOSIS)
    connect(page.lock.click, actions.lock, [page.sitting, page.diagnosis], TO_FIRST_ITEM)
    connect(page.back.click, actions.back, [page.sitting], TO_DIAGNOSIS)
    connect(page.forward.click, actions.forward, [page.sitting], TO_DIAGNOSIS)
    for place, column in enumerate(page.columns):
        for item, radio in column.items.items():
            # Arrow keys choose faster than a save returns: the last choice is sent after it.
            action = actions.rate(place, item)
            connect(radio.input, action, [page.sitting, radio], mode="always_last")
