"""What every request passes before it reaches Gradio, and every answer on its way out.

Gradio offers many routes of which the page needs a few; only those are open. Requests are limited
in size and rate, and answers carry headers that keep a browser from loading or sending anything
elsewhere.
"""

import asyncio
import base64
import hashlib
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from skingpt4.common.network import is_loopback
from skingpt4.documents.launch import log_place

logger = logging.getLogger(__name__)

API = "/gradio_api"

OPEN_ROUTES = re.compile(
    r"/|/(config|favicon\.ico|robots\.txt|theme\.css|login|logout)/?|/(assets|static)/[\w./-]+"
    rf"|{API}/(queue/(join|data)|run/predict|upload|upload_progress|startup-events|theme\.css"
    r"|login_check|token|user|app_id|cancel|reset|heartbeat/\w{1,64})/?"
)

FILE_ROUTE = f"{API}/file="

UPLOAD_ROUTE = f"{API}/upload"

UPLOADS_AT_ONCE = 8
"""Further uploads wait for their turn."""

MAX_UPLOAD_BYTES = 100 << 20
"""The largest file is a photo of 108 megapixels, 30 to 50 MB as JPEG."""

MAX_BODY_BYTES = 16 << 20
"""Other requests carry text and at most a preview of a photo."""

MAX_CLIENTS = 10_000
"""Rates are kept for so many addresses; the one seen longest ago is forgotten first."""

HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=(), display-capture=()",
}

POLICY = (
    "default-src 'none'",
    "script-src 'self' 'unsafe-eval'",  # without it Gradio's page does not start
    "style-src 'self' 'unsafe-inline'",
    "img-src 'self' data: blob:",
    "media-src 'self' data: blob:",
    "font-src 'self' data:",
    "connect-src 'self'",
    "worker-src 'self' blob:",
    "manifest-src 'self'",
    "form-action 'self'",
    "base-uri 'self'",
    "frame-ancestors 'none'",
)
"""Content security policy; scripts in the page itself are added by their checksums."""

_INLINE_SCRIPT = re.compile(rb"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", re.DOTALL)


@dataclass(frozen=True)
class Rate:
    """How often one address may ask: so many at once, and so many a second on average."""

    at_once: int
    a_second: float


RATES = {
    "login": Rate(10, 0.2),
    "upload": Rate(40, 2),
    "other": Rate(400, 50),
}
"""Allows ten busy visitors behind one address; a person guessing passwords waits."""


@dataclass
class Buckets:
    """Counts requests by address, as buckets that fill up again with time."""

    rate: Rate
    _levels: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)

    def take(self, client: str, now: float) -> bool:
        """Count a request at a time, in seconds; False if it is one too many."""
        level, then = self._levels.pop(client, (float(self.rate.at_once), now))
        level = min(level + (now - then) * self.rate.a_second, self.rate.at_once)
        self._levels[client] = (max(level - 1, 0), now) if level >= 1 else (level, now)
        if len(self._levels) > MAX_CLIENTS:
            self._levels.popitem(last=False)
        return level >= 1


class TooLargeError(Exception):
    """A request's body is longer than allowed."""


