"""What keeps every page of ours from reporting to anybody."""

import logging
import os
import sys
import traceback
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

logger = logging.getLogger(__name__)

SWITCHES = {
    "DO_NOT_TRACK": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_RUN_HISTORY": "False",
    "HF_HUB_DISABLE_TELEMETRY": "True",
}
"""Environment of a process that reports to nobody; not the user's to override."""

PLACES = 4
"""How many of the innermost calls are logged of an unforeseen error."""

HEARTBEAT_SECONDS = "2"
"""How soon a closed tab is noticed; Gradio's own pace is 15 seconds."""

LAUNCH: dict[str, Any] = {
    "footer_links": [],
    "run_history": False,
    "enable_monitoring": False,
    "ssr_mode": False,
    "pwa": False,
    "mcp_server": False,
    "inbrowser": False,
    "quiet": True,
    "prevent_thread_lock": True,
}
"""How every page is launched: nothing but the page itself, and no record of its use."""


def set_switches() -> None:
    """Turn off telemetry and browser history for this process; call before Gradio is imported."""
    os.environ.update(SWITCHES)
    os.environ.setdefault("GRADIO_HEARTBEAT_INTERVAL", HEARTBEAT_SECONDS)


def log_places_only() -> None:
    """Let Gradio log where an error arose; by itself it prints what the error quotes, too.

    Its modules call ``traceback.print_exc``, and an error may quote what a visitor wrote.
    """
    for name in ("gradio.queueing", "gradio.routes", "gradio.route_utils"):
        vars(import_module(name))["traceback"] = SimpleNamespace(print_exc=_print_exc)


def log_place(error: BaseException, logger: logging.Logger, about: str) -> None:
    """Log an unforeseen error's kind and place, in one line and without what it quotes.

    Args:
        error: The error, as caught.
        logger: Of the module that caught it.
        about: What it happened in, for the sentence.
    """
    frames = traceback.extract_tb(error.__traceback__)[-PLACES:]
    places = " < ".join(
        f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(frames)
    )
    logger.error("%s in %s, at %s", type(error).__name__, about, places)


def _print_exc() -> None:
    error = sys.exc_info()[1]
    if error is not None:
        log_place(error, logger, "the page")
