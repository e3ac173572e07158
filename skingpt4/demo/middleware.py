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
from collections.abc import Container
from contextlib import nullcontext
from dataclasses import dataclass, field

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from skingpt4.common.network import is_loopback
from skingpt4.documents.launch import log_place

logger = logging.getLogger(__name__)

API = "/gradio_api"

OPEN_ROUTES = re.compile(
    r"/|/(config|favicon\.ico|robots\.txt|theme\.css|login|logout)/?|/(assets|static)/[\w./-]+"
    rf"|{API}/(run/predict|startup-events|theme\.css|login_check|token|user|app_id)/?"
    r"|/page/(look|leave|photos(/[\w-]{1,64})?|examples/\d{1,4})"
)

UPLOAD_ROUTE = "/page/photos"

# Further uploads wait for their turn.
UPLOADS_AT_ONCE = 8

# The largest file is a photo of 108 megapixels, 30 to 50 MB as JPEG.
MAX_UPLOAD_BYTES = 100 << 20

# Other requests carry text and at most a preview of a photo.
MAX_BODY_BYTES = 16 << 20

# Rates are kept for so many addresses; the one seen longest ago is forgotten first.
MAX_CLIENTS = 10_000

TOO_LARGE = "This is larger than the limit of {} MB; send a smaller file."

HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=(), display-capture=()",
}

# Content security policy; scripts in the page itself are added by their checksums.
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

# Gradio believes these from anyone; what a trusted proxy said of scheme and client is in the scope
# by now, and the page's name is that of the request.
FORWARDED = (b"x-forwarded-host", b"x-forwarded-proto", b"x-gradio-server")

_INLINE_SCRIPT = re.compile(rb"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", re.DOTALL)


@dataclass(frozen=True)
class Rate:
    """How often one address may ask: so many at once, and so many a second on average."""

    at_once: int
    a_second: float


# Allows ten busy visitors behind one address; a person guessing passwords waits.
RATES = {
    "login": Rate(10, 0.2),
    "upload": Rate(40, 2),
    "other": Rate(400, 100),
}


@dataclass
class RateLimiter:
    """Counts requests by address, as buckets that fill up again with time."""

    rate: Rate
    _levels: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)

    def allows(self, client: str, now: float) -> bool:
        """Count a request at a time, in seconds; False if it is one too many."""
        level, then = self._levels.pop(client, (float(self.rate.at_once), now))
        level = min(level + (now - then) * self.rate.a_second, self.rate.at_once)
        # Put back at the end: the address seen longest ago is the first to be forgotten.
        self._levels[client] = (max(level - 1, 0), now) if level >= 1 else (level, now)
        if len(self._levels) > MAX_CLIENTS:
            self._levels.popitem(last=False)
        return level >= 1


class TooLargeError(Exception):
    """A request's body is longer than allowed."""


