"""Generation by a vLLM server, which receives prompts as embeddings.

The vision side and the token embeddings are in this process; the language model, its memory of
earlier turns (vLLM's prefix cache) and the batching of many users are the server's.
"""

import asyncio
import base64
import io
import ipaddress
import json
import logging
import os
import secrets
import socket
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import httpx
import torch
from torch import Tensor

from skingpt4.common.errors import ChatError, ConfigError, UserError
from skingpt4.conversation.engines.base import Decoding, Engine
from skingpt4.conversation.engines.prompt_encoder import Prompt
from skingpt4.conversation.engines.threads import iterate_on_loop

if TYPE_CHECKING:
    from skingpt4.common.schema import ModelConfig
    from skingpt4.models.skin_gpt4 import SkinGPT4

logger = logging.getLogger(__name__)

# A server that was started with --api-key wants it from its users.
KEY_VARIABLE = "SKINGPT4_ENGINE_KEY"

# Seconds; between two pieces of an answer there may lie the wait for other users' answers.
TIMEOUT = httpx.Timeout(connect=5, read=120, write=60, pool=None)
# Of connecting: at once, then after half a second (httpx's own delays).
RETRIES = 2
# Longest quotation from a server, in characters.
QUOTED = 200

# Server-sent events: each line of an answer begins with the first, its end is the second.
_DATA, _DONE = "data:", "[DONE]"
# Why an answer ends, but for "abort": a server that is going down.
_FINISHED = ("stop", "length", "repetition")

# HTTP's status codes of a missing and of a wrong key.
_REFUSED_KEY = (401, 403)

# Token ids, evenly spread over the vocabulary, of the prompt that compares the server's model with
# ours, and how far its scores may lie apart: the same numbers go through the same layers both
# times, so only their rounding in another batch may differ.
PROBE_TOKENS = 24
PROBE_SCORES = 5
PROBE_TOLERANCE = 0.1


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
        # Without trust_env=False httpx would use a proxy, and send the machine's .netrc.
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
            OSError: If its name is unknown.
        """
        found = await asyncio.get_running_loop().getaddrinfo(self._address.host, None)
        # An IPv6 address may end with the network interface: "fe80::1%eth0".
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
                    reason = _quoted(event)
                    raise ChatError(
                        f"The language model's server at {self.url} broke off ({reason}); ask "
                        "again, and look at its log if that does not help.",
                        "server",
                    )
                (choice,) = event["choices"]
                reason = choice["finish_reason"]  # of the last part only
                yield choice["token_ids"] or []
            # A connection that is closed between two lines looks like an end.
            if reason not in _FINISHED:
                raise httpx.RemoteProtocolError("the answer has no end")

    @asynccontextmanager
    async def explained(self) -> AsyncIterator[None]:
        """Turn what goes wrong inside into one sentence."""
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout, socket.gaierror) as error:
            raise ChatError(
                f"The language model's server at {self.url} cannot be reached "
                f"({_quoted(error)}); start it, or correct model.engine_url, and ask again.",
                "server",
            ) from None
        except httpx.TimeoutException:
            raise ChatError(
                f"The language model's server at {self.url} said nothing for {TIMEOUT.read:.0f} "
                "seconds; it may be overloaded: ask again later.",
                "server",
            ) from None
        except httpx.TransportError as error:
            raise ChatError(
                f"The language model's server at {self.url} broke off in the middle "
                f"({_quoted(error)}); ask again, and look at its log if that does not help.",
                "server",
            ) from None
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            raise ChatError(
                f"What {self.url} sent is not what vLLM sends ({_quoted(error)}); check "
                "model.engine_url, and that vLLM is 0.26 or newer.",
                "server",
            ) from None

    async def _refuse_failure(self, response: httpx.Response) -> None:
        if response.is_success:
            return
        await response.aread()  # a streamed response has no text before
        if response.status_code in _REFUSED_KEY:
            remedy = f"set {KEY_VARIABLE} to the key that the server was started with"
        elif response.is_server_error:
            remedy = "look at its log and ask again"
        else:
            remedy = "start it with model.llm_model's folder and --enable-prompt-embeds"
        try:
            message = _quoted(response.json())
        except ValueError:  # a proxy's page, or nothing
            message = _quoted(response.text.strip() or response.reason_phrase)
        raise ChatError(
            f"The language model's server at {self.url} refused with status "
            f"{response.status_code} ({message}); {remedy}.",
            "server",
        )


def _quoted(content: object) -> str:
    """Return what a server's JSON, its text or an error says, on one line and not too long."""
    if isinstance(content, dict):
        # vLLM's own errors are {"error": {"message": …}}; what stands before it may differ.
        error = content.get("error", content)
        content = error.get("message", error) if isinstance(error, dict) else error
    quotation = " ".join(str(content).split())[:QUOTED].rstrip(".")
    return quotation or type(content).__name__  # many of httpx's errors say nothing


