"""Serves the page to a browser until the process is told to end, and leaves nothing behind."""

import logging
import signal
import socket
import sys
from dataclasses import dataclass
from types import FrameType

import gradio as gr

from skingpt4.common.errors import ConfigError
from skingpt4.common.page import LAUNCH
from skingpt4.common.theme import THEME
from skingpt4.conversation.chat import Chat
from skingpt4.demo.app import STYLE_PATH, build_app
from skingpt4.demo.privacy import check_host, private_folder

logger = logging.getLogger(__name__)

PORTS_TRIED = 100
MAX_UPLOAD = "400mb"
"""An uncompressed photo of 12,000 x 9,000 pixels passes."""

SESSIONS_KEPT = 200
"""How many tabs' page contents Gradio remembers."""


@dataclass(frozen=True)
class Address:
    """Where the page is served, and to whom."""

    host: str = "127.0.0.1"
    port: int = 7860
    share: bool = False
    login: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        """Refuse an address that would show photos to strangers."""
        check_host(self.host, has_login=self.login is not None)


def parse_login(text: str | None) -> tuple[str, str] | None:
    """Read ``user:password``; None stays None.

    Raises:
        ConfigError: If either part is missing.
    """
    if text is None:
        return None
    user, _, password = text.partition(":")
    if not user or not password:
        raise ConfigError("--auth needs a user and a password, as in --auth anna:secret.")
    return user, password


def serve(chat: Chat, address: Address) -> None:
    """Serve the page until Ctrl+C or SIGTERM, then delete what visitors uploaded.

    Args:
        chat: Answers the questions.
        address: Where to serve.

    Raises:
        ConfigError: If no port is free.
    """
    if address.share:
        logger.warning("--share makes a public link: whoever has it can use this page.")
    signal.signal(signal.SIGTERM, _exit)
    with private_folder():
        app = build_app(chat)
        _launch(app, address)
        logger.info("The page is ready: %s (Ctrl+C ends it)", app.share_url or app.local_url)
        try:
            app.block_thread()
        finally:
            app.close(verbose=False)


def _launch(app: gr.Blocks, address: Address) -> None:
    app.launch(
        server_name=address.host,
        server_port=free_port(address.host, address.port),
        share=address.share,
        auth=address.login,
        theme=THEME,
        css_paths=[STYLE_PATH],
        max_file_size=MAX_UPLOAD,
        state_session_capacity=SESSIONS_KEPT,
        **LAUNCH,
    )


def free_port(host: str, first: int) -> int:
    """Give the first free port from `first` on.

    Raises:
        ConfigError: If none of the next 100 is free.
    """
    last = min(first + PORTS_TRIED, 65536) if first > 0 else first
    for port in range(first, last):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    raise ConfigError(
        f"--port {first}: neither this port nor the {PORTS_TRIED - 1} after it can be used on "
        f"{host}; choose another port or host."
    )


def _exit(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(0)
