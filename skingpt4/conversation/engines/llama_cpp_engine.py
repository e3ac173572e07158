"""Generation by llama.cpp, for machines without a GPU: text as tokens, photos as embeddings.

llama.cpp gives the scores of the next token; it is chosen from them as the engine ``transformers``
does, with the same noise from the same seed.
"""

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from skingpt4.common.schema import ModelConfig
from skingpt4.common.sources import resolve
from skingpt4.conversation.engines.base import Decoding, PromptSegment, TextCutter
from skingpt4.conversation.engines.llama_cpp_answer import GrowingAnswer
from skingpt4.conversation.engines.llama_cpp_cache import (
    CONVERSATIONS,
    DRAWS,
    Memory,
    SequenceCache,
    Stopped,
)
from skingpt4.conversation.engines.llama_cpp_runtime import LlamaRuntime, PhotoRow, Row
from skingpt4.conversation.engines.prompt_encoder import PromptEncoder
from skingpt4.conversation.engines.worker import follow
from skingpt4.models import SkinGPT4

# How soon one who waits for a turn sees that nobody wants it any more.
POLL_SECONDS = 0.05

Item = TypeVar("Item")
Put = Callable[[Item], None]
Ended = Callable[[], bool]


class LlamaCppEngine:
    """A GGUF file's language model; safe to use from several threads, which take turns.

    The rows of the latest conversations stay in llama.cpp's context, so that the next turn takes
    in only what is new.

    Args:
        model: Gives the tokenizer, the photos' embeddings and the length of the context.
        config: Its section; ``llm_model`` is the file.

    Raises:
        WeightsError: If llama.cpp cannot load the file.
    """

    at_once = 1

    def __init__(self, model: SkinGPT4, config: ModelConfig) -> None:
        self.model = model
        self.prompts = PromptEncoder(model)
        self.runtime = LlamaRuntime(
            resolve(config.llm_model),
            longest=model.context_length,
            sequences=CONVERSATIONS + DRAWS,
            gpu=model.device.type != "cpu",
        )
        model.engine_context = self.runtime.positions
        self._cache = SequenceCache(self.runtime)
        self._turn = threading.Lock()

    def new_memory(self) -> Memory:
        """Return what stands for a conversation's rows; dropping it lets go of them."""
        return Memory()

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
            ChatError: If beams are asked for, or llama.cpp fails.
        """
        rows, answer = self._rows(segments), GrowingAnswer(self.model, decoding, stops)
        own = memory if isinstance(memory, Memory) else self.new_memory()

        def work(put: Put[list[int]], ended: Ended) -> None:
            with self._cache.holding(own, rows, decoding.max_new_tokens):
                new = rows[len(own.rows) :]
                while not answer.ended:
                    token = answer.choose(self._cache.feed(own, new, ended)[-1])
                    put([token])
                    new = [token]

        tokens = self._follow(work, cancel)
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

        The question is taken in once, and as many answers as there is room for go on in step.

        Raises:
            ChatError: If beams are asked for, or llama.cpp fails.
        """
        rows, memory = self._rows(segments), self.new_memory()
        room = (self.runtime.positions - len(rows)) // decoding.max_new_tokens
        size = max(1, min(room, DRAWS))
        settings = [replace(decoding, seed=seed) for seed in seeds]
        answers = [GrowingAnswer(self.model, own, stops) for own in settings]

        def work(put: Put[int], ended: Ended) -> None:
            for start in range(0, len(answers), size):
                group = dict(list(enumerate(answers))[start : start + size])
                with self._cache.holding(memory, rows, len(group) * decoding.max_new_tokens):
                    scores = self._cache.feed(memory, rows[len(memory.rows) :], ended)[-1]
                    self._continue(memory, group, scores, put, ended)

        with closing(self._follow(work, cancel)) as finished:
            for number in finished:
                text = self.prompts.decode(answers[number].ids)
                yield number, TextCutter(stops).cut(text)

    def _continue(
        self,
        memory: Memory,
        group: dict[int, GrowingAnswer],
        scores: np.ndarray,
        put: Put[int],
        ended: Ended,
    ) -> None:
        """Let several answers follow one prompt, a token of each at a time; put those finished."""
        with self._cache.branches(memory, len(group)) as sequences:
            seats = dict(zip(group, sequences, strict=True))
            following = dict.fromkeys(group, scores)
            while following:
                for number, row in following.items():
                    group[number].choose(row)
                    if group[number].ended:
                        put(number)
                if ended():
                    raise Stopped
                live = [number for number in following if not group[number].ended]
                new = self._cache.extend(
                    memory, {seats[number]: group[number].ids for number in live}
                )
                following = dict(zip(live, new, strict=True))

    def log_likelihoods(
        self, prompts: Sequence[Sequence[PromptSegment]], answer: str
    ) -> np.ndarray:
        """Return the mean log-probability of the answer's tokens ``[n]``; see :class:`Engine`.

        What a prompt has in common with the one before it is not taken in again.

        Raises:
            ChatError: If llama.cpp fails.
        """
        memory = self.new_memory()

        def work(put: Put[float], ended: Ended) -> None:
            for segments in prompts:
                ids = self.prompts.answer_ids(segments, answer)
                rows = self._rows([*segments[:-1], f"{segments[-1]}{answer}"])
                with self._cache.holding(memory, rows[: -len(ids)], len(ids)):
                    new = rows[len(memory.rows) : -1]
                    put(_mean_chance(self._cache.feed(memory, new, ended, len(ids)), ids))

        return np.array(list(self._follow(work)))

    def _rows(self, segments: Sequence[PromptSegment]) -> list[Row]:
        """Write a prompt as llama.cpp takes it in."""
        ids = self.prompts.text_ids(segments)
        rows: list[Row] = []
        for place, segment in enumerate(segments):
            rows += ids[place] if isinstance(segment, str) else _photo_rows(segment)
        return rows

    def _follow(
        self,
        work: Callable[[Put[Item], Ended], None],
        cancel: threading.Event | None = None,
    ) -> Generator[Item, None, None]:
        """Yield what ``work`` puts when its turn has come; raise what it raises.

        Setting ``cancel``, or closing the iterator, tells it to end.
        """

        def in_turn(put: Put[Item], closed: threading.Event) -> None:
            def ended() -> bool:
                return closed.is_set() or (cancel is not None and cancel.is_set())

            while not self._turn.acquire(timeout=POLL_SECONDS):
                if ended():
                    return
            try:
                work(put, ended)
            finally:
                self._turn.release()

        return follow(in_turn)


def _photo_rows(photo: Tensor) -> list[Row]:
    """Return the rows of a photo's embeddings ``[32, D]`` or ``[1, 32, D]``."""
    values = photo.detach().flatten(end_dim=-2).float().cpu().numpy()
    digest = sha256(values.tobytes()).digest()
    return [PhotoRow(digest, number, row) for number, row in enumerate(values)]


def _mean_chance(scores: np.ndarray, ids: Sequence[int]) -> float:
    """Return the mean log-probability of tokens, given the scores at each ``[n, vocabulary]``."""
    chances = torch.from_numpy(scores).log_softmax(dim=-1)
    return float(chances.gather(1, torch.tensor(ids)[:, None]).mean())