class Gate:
    """An ASGI middleware around Gradio's application.

    Args:
        app: Gradio's application.
        files: Files and folders that browsers may fetch.
        is_local_only: Whether the page is for this machine only. Requests that call it by another
            name are refused then: they come from a web page that was given this address.
    """

    def __init__(
        self, app: ASGIApp, files: Iterable[Path] = (), is_local_only: bool = True
    ) -> None:
        self._app = app
        self._files = [path.resolve() for path in files]
        self._is_local_only = is_local_only
        self._buckets = {name: Buckets(rate) for name, rate in RATES.items()}
        self._uploads = asyncio.Semaphore(UPLOADS_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with a sentence and a 4xx."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":  # websockets have no business here
                await self._app(scope, receive, send)
            return
        outgoing = _Outgoing(send, scope["path"])
        if refusal := self._refusal(scope):
            await refusal(scope, receive, outgoing)
            return
        try:
            if _kind(scope) == "upload":
                async with self._uploads:
                    await self._app(scope, _Limited(receive, MAX_UPLOAD_BYTES), outgoing)
            else:
                await self._app(scope, _Limited(receive, MAX_BODY_BYTES), outgoing)
        except Exception as error:
            await _answer_failure(error, scope, receive, outgoing)

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        """Give the answer to a request that is not passed on."""
        if self._is_local_only and not is_loopback(_host_name(scope)):
            return PlainTextResponse("This page is served under the name localhost only.", 421)
        if not self._is_open(scope["path"]):
            return PlainTextResponse("There is nothing here.", 404)
        length = Headers(scope=scope).get("content-length", "0")
        limit = MAX_UPLOAD_BYTES if _kind(scope) == "upload" else MAX_BODY_BYTES
        if not length.isdecimal() or int(length) > limit:
            return PlainTextResponse(_too_large(limit), 413)
        if scope["method"] == "POST" or _kind(scope) == "login":
            client = (scope.get("client") or ("",))[0]
            if not self._buckets[_kind(scope)].take(client, time.monotonic()):
                return PlainTextResponse(
                    "Too many requests; wait a few seconds.", 429, {"retry-after": "5"}
                )
        return None

    def _is_open(self, path: str) -> bool:
        if path.startswith(FILE_ROUTE):
            return self._is_open_file(unquote(path.removeprefix(FILE_ROUTE)))
        return OPEN_ROUTES.fullmatch(path) is not None and ".." not in path

    def _is_open_file(self, name: str) -> bool:
        try:
            path = Path(name).resolve()
        except (OSError, ValueError):  # a name that no file can have
            return False
        return any(path == file or path.is_relative_to(file) for file in self._files)


def _kind(scope: Scope) -> str:
    path = scope["path"].rstrip("/")
    return {UPLOAD_ROUTE: "upload", "/login": "login"}.get(path, "other")


def _host_name(scope: Scope) -> str:
    """Return the name by which the request calls this machine, without the port."""
    host = Headers(scope=scope).get("host", "")
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def _too_large(limit: int) -> str:
    return f"This is larger than the limit of {limit >> 20} MB; send a smaller file."


async def _answer_failure(
    error: Exception, scope: Scope, receive: Receive, outgoing: "_Outgoing"
) -> None:
    """Answer with a sentence; log the place, without what the error quotes."""
    if not isinstance(error, TooLargeError):
        log_place(error, logger, "a request for the page")
    if outgoing.has_started:
        return
    if isinstance(error, TooLargeError):
        response = PlainTextResponse(str(error), 413)
    else:
        response = PlainTextResponse("The request was not understood.", 400)
    await response(scope, receive, outgoing)


class _Limited:
    """Passes a request's body on while it is no longer than a limit, in bytes."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._limit = limit
        self._left = limit

    async def __call__(self) -> Message:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise TooLargeError(_too_large(self._limit))
        return message


class _Outgoing:
    """Adds headers to an answer; an HTML page is held back to name its scripts in its policy."""

    def __init__(self, send: Send, path: str) -> None:
        self._send = send
        self._path = path
        self._held: Message | None = None
        self._body = b""
        self.has_started = False

    async def __call__(self, message: Message) -> None:
        self.has_started = True
        if message["type"] == "http.response.start":
            # The page's own requests are answered with a sentence, whatever happens; where Gradio
            # gives up, it is on a request that the page does not make.
            message["status"] = 400 if message["status"] == 500 else message["status"]
            headers = self._add_headers(message)
            if headers.get("content-type", "").startswith("text/html"):
                self._held = message
                return
        elif self._held is not None:
            self._body += message.get("body", b"")
            if message.get("more_body"):
                return
            start, self._held = self._held, None
            MutableHeaders(raw=start["headers"])["content-security-policy"] = _policy(self._body)
            await self._send(start)
            message = {"type": "http.response.body", "body": self._body}
        await self._send(message)

    def _add_headers(self, message: Message) -> MutableHeaders:
        message.setdefault("headers", [])
        headers = MutableHeaders(raw=message["headers"])
        headers.update(HEADERS | {"content-security-policy": _policy(b"")})
        if not self._path.startswith(("/assets/", "/static/")):
            headers["cache-control"] = "no-store"
        return headers


def _policy(page: bytes) -> str:
    """Write the content security policy of a page, with the checksums of the scripts in it."""
    digests = [hashlib.sha256(script).digest() for script in _INLINE_SCRIPT.findall(page)]
    named = "".join(f" 'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return "; ".join(POLICY).replace("script-src 'self'", f"script-src 'self'{named}")
