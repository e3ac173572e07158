"""What keeps every page of ours from reporting to anybody."""

import os
from typing import Any

SWITCHES = {
    "DO_NOT_TRACK": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_RUN_HISTORY": "False",
    "HF_HUB_DISABLE_TELEMETRY": "True",
}
"""Environment of a process that reports to nobody; not the user's to override."""

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
