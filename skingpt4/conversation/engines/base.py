"""The contract of every engine: a prompt of text and photo segments in, a stream of text out."""

import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import Tensor

from skingpt4.common.errors import ChatError

# Text, or the embeddings ``[32, D]`` (also ``[1, 32, D]``) of one photo.
PromptSegment = str | Tensor

REPLACEMENT_CHARACTER = "\ufffd"


@dataclass(frozen=True)
class Decoding:
    """How an answer is chosen; the order of the fields is that of upstream's ``answer``.

    Attributes:
        max_new_tokens: Longest answer, 1 or more.
        num_beams: Beams kept; 1 streams token by token.
        min_length: Tokens before the end token may come, 0 or more.
        top_p: Sampling keeps the likeliest tokens that sum to this, in (0, 1].
        repetition_penalty: Above 1 discourages tokens that the answer already has.
        length_penalty: Above 0 favours longer beams.
        temperature: 0 is greedy (deterministic); higher samples more freely.
        top_k: Sampling keeps this many likeliest tokens; 0 keeps all.
        seed: Makes sampling repeatable.

    Raises:
        ChatError: If a value is out of range.
    """

    max_new_tokens: int = 300
    num_beams: int = 1
    min_length: int = 1
    top_p: float = 0.9
    repetition_penalty: float = 1.0
    length_penalty: float = 1.0
    temperature: float = 0.0
    top_k: int = 0
    seed: int | None = None

    def __post_init__(self) -> None:
        rules = {
            "max_new_tokens": (self.max_new_tokens >= 1, "1 or more"),
            "num_beams": (self.num_beams >= 1, "1 or more"),
            "min_length": (0 <= self.min_length <= self.max_new_tokens, "0 to max_new_tokens"),
            "top_p": (0 < self.top_p <= 1, "above 0 and at most 1"),
            "repetition_penalty": (self.repetition_penalty > 0, "above 0"),
            "temperature": (0 <= self.temperature < float("inf"), "0 (greedy) or more"),
            "top_k": (self.top_k >= 0, "0 (off) or more"),
        }
        for name, (holds, allowed) in rules.items():
            if not holds:
                raise ChatError(f"{name} is {getattr(self, name)}; it must be {allowed}.")


class Engine(Protocol):
    """Generates text after a prompt, for any number of conversations at once.

    Attributes:
        at_once: How many answers are worth asking for at the same time.
    """

    at_once: int

    def count_tokens(self, segments: Sequence[PromptSegment]) -> int:
        """Return how many positions the prompt takes, the beginning-of-text token included."""
        ...

    def new_memory(self) -> object | None:
        """Return what keeps one conversation's earlier turns, to be passed to :meth:`stream`.

        It is freed when it is dropped. None if the engine keeps nothing, or keeps it elsewhere.
        """
        ...

    def stream(
        self,
        segments: Sequence[PromptSegment],
        decoding: Decoding,
        stops: Sequence[str] = (),
        cancel: threading.Event | None = None,
        memory: object | None = None,
    ) -> Generator[str, None, np.ndarray]:
        """Yield the answer in pieces; the generator's return value is the new token ids ``[n]``.

        The pieces hold no special token, no stop string and no part of one. Setting ``cancel``,
        or closing the generator, ends generation within one token. An error during generation
        is raised to the reader. With the ``memory`` of the conversation, which one answer at a
        time may use, only what the prompt has in addition to earlier turns is computed.
        """
        ...

    def draw(
        self,
        segments: Sequence[PromptSegment],
        decoding: Decoding,
        seeds: Sequence[int],
        stops: Sequence[str] = (),
        cancel: threading.Event | None = None,
    ) -> Iterator[tuple[int, str]]:
        """Yield (number, text) of independent answers, one for each seed, as they are finished.

        The prompt is computed once for all. ``decoding.seed`` is not used. Setting ``cancel``,
        or closing the iterator, ends all within one token; unfinished answers are left out.

        Raises:
            ChatError: If ``decoding`` asks for several beams.
        """
        ...

    def log_likelihoods(
        self, prompts: Sequence[Sequence[PromptSegment]], answer: str
    ) -> np.ndarray:
        """Return how likely the same answer is after each prompt.

        Args:
            prompts: Each ends with text.
            answer: What follows that text, exactly as it is written on.

        Returns:
            Mean log-probability of the answer's tokens, natural logarithm, ``[n]``.

        Raises:
            ChatError: If the engine cannot tell.
        """
        ...


class TextCutter:
    """Cuts a growing text into pieces that later text cannot change."""

    def __init__(self, stops: Sequence[str]) -> None:
        self.stops = stops
        self._shown = 0

    def cut(self, text: str) -> str:
        """Return what became certain since the last call; ``text`` is all text so far."""
        piece = self._certain(text)[self._shown :]
        self._shown += len(piece)
        return piece

    def _certain(self, text: str) -> str:
        """Drop the stop string and what follows, and an end that may still become one.

        So do white space around the answer and bytes that are no whole character yet.
        """
        for stop in self.stops:
            text = text.partition(stop)[0]
        text = text.rstrip(REPLACEMENT_CHARACTER)
        held_back = max((_overlap(text, stop) for stop in self.stops), default=0)
        return text[: len(text) - held_back].strip()


def _overlap(text: str, stop: str) -> int:
    """Return the length of the longest end of ``text`` that begins ``stop``."""
    lengths = range(min(len(stop) - 1, len(text)), 0, -1)
    return next((n for n in lengths if text.endswith(stop[:n])), 0)
