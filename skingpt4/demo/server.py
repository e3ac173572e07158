"""Serves the page to a browser until the process is told to end, and leaves nothing behind."""

import logging
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
from starlette.middleware import Middleware

from skingpt4.common.errors import ConfigError
from skingpt4.common.network import is_loopback
from skingpt4.conversation.chat import Chat
from skingpt4.demo.app import EXAMPLE_FILES, build_app
from skingpt4.demo.i18n import page_script, translations
from skingpt4.demo.middleware import MAX_UPLOAD_BYTES, PageMiddleware
from skingpt4.demo.routes import routes
from skingpt4.demo.session import Sessions
from skingpt4.demo.uploads import janitor, private_folder
from skingpt4.documents.launch import launch_options, log_places_only

logger = logging.getLogger(__name__)

PORTS_TRIED = 100
# Every panel may have a sheet of its own beside the page's.
STYLES = sorted(Path(__file__).parent.glob("*.css"))

# How many tabs' page contents Gradio remembers.
SESSIONS_KEPT = 200

# For what visitors do at the same time; an answer, and a place in the queue, takes one each.
THREADS = 80


@dataclass(frozen=True)
class Address:
    """Where the page is served, and to whom."""

    host: str = "127.0.0.1"
    port: int = 7860
    share: bool = False
    login: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        """Refuse an address that would show photos to strangers.

        Raises:
            ConfigError: If `host` is not a loopback address and there is no login.
        """
        if self.login is None and not is_loopback(self.host):
            raise ConfigError(
                f"--host {self.host} would show people's photos to other machines without a login; "
                "add --auth user:password or leave --host out."
            )


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
    # As an exception, so that the ``with`` blocks below end: what was uploaded is deleted.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with served(chat, address) as app:
        logger.info("The page is ready: %s (Ctrl+C ends it)", app.share_url or app.local_url)
        app.block_thread()


@contextmanager
def served(chat: Chat, address: Address) -> Iterator[gr.Blocks]:
    """Serve the page in the background; at the end it is closed, and what visitors sent deleted.

    Args:
        chat: Answers the questions.
        address: Where to serve.

    Raises:
        ConfigError: If no port is free.
    """
    # Before the first request: Gradio's own log would quote what visitors write.
    log_places_only()
    is_local_only = is_loopback(address.host) and not address.share
    middleware = Middleware(PageMiddleware, script=page_script(), is_local_only=is_local_only)
    with private_folder() as folder:
        sessions = Sessions(chat)
        app = build_app(chat, sessions=sessions)
        app.launch(
            server_name=address.host,
            server_port=free_port(address.host, address.port),
            share=address.share,
            auth=address.login,
            css_paths=STYLES,
            i18n=translations(),
            max_file_size=MAX_UPLOAD_BYTES,
            max_threads=THREADS,
            state_session_capacity=SESSIONS_KEPT,
            app_kwargs={"middleware": [middleware], "routes": routes(sessions, EXAMPLE_FILES)},
            **launch_options(),
        )
        # Inside the private folder's block, so that nothing is swept once it is gone.
        with janitor(folder, sessions):
            try:
                yield app
            finally:
                app.close(verbose=False)


def free_port(host: str, first: int) -> int:
    """Give the first free port from `first` on.

    Raises:
        ConfigError: If none of the next 100 is free.
    """
    last = min(first + PORTS_TRIED, 65536) if first > 0 else first
    for port in range(first, last):
        with socket.socket() as probe:
            # As the server will do: a port whose last connections are dying out counts as free.
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
