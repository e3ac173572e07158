"""How the next token is drawn: temperature, top-k and top-p, then noise."""

import threading
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from skingpt4.conversation.engines.base import Decoding


class GumbelNoise(LogitsProcessor):
    """Turns greedy choice into sampling: argmax(log p + Gumbel noise) is distributed as p.

    The noise comes from a generator of its own, so a seed repeats an answer whatever other
    conversations do meanwhile, and nobody's global random state is touched.
    """

    def __init__(self, seed: int | None, device: torch.device) -> None:
        self.generator = torch.Generator(device)
        if seed is None:
            self.generator.seed()
        else:
            self.generator.manual_seed(seed)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return the scores ``[B, V]`` with noise."""
        noise = torch.empty_like(scores).exponential_(generator=self.generator)
        return scores - noise.clamp(min=torch.finfo(noise.dtype).tiny).log()


def sampling(decoding: Decoding, device: torch.device) -> LogitsProcessorList:
    """Return what shapes the scores before one is chosen; nothing when decoding is greedy."""
    chain = _warpers(decoding)
    if decoding.temperature:
        chain.append(GumbelNoise(decoding.seed, device))
    return chain


def row_sampling(
    decoding: Decoding, seeds: Sequence[int | None], device: torch.device
) -> LogitsProcessorList:
    """Return the same for several rows, each with noise from its own seed."""
    chain = _warpers(decoding)
    if decoding.temperature:
        chain.append(_RowNoise([GumbelNoise(seed, device) for seed in seeds]))
    return chain


def _warpers(decoding: Decoding) -> LogitsProcessorList:
    """Return what shapes each row's scores by itself alone, before noise is added."""
    chain = LogitsProcessorList()
    if decoding.temperature == 0:
        return chain
    # A beam needs a second candidate beside the end token.
    keep = 1 if decoding.num_beams == 1 else 2
    chain.append(TemperatureLogitsWarper(float(decoding.temperature)))
    if decoding.top_k:
        chain.append(TopKLogitsWarper(decoding.top_k, min_tokens_to_keep=keep))
    if decoding.top_p < 1:
        chain.append(TopPLogitsWarper(float(decoding.top_p), min_tokens_to_keep=keep))
    return chain


class _RowNoise(LogitsProcessor):
    """Adds to each row's scores the row's own noise."""

    def __init__(self, noises: Sequence[GumbelNoise]) -> None:
        self.noises = noises

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        rows = zip(self.noises, scores.split(1), strict=True)
        return torch.cat([noise(input_ids, row) for noise, row in rows])


# A character takes at most this many tokens (the bytes of its UTF-8 form).
TOKENS_PER_CHARACTER = 4


class EventStop(StoppingCriteria):
    """Ends every row once one of the events is set."""

    def __init__(self, events: Sequence[threading.Event]) -> None:
        self.events = events

    def __call__(self, input_ids: Tensor, scores: object, **kwargs: object) -> Tensor:
        """Tell which rows ``[B]`` end: all or none."""
        stopped = any(event.is_set() for event in self.events)
        return torch.full((len(input_ids),), stopped, device=input_ids.device)


class TextStop(StoppingCriteria):
    """Ends each row whose text has a stop string, whatever tokens it was written with.

    Searching the text's end is enough, because a row that had one before has ended.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stops: Sequence[str]) -> None:
        self.tokenizer = tokenizer
        self.stops = stops
        self.length = TOKENS_PER_CHARACTER * (1 + max(map(len, stops), default=0))

    def __call__(self, input_ids: Tensor, scores: object, **kwargs: object) -> Tensor:
        """Tell which rows ``[B]`` end, given all new ids ``[B, L]``."""
        tails = self.tokenizer.batch_decode(
            input_ids[:, -self.length :], clean_up_tokenization_spaces=False
        )
        found = [any(stop in tail for stop in self.stops) for tail in tails]
        return torch.tensor(found, device=input_ids.device)


class RowWatch(StoppingCriteria):
    """Ends rows at a stop string, and notes when and how long each row became.

    Args:
        text_stop: Finds the stop strings.
        end_ids: Tokens that end a row.
        rows: How many rows there are.
        on_end: Told the number and the token ids of each row that ends so.

    Attributes:
        lengths: Tokens of each row until its end; None while it has not ended.
        seconds: When each step was done, counted from the start.
    """

    def __init__(
        self,
        text_stop: TextStop,
        end_ids: int | list[int],
        rows: int,
        on_end: Callable[[int, list[int]], None] = lambda row, ids: None,
    ) -> None:
        self.text_stop = text_stop
        self.end_ids = torch.tensor([end_ids]).flatten()
        self.on_end = on_end
        self.lengths: list[int | None] = [None] * rows
        self.seconds: list[float] = []
        self._start = time.perf_counter()

    def unended(self) -> list[int]:
        """Return the rows that neither a stop string nor an end token has ended."""
        return [row for row, length in enumerate(self.lengths) if length is None]

    def __call__(self, input_ids: Tensor, scores: object, **kwargs: object) -> Tensor:
        """Tell which rows ``[B]`` end at a stop string, given all new ids ``[B, L]``."""
        stopped = self.text_stop(input_ids, scores)
        ended = stopped | torch.isin(input_ids[:, -1], self.end_ids.to(input_ids.device))
        self.seconds.append(time.perf_counter() - self._start)
        for row in ended.nonzero().flatten().tolist():
            if self.lengths[row] is None:
                self.lengths[row] = input_ids.shape[1]
                self.on_end(row, input_ids[row].tolist())
        return stopped