@dataclass(frozen=True)
class _Served:
    """What a server serves: the model's name there and the tokens it can attend to."""

    name: str
    context: int


class VllmEngine(Engine):
    """A language model on a vLLM server; safe to use from any number of threads.

    The server is first spoken to by the first question, and compared with the model then; so it
    may be started later, and restarted.

    Args:
        model: Gives the tokenizer and the token embeddings.
        config: Its section; ``engine_url`` and ``allow_public_engine`` are used.

    Attributes:
        at_once: A server with room for fewer lets the others wait.

    Raises:
        ConfigError: If ``engine_url`` is no address.
    """

    at_once = 32

    def __init__(self, model: "SkinGPT4", config: "ModelConfig") -> None:
        super().__init__(model)
        self.server = VllmServer(config.engine_url, config.allow_public_engine)
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="skingpt4-http", daemon=True).start()
        self._served: _Served | None = None
        self._comparison: asyncio.Task[_Served] | None = None
        # Keeps the server's other users from probing its cache for our prompts.
        self._salt = secrets.token_hex(16)

    def stream(
        self,
        prompt: Prompt,
        decoding: Decoding,
        stops: Sequence[str] = (),
        cancel: threading.Event | None = None,
        memory: object | None = None,
    ) -> Generator[list[int], None, None]:
        """Yield an answer's token ids as they come; see :class:`Engine`.

        Raises:
            ChatError: If beams or a repetition penalty are asked for, or the server fails.
        """
        request = self._request(prompt, decoding, stops)
        work = partial(self._complete, request, len(prompt))
        return iterate_on_loop(self._loop, work, cancel)

    def draw(
        self,
        prompt: Prompt,
        decoding: Decoding,
        seeds: Sequence[int],
        stops: Sequence[str] = (),
        cancel: threading.Event | None = None,
    ) -> Generator[tuple[int, list[int]], None, None]:
        """Yield (number, token ids) of each independent answer; see :class:`Engine`.

        Raises:
            ChatError: If beams or a repetition penalty are asked for, or the server fails.
        """
        request = self._request(prompt, decoding, stops)  # embedded and packed once for all

        async def draw_one(number: int, put: Callable[[tuple[int, list[int]]], None]) -> None:
            ids: list[int] = []
            await self._complete(request | {"seed": seeds[number]}, len(prompt), ids.extend)
            put((number, ids))

        async def work(put: Callable[[tuple[int, list[int]]], None]) -> None:
            tasks = [asyncio.ensure_future(draw_one(n, put)) for n in range(len(seeds))]
            try:
                await asyncio.gather(*tasks)
            finally:  # when one fails, or this is cancelled, the others have no reader
                for task in tasks:
                    task.cancel()

        return iterate_on_loop(self._loop, work, cancel)

    def _request(self, prompt: Prompt, decoding: Decoding, stops: Sequence[str]) -> dict[str, Any]:
        """Embed a prompt and write a completion request, in the caller's thread.

        Raises:
            ChatError: If ``decoding`` asks for what vLLM cannot do after embeddings: beams, or a
                penalty on repeating the prompt's tokens, which it has not got.
        """
        for name in ("num_beams", "repetition_penalty"):
            if (value := getattr(decoding, name)) != 1:
                raise ChatError(
                    f"{name} is {value}, which the engine 'vllm' cannot do; set it to 1, or set "
                    "model.engine=transformers.",
                    "engine_setting",
                )
        # Each setting is sent, lest the server's own defaults count.
        return {
            "prompt_embeds": _packed(self.prompts.embed(prompt)[0]),
            "max_tokens": decoding.max_new_tokens,
            "min_tokens": decoding.min_length,
            "temperature": decoding.temperature,
            "top_p": decoding.top_p,
            "top_k": decoding.top_k,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "seed": decoding.seed,
            "stop": list(stops),
            # A stop string may be a special token, which the server's text would leave out.
            "skip_special_tokens": False,
            "stream": True,
            "return_token_ids": True,
            "cache_salt": self._salt,
        }

    async def _complete(
        self, request: dict[str, Any], length: int, put: Callable[[list[int]], None]
    ) -> None:
        """Hand on an answer's token ids; after a failure the server is compared again.

        Args:
            request: As :meth:`_request` writes it.
            length: Of its prompt, in tokens.
            put: Takes the ids as they come.
        """
        try:
            if self._served is None:
                # All who wait get one comparison's result, and none ends it for the others.
                if self._comparison is None or self._comparison.done():
                    self._comparison = asyncio.ensure_future(self._compare())
                    # Its error counts as seen, for those who waited may all have gone.
                    self._comparison.add_done_callback(lambda c: c.cancelled() or c.exception())
                self._served = await asyncio.shield(self._comparison)
            served, longest = self._served, request["max_tokens"]
            # The context may have become known only now, after the prompt was fitted.
            if length + longest > served.context:
                raise ChatError(
                    f"The conversation takes {length} tokens and the answer may take {longest}, "
                    f"but the server holds {served.context}; ask again, which leaves the oldest "
                    "turns out, or start the server with a larger --max-model-len.",
                    "server_full",
                )
            async with aclosing(self.server.stream(request | {"model": served.name})) as answer:
                async for new_ids in answer:
                    put(new_ids)
        except UserError:
            # The server may come back with another model, or with more room.
            self._served = None
            raise

    async def _compare(self) -> _Served:
        """Ask the server for its model and try whether it is ours.

        The same tokens must be continued alike whether they are sent as numbers, which the server
        embeds, or as our embeddings of them.

        Raises:
            ChatError: If it is another model.
            ConfigError: If the address is public and that is not allowed.
        """
        async with self.server.explained():
            await self.server.check_address()
            listed = (await self.server.request("GET", "/v1/models"))["data"][0]
            served = _Served(str(listed["id"]), int(listed["max_model_len"]))
            # [PROBE_TOKENS]
            ids = torch.linspace(0, len(self.prompts.tokenizer) - 1, PROBE_TOKENS).long()
            scores = []
            for prompt in (
                {"prompt": ids.tolist()},
                {"prompt_embeds": _packed(self.model.embed_tokens(ids))},
            ):
                probe = prompt | {
                    "model": served.name,
                    "max_tokens": 1,
                    "temperature": 0.0,
                    "logprobs": PROBE_SCORES,
                    "return_tokens_as_token_ids": True,
                }
                answer = await self.server.request("POST", "/v1/completions", probe)
                scores.append(answer["choices"][0]["logprobs"]["top_logprobs"][0])
            theirs, ours = scores
            # Most of the likeliest tokens are the same, with the same scores up to rounding.
            shared = theirs.keys() & ours.keys()
            is_ours = 2 * len(shared) > PROBE_SCORES and all(
                abs(theirs[token] - ours[token]) < PROBE_TOLERANCE for token in shared
            )
        if not is_ours:
            raise ChatError(
                f"The server at {self.server.url} serves '{served.name}', which embeds text "
                f"otherwise than model.llm_model '{self.model.config.llm_model}'; start it with "
                "that folder, or name the server's model.",
                "server",
            )
        self.context_length = min(self.model.context_length, served.context)
        logger.info("%s serves '%s', %d tokens", self.server.url, served.name, served.context)
        return served


def _packed(embeds: Tensor) -> str:
    """Write embeddings ``[L, D]`` as vLLM reads them: ``torch.save`` in base64."""
    buffer = io.BytesIO()
    torch.save(embeds.detach().cpu().contiguous(), buffer)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
