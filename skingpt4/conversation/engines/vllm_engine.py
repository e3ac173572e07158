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
from collections.abc import Callable, Coroutine, Generator, Iterator, Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skingpt4.common.errors import ChatError, UserError
from skingpt4.common.schema import ModelConfig
from skingpt4.conversation.engines.base import Decoding, PromptSegment, TextCutter
from skingpt4.conversation.engines.prompt_encoder import PromptEncoder
from skingpt4.conversation.engines.threads import BackgroundLoop
from skingpt4.conversation.engines.vllm_server import VllmServer
from skingpt4.models import SkinGPT4

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


@dataclass(frozen=True)
class _Prompt:
    """A prompt's embeddings as they are sent, and its length in tokens."""

    packed: str
    length: int


class VllmEngine:
    """A language model on a vLLM server; safe to use from any number of threads.

    The server is first spoken to by the first question, and compared with the model then; so it
    may be started later, and restarted.

    Args:
        model: Gives the tokenizer and the token embeddings.
        config: Its section; ``engine_url`` and ``allow_public_engine`` are used.

    Attributes:
        at_once: How many answers are worth asking for at the same time; a server with room for
            fewer lets the others wait.

    Raises:
        ConfigError: If ``engine_url`` is no address.
    """

    at_once = 32

    def __init__(self, model: SkinGPT4, config: ModelConfig) -> None:
        self.model = model
        self.prompts = PromptEncoder(model)
        self.server = VllmServer(config.engine_url, config.allow_public_engine)
        self._background = BackgroundLoop()
        self._served: _Served | None = None
        self._comparison: asyncio.Task[_Served] | None = None
        # Keeps the server's other users from probing its cache for our prompts.
        self._salt = secrets.token_hex(16)

    def new_memory(self) -> None:
        """Return nothing: the server keeps earlier turns in its own prefix cache."""

    def count_tokens(self, segments: Sequence[PromptSegment]) -> int:
        """Return how many positions the prompt takes, the beginning-of-text token included."""
        return self.prompts.count_tokens(segments)

    def stream(
        self,
        segments: Sequence[PromptSegment],
        decoding: Decoding,
        stops: Sequence[str] = (),
        cancel: threading.Event | None = None,
        memory: object | None = None,
    ) -> Generator[str, None, np.ndarray]:
        """Yield the answer in pieces and return its token ids; see :class:`Engine`.

        Raises:
            ChatError: If beams or a repetition penalty are asked for, or the server fails.
        """
        prompt = self._prompt(segments, decoding)

        async def work(put: Callable[[list[int]], None]) -> None:
            await self._complete(prompt, decoding, stops, put)

        tokens = self._background.follow(work, cancel)
        return (yield from self.prompts.read_answer(tokens, stops))

    def draw(
        self,
        segments: Sequence[PromptSegment],
        decoding: Decoding,
        seeds: Sequence[int],
        stops: Sequence[str] = (),
        cancel: threading.Event | None = None,
    ) -> Iterator[tuple[int, str]]:
        """Yield (number, text) of each independent answer as it is finished; see :class:`Engine`.

        Raises:
            ChatError: If beams or a repetition penalty are asked for, or the server fails.
        """
        prompt = self._prompt(segments, decoding)

        async def one(number: int, put: Callable[[tuple[int, str]], None]) -> None:
            ids: list[int] = []
            own = replace(decoding, seed=seeds[number])
            await self._complete(prompt, own, stops, ids.extend)
            put((number, TextCutter(stops).cut(self.prompts.decode(ids))))

        async def work(put: Callable[[tuple[int, str]], None]) -> None:
            await _together([one(number, put) for number in range(len(seeds))])

        with closing(self._background.follow(work, cancel)) as answers:
            yield from answers

    def log_likelihoods(
        self, prompts: Sequence[Sequence[PromptSegment]], answer: str
    ) -> np.ndarray:
        """Refuse: vLLM gives no probabilities of a prompt that comes as embeddings.

        Raises:
            ChatError: Always.
        """
        raise ChatError(
            "How likely an answer is cannot be asked of the engine 'vllm'; set "
            "model.engine=transformers for it."
        )

    async def _complete(
        self,
        prompt: _Prompt,
        decoding: Decoding,
        stops: Sequence[str],
        put: Callable[[list[int]], None],
    ) -> None:
        """Hand on an answer's token ids; after a failure the server is compared anew."""
        try:
            served = await self._compared()
            _check_length(prompt.length, decoding, served.context)
            request = _request(prompt, decoding, stops) | {
                "model": served.name,
                "cache_salt": self._salt,
            }
            async with aclosing(self.server.stream(request)) as answer:
                async for new_ids in answer:
                    put(new_ids)
        except UserError:
            self._served = None
            raise

    async def _compared(self) -> _Served:
        """Return what the server serves, compared with our model when first asked."""
        if self._served is None:
            if self._comparison is None:
                self._comparison = asyncio.ensure_future(self._compare())
                self._comparison.add_done_callback(self._end_comparison)
            # All who wait get its one result, and none of them ends it for the others.
            self._served = await asyncio.shield(self._comparison)
        return self._served

    def _end_comparison(self, comparison: "asyncio.Task[_Served]") -> None:
        self._comparison = None
        if not comparison.cancelled():
            comparison.exception()  # which nobody may be left to hear of

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
            served, is_ours = await self._probe()
        if not is_ours:
            raise ChatError(
                f"The server at {self.server.url} serves '{served.name}', which embeds text "
                f"otherwise than model.llm_model '{self.model.config.llm_model}'; start it with "
                "that folder, or name the server's model."
            )
        self.model.engine_context = served.context
        logger.info("%s serves '%s', %d tokens", self.server.url, served.name, served.context)
        return served

    async def _probe(self) -> tuple[_Served, bool]:
        """Return what the server serves, and whether it continues our embeddings as its own."""
        listed = (await self.server.get("/v1/models"))["data"][0]
        served = _Served(str(listed["id"]), int(listed["max_model_len"]))
        ids = torch.linspace(0, len(self.prompts.tokenizer) - 1, PROBE_TOKENS).long()
        probe = {
            "model": served.name,
            "max_tokens": 1,
            "temperature": 0.0,
            "logprobs": PROBE_SCORES,
            "return_tokens_as_token_ids": True,
        }
        theirs = await self.server.complete(probe | {"prompt": ids.tolist()})
        embeds = _packed(self.model.embed_tokens(ids))
        ours = await self.server.complete(probe | {"prompt_embeds": embeds})
        return served, _alike(theirs, ours)

    def _prompt(self, segments: Sequence[PromptSegment], decoding: Decoding) -> _Prompt:
        """Embed and pack a prompt, in the caller's thread and once for all its draws.

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
        embeds = self.prompts.embed(segments)[0]
        return _Prompt(_packed(embeds), len(embeds))


async def _together(works: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Wait for all; when one fails or this is cancelled, cancel the others."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _request(prompt: _Prompt, decoding: Decoding, stops: Sequence[str]) -> dict[str, Any]:
    """Write a completion request; each setting is sent, lest the server's own defaults count."""
    return {
        "prompt_embeds": prompt.packed,
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
        # A stop string may be a special token, which the server would not see in its text else.
        "skip_special_tokens": False,
        "stream": True,
        "return_token_ids": True,
    }


def _packed(embeds: Tensor) -> str:
    """Write embeddings ``[L, D]`` as vLLM reads them: ``torch.save`` in base64."""
    buffer = io.BytesIO()
    torch.save(embeds.detach().cpu().contiguous(), buffer)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _check_length(length: int, decoding: Decoding, context: int) -> None:
    if length + decoding.max_new_tokens > context:
        raise ChatError(
            f"The conversation takes {length} tokens and the answer may take "
            f"{decoding.max_new_tokens}, but the server holds {context}; ask again, which leaves "
            "the oldest turns out, or start the server with a larger --max-model-len."
        )


def _alike(theirs: dict[str, Any], ours: dict[str, Any]) -> bool:
    """Tell whether two completions come from the same scores, up to rounding."""
    left, right = (choice["logprobs"]["top_logprobs"][0] for choice in (theirs, ours))
    shared = left.keys() & right.keys()
    return 2 * len(shared) > PROBE_SCORES and all(
        abs(left[token] - right[token]) < PROBE_TOLERANCE for token in shared
    )