class PageMiddleware:
    """An ASGI middleware around Gradio's application.

    Args:
        app: Gradio's application.
        script: The page's own, which runs before all others; Gradio would add it too late.
        names: Under which requests may call the page, besides localhost; None is any. One that
            calls it by another name comes from a web page that was given this address.
    """

    def __init__(
        self, app: ASGIApp, script: str = "", names: Container[str] | None = frozenset()
    ) -> None:
        self._app = app
        self._script = f"<head><script>{script}</script>".encode()
        self._names = names
        self._limiters = {name: RateLimiter(rate) for name, rate in RATES.items()}
        self._uploads = asyncio.Semaphore(UPLOADS_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with a sentence and a 4xx."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":  # websockets have no business here
                await self._app(scope, receive, send)
            return
        # As if there were no proxy: one may show the page under a path, and leave it out or not.
        own_path = scope["path"].removeprefix(scope.get("root_path", ""))
        headers = [(name, value) for name, value in scope["headers"] if name not in FORWARDED]
        scope = {**scope, "path": own_path, "headers": headers}
        outgoing = _Outgoing(send, scope["path"], self._script)
        path = scope["path"].rstrip("/")
        kind = {UPLOAD_ROUTE: "upload", "/login": "login"}.get(path, "other")
        limit = MAX_UPLOAD_BYTES if kind == "upload" else MAX_BODY_BYTES
        if refusal := self._refusal(scope, kind, limit):
            await refusal(scope, receive, outgoing)
            return
        try:
            async with self._uploads if kind == "upload" else nullcontext():
                await self._app(scope, _Limited(receive, limit), outgoing)
        except Exception as error:
            if isinstance(error, TooLargeError):
                response = PlainTextResponse(TOO_LARGE.format(limit >> 20), 413)
            else:  # the log gets the place, without what the error quotes
                log_place(error, logger, "a request for the page")
                response = PlainTextResponse("The request was not understood.", 400)
            if not outgoing.has_started:
                await response(scope, receive, outgoing)

    def _refusal(self, scope: Scope, kind: str, limit: int) -> PlainTextResponse | None:
        """Give the answer to a request that is not passed on.

        Args:
            scope: The request.
            kind: Of the request: a key of ``RATES``.
            limit: Most bytes of its body.
        """
        headers, path = Headers(scope=scope), scope["path"]
        # The name by which the request calls this machine, without the port; IPv6 has brackets.
        host = headers.get("host", "")
        name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
        if self._names is not None and name.lower() not in self._names and not is_loopback(name):
            return PlainTextResponse(
                "This page is not served under this name; whoever runs it can add --allowed-host.",
                421,
            )
        if OPEN_ROUTES.fullmatch(path) is None or ".." in path:
            return PlainTextResponse("There is nothing here.", 404)
        # A body may also come in pieces of undeclared length; `_Limited` counts those.
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > limit:
            return PlainTextResponse(TOO_LARGE.format(limit >> 20), 413)
        if scope["method"] == "POST" or kind == "login":
            client = (scope.get("client") or ("",))[0]
            if not self._limiters[kind].allows(client, time.monotonic()):
                return PlainTextResponse(
                    "Too many requests; wait a few seconds.", 429, {"retry-after": "5"}
                )
        return None


@dataclass
class _Limited:
    """Passes a request's body on while some of the bytes allowed are left."""

    receive: Receive
    left: int

    async def __call__(self) -> Message:
        message = await self.receive()
        self.left -= len(message.get("body", b""))
        if self.left < 0:
            raise TooLargeError
        return message


@dataclass
class _Outgoing:
    """Adds headers to an answer, and to an HTML page the script, which its policy then names."""

    send: Send
    path: str
    script: bytes
    has_started: bool = False
    _held: Message | None = None
    _body: bytes = b""

    async def __call__(self, message: Message) -> None:
        self.has_started = True
        if message["type"] == "http.response.start":
            # The page's own requests are answered with a sentence, whatever happens; where Gradio
            # gives up, it is on a request that the page does not make.
            message["status"] = 400 if message["status"] == 500 else message["status"]
            message.setdefault("headers", [])
            headers = MutableHeaders(raw=message["headers"])
            headers.update(HEADERS | {"content-security-policy": _policy(b"")})
            if not self.path.startswith(("/assets/", "/static/")):
                headers["cache-control"] = "no-store"
            if headers.get("content-type", "").startswith("text/html"):
                self._held = message
                return
        elif self._held is not None:
            # Held whole: a policy names scripts by checksums, and headers go first.
            self._body += message.get("body", b"")
            if message.get("more_body"):
                return
            start, self._held = self._held, None
            self._body = self._body.replace(b"<head>", self.script, 1)
            headers = MutableHeaders(raw=start["headers"])
            headers["content-security-policy"] = _policy(self._body)
            headers["content-length"] = str(len(self._body))
            await self.send(start)
            message = {"type": "http.response.body", "body": self._body}
        await self.send(message)


def _policy(page: bytes) -> str:
    """Write the content security policy of a page, with the checksums of the scripts in it."""
    # Of the bytes between the tags, which is what browsers hash.
    digests = [hashlib.sha256(script).digest() for script in _INLINE_SCRIPT.findall(page)]
    named = "".join(f" 'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return "; ".join(POLICY).replace("script-src 'self'", f"script-src 'self'{named}")
