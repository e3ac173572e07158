"""A vLLM server, spoken to over HTTP; each of its failures is one sentence."""

import asyncio
import ipaddress
import json
import logging
import os
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx

from skingpt4.common.errors import ChatError, ConfigError

logger = logging.getLogger(__name__)

# A server that was started with --api-key wants it from its users.
KEY_VARIABLE = "SKINGPT4_ENGINE_KEY"

# Seconds; between two pieces of an answer there may lie the wait for other users' answers.
TIMEOUT = httpx.Timeout(connect=5, read=120, write=60, pool=None)
# Of connecting: at once, then after half a second (httpx's own delays).
RETRIES = 2
# Longest quotation from a server, in characters.
QUOTED = 200

_DATA, _DONE = "data:", "[DONE]"
# Why an answer ends, but for "abort": a server that is going down.
_FINISHED = ("stop", "length", "repetition")
_REFUSED_KEY = (401, 403)


class VllmServer:
    """One server's completions; everything runs on one event loop.

    No proxy that the environment names is used: prompts go to the server itself or nowhere.

    Args:
        url: Address, ``http://host:port``.
        allow_public: Whether the address may be no loopback or private one.

    Raises:
        ConfigError: If it is no http address.
    """

    def __init__(self, url: str, allow_public: bool = False) -> None:
        self.url = url.rstrip("/")
        self.allow_public = allow_public
        try:
            self._address = httpx.URL(self.url)
        except httpx.InvalidURL:
            self._address = httpx.URL("")
        if self._address.scheme not in ("http", "https") or not self._address.host:
            raise ConfigError(
                f"model.engine_url '{url}' is no http address; write it as 'http://127.0.0.1:8000'."
            )
        key = os.environ.get(KEY_VARIABLE)
        self._client = httpx.AsyncClient(
            base_url=self.url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=TIMEOUT,
            transport=httpx.AsyncHTTPTransport(
                retries=RETRIES, trust_env=False, limits=httpx.Limits(max_connections=None)
            ),
            trust_env=False,
        )

    async def check_address(self) -> None:
        """Refuse an address outside this machine and its private networks.

        Raises:
            ConfigError: If it is public and that is not allowed.
        """
        host = self._address.host
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, None)
        except socket.gaierror as error:
            raise self._unreachable(error) from None
        addresses = {str(entry[4][0]).partition("%")[0] for entry in found}
        if any(ipaddress.ip_address(address).is_global for address in addresses):
            if not self.allow_public:
                raise ConfigError(
                    f"model.engine_url '{self.url}' is a public address, where photos (as "
                    "embeddings) and questions would go; name a server of your own network, or "
                    "set model.allow_public_engine=True."
                )
            logger.warning("Photos, as embeddings, and questions go to the public %s", self.url)

    async def request(
        self, method: str, path: str, content: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return the JSON that a request is answered with.

        Raises:
            ChatError: If the server cannot be reached or refuses.
        """
        async with self.explained():
            response = await self._client.request(method, path, json=content)
            await self._refuse_failure(response)
            return cast(dict[str, Any], response.json())

    async def stream(self, request: dict[str, Any]) -> AsyncGenerator[list[int], None]:
        """Yield a completion's new token ids as they come.

        Cancelling this closes the connection, upon which vLLM drops the request.

        Raises:
            ChatError: If the server cannot be reached, refuses, or breaks off.
        """
        async with (
            self.explained(),
            self._client.stream("POST", "/v1/completions", json=request) as response,
        ):
            await self._refuse_failure(response)
            reason = None
            async for line in response.aiter_lines():
                data = line.removeprefix(_DATA).strip()
                if data == _DONE:
                    break
                if not line.startswith(_DATA):
                    continue  # server-sent events part with empty lines
                event = json.loads(data)
                if "error" in event:
                    raise ChatError(
                        f"The language model's server at {self.url} broke off "
                        f"({_quoted(event)}); ask again, and look at its log if that does not help."
                    )
                (choice,) = event["choices"]
                reason = choice["finish_reason"]  # of the last part only
                yield choice["token_ids"] or []
            if reason not in _FINISHED:
                raise httpx.RemoteProtocolError("the answer has no end")

    @asynccontextmanager
    async def explained(self) -> AsyncIterator[None]:
        """Turn what goes wrong inside into one sentence."""
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise self._unreachable(error) from None
        except httpx.TimeoutException:
            raise ChatError(
                f"The language model's server at {self.url} said nothing for {TIMEOUT.read:.0f} "
                "seconds; it may be overloaded: ask again later."
            ) from None
        except httpx.TransportError as error:
            raise ChatError(
                f"The language model's server at {self.url} broke off in the middle "
                f"({_reason(error)}); ask again, and look at its log if that does not help."
            ) from None
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            raise ChatError(
                f"What {self.url} sent is not what vLLM sends ({_reason(error)}); check "
                "model.engine_url, and that vLLM is 0.26 or newer."
            ) from None

    async def _refuse_failure(self, response: httpx.Response) -> None:
        if response.is_success:
            return
        await response.aread()
        if response.status_code in _REFUSED_KEY:
            remedy = f"set {KEY_VARIABLE} to the key that the server was started with"
        elif response.is_server_error:
            remedy = "look at its log and ask again"
        else:
            remedy = "start it with model.llm_model's folder and --enable-prompt-embeds"
        try:
            message = _quoted(response.json())
        except (ValueError, AttributeError):  # a proxy's page, or nothing
            message = _shortened(response.text) or response.reason_phrase
        raise ChatError(
            f"The language model's server at {self.url} refused with status "
            f"{response.status_code} ({message}); {remedy}."
        )

    def _unreachable(self, error: Exception) -> ChatError:
        return ChatError(
            f"The language model's server at {self.url} cannot be reached ({_reason(error)}); "
            "start it, or correct model.engine_url, and ask again."
        )


def _quoted(content: dict[str, Any]) -> str:
    """Return the sentence in vLLM's JSON of an error."""
    error = content.get("error", content)
    return _shortened(str(error.get("message", error) if isinstance(error, dict) else error))


def _reason(error: Exception) -> str:
    return _shortened(str(error)) or type(error).__name__


def _shortened(text: str) -> str:
    return " ".join(text.split())[:QUOTED].rstrip(".")
