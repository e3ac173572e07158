"""Serves the page to a browser until the process is told to end, and leaves nothing behind."""

import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import StringIO
from pathlib import Path
from typing import TextIO

import gradio as gr
import segno
from starlette.middleware import Middleware
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from skingpt4.conversation.chat import Chat
from skingpt4.demo.address import PORTS, Address
from skingpt4.demo.app import EXAMPLE_FILES, build_app
from skingpt4.demo.i18n import CHINESE, catalogue, login_message, page_script
from skingpt4.demo.middleware import MAX_UPLOAD_BYTES, PageMiddleware
from skingpt4.demo.routes import routes
from skingpt4.demo.session import Sessions
from skingpt4.demo.uploads import janitor, private_folder
from skingpt4.documents.launch import launch_options, log_places_only

logger = logging.getLogger(__name__)

# Every panel may have a sheet of its own beside the page's.
STYLES = sorted(Path(__file__).parent.glob("*.css"))

# How many tabs' page contents Gradio remembers.
SESSIONS_KEPT = 200

# Who proxies for this machine from itself is believed.
LOCAL_PROXIES = ("127.0.0.1", "::1")

# For what visitors do at the same time; an answer, and a place in the queue, takes one each.
THREADS = 80


def serve(chat: Chat, address: Address, out: TextIO) -> None:
    """Serve the page until Ctrl+C or SIGTERM, then delete what visitors uploaded.

    Args:
        chat: Answers the questions.
        address: Where to serve.
        out: Gets the page's addresses; where it is a terminal, with a code for a phone's camera.

    Raises:
        ConfigError: If the port cannot be used.
    """
    # As an exception, so that the ``with`` blocks below end: what was uploaded is deleted.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with served(chat, address) as app:
        with suppress(KeyboardInterrupt):
            announce(app, address, out)
            threading.Event().wait()
        # A second Ctrl+C must not keep what visitors sent from being deleted.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    logger.info("The page is closed, and what visitors sent is deleted.")


def announce(app: gr.Blocks, address: Address, out: TextIO) -> None:
    """Tell the page's addresses, who else can reach it, and what they miss.

    Args:
        app: The page, being served.
        address: Where that was asked for.
        out: Gets the addresses; where it is a terminal, also as a code for a phone's camera.
    """
    if address.port is None and app.server_port != PORTS[0]:
        logger.warning(
            "Port %d is taken by another program, so the page is at %s", PORTS[0], app.local_url
        )
    if address.share:
        logger.warning("--share makes a public link: whoever has it can use this page.")
    if address.allowed_host and not address.auth:
        logger.warning(
            "Whoever the proxy lets in can use this page: let it ask for a login, or add --auth."
        )
    others = address.urls_for_others(app.server_port)
    if others and not (address.ssl_certfile or address.allowed_host):
        logger.warning(
            "Without TLS, browsers on other machines allow neither the camera nor the clipboard, "
            "and photos and password can be read on the way: add --ssl-certfile and "
            "--ssl-keyfile, or put a proxy with TLS before the page (docs/serving.md)."
        )
    out.write(f"The page is ready: {app.share_url or app.local_url} (Ctrl+C ends it)\n")
    if others:
        out.write(f"From other machines: {' or '.join(others)}\n")
    for name in address.allowed_host:
        out.write(f"Through the proxy: {name}{address.root_path}/\n")
    links = [app.share_url] if app.share_url else others
    # Who asked for quiet, or reads a file, has no use for it.
    if links and logger.isEnabledFor(logging.INFO) and out.isatty():
        out.write(qr_code(links[0], out.encoding))
    out.flush()


def qr_code(url: str, encoding: str | None) -> str:
    """Draw a link for a phone's camera with half blocks; nothing where they cannot be written."""
    drawn = StringIO()
    segno.make(url, error="l", micro=False).terminal(drawn, border=2, compact=True)
    try:
        drawn.getvalue().encode(encoding or "ascii")
    except UnicodeEncodeError:
        return ""
    # White on black, whatever the terminal's colours are: many cameras read it only so.
    lines = drawn.getvalue().splitlines()
    return "".join(f"\x1b[97;40m{line}\x1b[0m\n" for line in lines)


@contextmanager
def served(chat: Chat, address: Address) -> Iterator[gr.Blocks]:
    """Serve the page in the background; at the end it is closed, and what visitors sent deleted.

    Args:
        chat: Answers the questions.
        address: Where to serve.

    Raises:
        ConfigError: If the port cannot be used.
    """
    # Before the first request: Gradio's own log would quote what visitors write.
    log_places_only()
    middleware = [
        # The client's own address, where one of these names it, so that each has a rate of its own.
        Middleware(ProxyHeadersMiddleware, trusted_hosts=[*LOCAL_PROXIES, *address.proxy]),
        Middleware(PageMiddleware, script=page_script(), names=address.names),
    ]
    with private_folder() as folder:
        sessions = Sessions(chat)
        app = build_app(chat, sessions=sessions)
        app.launch(
            server_name=f"[{address.host}]" if ":" in address.host else address.host,
            server_port=address.find_port(),
            root_path=address.root_path,
            ssl_certfile=address.ssl_certfile,
            # Gradio takes a certificate without a key file for none.
            ssl_keyfile=address.ssl_keyfile or address.ssl_certfile,
            ssl_verify=False,  # it asks itself whether it has started, under another name
            share=address.share,
            auth=address.auth,
            auth_message=login_message(),
            css_paths=STYLES,
            i18n=gr.I18n(en=catalogue("en"), **{CHINESE: catalogue("zh")}),
            max_file_size=MAX_UPLOAD_BYTES,
            max_threads=THREADS,
            state_session_capacity=SESSIONS_KEPT,
            app_kwargs={"middleware": middleware, "routes": routes(sessions, EXAMPLE_FILES)},
            **launch_options(),
        )
        # Inside the private folder's block, so that nothing is swept once it is gone.
        with janitor(folder, sessions):
            try:
                yield app
            finally:
                app.close(verbose=False)
