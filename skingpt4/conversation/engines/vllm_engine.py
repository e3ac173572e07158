"""Generation by a vLLM server, which receives prompts as embeddings.

The vision side and the token embeddings are in this process; the language model, its memory of
earlier turns (vLLM's prefix cache) and the batching of many users are the server's.
"""

import asyncio
import base64
import io
import logging
import secrets
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from skingpt4.common.errors import ChatError, UserError
from skingpt4.conversation.engines.base import Decoding, Engine
from skingpt4.conversation.engines.prompt_encoder import Prompt
from skingpt4.conversation.engines.threads import BackgroundLoop
from skingpt4.conversation.engines.vllm_server import VllmServer

if TYPE_CHECKING:
    from skingpt4.common.schema import ModelConfig
    from skingpt4.models.skin_gpt4 import SkinGPT4

logger = logging.getLogger(__name__)

# Token ids, evenly spread over the vocabulary, of the prompt that compares the server's model with
# ours, and how far its scores may lie apart: the same numbers go through the same layers both
# times, so only their rounding in another batch may differ.
PROBE_TOKENS = 24
PROBE_SCORES = 5
PROBE_TOLERANCE = 0.1


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
        self._background = BackgroundLoop()
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
        return self._background.iterate(work, cancel)

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

        return self._background.iterate(work, cancel)

    def log_likelihoods(self, prompts: Sequence[Prompt], answer: str) -> np.ndarray:
        """Refuse: vLLM gives no probabilities of a prompt that comes as embeddings.

        Raises:
            ChatError: Always.
        """
        raise ChatError(
            "How likely an answer is cannot be asked of the engine 'vllm'; set "
            "model.engine=transformers for it."
        )

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
                    "model.engine=transformers."
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
                if self._comparison is None:
                    self._comparison = asyncio.ensure_future(self._compare())
                    self._comparison.add_done_callback(self._end_comparison)
                # All who wait get its one result, and none of them ends it for the others.
                self._served = await asyncio.shield(self._comparison)
            served, longest = self._served, request["max_tokens"]
            # The context may have become known only now, after the prompt was fitted.
            if length + longest > served.context:
                raise ChatError(
                    f"The conversation takes {length} tokens and the answer may take {longest}, "
                    f"but the server holds {served.context}; ask again, which leaves the oldest "
                    "turns out, or start the server with a larger --max-model-len."
                )
            async with aclosing(self.server.stream(request | {"model": served.name})) as answer:
                async for new_ids in answer:
                    put(new_ids)
        except UserError:
            self._served = None
            raise

    def _end_comparison(self, comparison: "asyncio.Task[_Served]") -> None:
        self._comparison = None
        if not comparison.cancelled():
            comparison.exception()  # marks it as seen: its readers may all have gone

    async def _compare(self) -> _Served:
        """Ask the server for its model and try whether it is ours.

        The same tokens must be continued alike whether they are sent as numbers, which the server
        embeds, or as our embeddings of them.

        Raises:
            ChatError: If it is another model.
            ConfigError: If the address is public and that is not allowed.
        """
        await self.server.check_address()
        async with self.server.explained():
            listed = (await self.server.request("GET", "/v1/models"))["data"][0]
            served = _Served(str(listed["id"]), int(listed["max_model_len"]))
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
                "that folder, or name the server's model."
            )
        self.context_length = min(self.model.context_length, served.context)
        logger.info("%s serves '%s', %d tokens", self.server.url, served.name, served.context)
        return served


def _packed(embeds: Tensor) -> str:
    """Write embeddings ``[L, D]`` as vLLM reads them: ``torch.save`` in base64."""
    buffer = io.BytesIO()
    torch.save(embeds.detach().cpu().contiguous(), buffer)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
