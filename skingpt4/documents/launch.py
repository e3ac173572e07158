"""How every page is launched: its look, and that it reports to nobody and keeps no records."""

import logging
import os
import sys
import traceback
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

logger = logging.getLogger(__name__)

# Environment of a process that reports to nobody; not the user's to override.
SWITCHES = {
    "DO_NOT_TRACK": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_RUN_HISTORY": "False",
    "HF_HUB_DISABLE_TELEMETRY": "True",
}

# How many of the innermost calls are logged of an unforeseen error.
FRAMES_LOGGED = 4


def set_switches() -> None:
    """Turn off telemetry and browser history for this process; call before Gradio is imported."""
    os.environ.update(SWITCHES)


def launch_options() -> dict[str, Any]:
    """Return what every page passes to ``launch``: the theme, and nothing but the page itself."""
    # Gradio takes seconds to import and reads the switches then, so not before a page is made.
    import gradio as gr

    theme = gr.themes.Default(
        primary_hue="teal",
        neutral_hue="slate",
        # Fonts of the reader's own system: Gradio's default asks Google's server for them.
        font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"],
        font_mono=["ui-monospace", "Consolas", "monospace"],
    ).set(  # Gradio's own shades are too pale to read easily (WCAG AA asks for a contrast of 4.5)
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        input_placeholder_color="*neutral_500",
        block_label_text_color="*neutral_700",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_600",
        button_cancel_background_fill="#b91c1c",
        button_cancel_background_fill_hover="#991b1b",
        button_cancel_background_fill_dark="#b91c1c",
        button_cancel_background_fill_hover_dark="#991b1b",
    )
    return {
        "theme": theme,
        "footer_links": [],
        "run_history": False,
        "enable_monitoring": False,
        "ssr_mode": False,
        "pwa": False,
        "mcp_server": False,
        "inbrowser": False,
        "quiet": True,
        "prevent_thread_lock": True,
        # Gradio would ask for its own page first, with three seconds' patience and through any
        # proxy that is set: neither a busy machine nor a proxy is to keep the page from starting.
        "_frontend": False,
    }


def log_places_only() -> None:
    """Let Gradio log where an error arose; by itself it prints what the error quotes, too.

    Its modules call ``traceback.print_exc``, and an error may quote what a visitor wrote.
    """

    def print_exc() -> None:
        error = sys.exc_info()[1]
        if error is not None:
            log_place(error, logger, "the page")

    for name in ("gradio.queueing", "gradio.routes", "gradio.route_utils"):
        vars(import_module(name))["traceback"] = SimpleNamespace(print_exc=print_exc)


def log_place(error: BaseException, logger: logging.Logger, about: str) -> None:
    """Log an unforeseen error's kind and place, in one line and without what it quotes.

    Args:
        error: The error, as caught.
        logger: Of the module that caught it.
        about: What it happened in, for the sentence.
    """
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES_LOGGED:]
    places = " < ".join(
        f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(frames)
    )
    logger.error("%s in %s, at %s", type(error).__name__, about, places)
