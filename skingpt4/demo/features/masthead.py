"""The top of the page: its name, what the model is not for, the disclaimer."""

from html import escape
from typing import Any

import gradio as gr

from skingpt4.demo.i18n import Language, say, t

TITLE = "SkinGPT-4"


def lay_out(notice: str) -> None:
    """Show the masthead.

    Args:
        notice: What must be known of this model before anything else; may be empty.
    """
    with gr.Column(elem_id="masthead"):
        gr.HTML(f"<h1>{TITLE}</h1>")
        gr.HTML(t("masthead.tagline"), elem_id="tagline")
        if notice:
            gr.HTML(_translated(notice), elem_id="banner")
        gr.HTML(t("masthead.disclaimer"), elem_id="disclaimer")


def notice_in(language: Language, notice: str) -> str:
    """Give the embedded model's notice in the visitor's language, and any other as it is."""
    return say("masthead.drawn", language) if notice == say("masthead.drawn", "en") else notice


def _translated(notice: str) -> Any:
    is_known = notice == say("masthead.drawn", "en")
    return t("masthead.drawn") if is_known else escape(notice)
