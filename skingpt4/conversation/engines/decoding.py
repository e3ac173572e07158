"""How the next token is drawn, and what ends an answer."""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from skingpt4.conversation.engines.base import Decoding

# A character takes at most this many tokens (the bytes of its UTF-8 form).
TOKENS_PER_CHARACTER = 4


def sampling(
    decoding: "Decoding", seeds: Sequence[int | None], device: torch.device
) -> LogitsProcessorList:
    """Return what shapes the scores before one is chosen; nothing when decoding is greedy.

    Args:
        decoding: Temperature, top-k and top-p; its ``seed`` is not used.
        seeds: One for each row; a single one for all rows, as the beams of one answer take it.
        device: Where the scores are.
    """
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
    chain.append(GumbelNoise(seeds, device))
    return chain


class GumbelNoise(LogitsProcessor):
    """Turns greedy choice into sampling: argmax(log p + Gumbel noise) is distributed as p.

    Each seed has a generator of its own, so it repeats an answer whatever other rows and other
    conversations do meanwhile, and nobody's global random state is touched.
    """

    def __init__(self, seeds: Sequence[int | None], device: torch.device) -> None:
        self.generators = [torch.Generator(device) for _ in seeds]
        for generator, seed in zip(self.generators, seeds, strict=True):
            if seed is None:
                generator.seed()
            else:
                generator.manual_seed(seed)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return the scores ``[B, V]`` with noise."""
        noise = torch.empty_like(scores)
        # Views: one row for each generator, or all rows (beams) for the only one.
        for rows, generator in zip(
            noise.tensor_split(len(self.generators)), self.generators, strict=True
        ):
            rows.exponential_(generator=generator)
        # -log of an exponential variable is Gumbel noise; 0 would become infinite.
        return scores - noise.clamp(min=torch.finfo(noise.dtype).tiny).log()


class CancelStop(StoppingCriteria):
    """Ends every row once nobody wants the answer any more."""

    def __init__(self, ended: Callable[[], bool]) -> None:
        self.ended = ended

    def __call__(self, input_ids: Tensor, scores: object, **kwargs: object) -> Tensor:
        """Tell which rows ``[B]`` end: all or none."""
        return torch.full((len(input_ids),), self.ended(), device=input_ids.device)


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
        end_ids: Sequence[int],
        rows: int,
        on_end: Callable[[int, list[int]], None] = lambda row, ids: None,
    ) -> None:
        self.text_stop = text_stop
        self.end_ids = torch.tensor(end_ids, dtype=torch.long)
        self.on_end = on_end
        self.lengths: list[int | None] = [None] * rows
        self.seconds: list[float] = []
        self._start = time.perf_counter()

    def __call__(self, input_ids: Tensor, scores: object, **kwargs: object) -> Tensor:
        """Tell which rows ``[B]`` end at a stop string, given all new ids ``[B, L]``."""
        stopped = self.text_stop(input_ids, scores)
        ended = stopped | torch.isin(input_ids[:, -1], self.end_ids.to(input_ids.device))
        self.seconds.append(time.perf_counter() - self._start)
        for row in ended.nonzero().flatten().tolist():
            # A row that has ended is padded, often with its end token, until the last one ends.
            if self.lengths[row] is None:
                self.lengths[row] = input_ids.shape[1]
                self.on_end(row, input_ids[row].tolist())
        return stopped
