"""How the next token is drawn, and what ends an answer."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
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
    generators = [torch.Generator(device) for _ in seeds]
    for generator, seed in zip(generators, seeds, strict=True):
        generator.seed() if seed is None else generator.manual_seed(seed)
    chain.append(GumbelNoise(generators))
    return chain


@dataclass(eq=False)
class GumbelNoise(LogitsProcessor):
    """Turns greedy choice into sampling: argmax(log p + Gumbel noise) is distributed as p.

    Each row has a generator of its own, so its seed repeats an answer whatever other rows and
    other conversations do meanwhile, and nobody's global random state is touched.

    Attributes:
        generators: One for each row, or a single one for all (the beams of one answer).
    """

    generators: Sequence[torch.Generator]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return the scores ``[B, V]`` with noise."""
        noise = torch.empty_like(scores)
        parts = noise.tensor_split(len(self.generators))  # views that are filled in place
        for rows, generator in zip(parts, self.generators, strict=True):
            rows.exponential_(generator=generator)
        # -log of an exponential variable is Gumbel noise; 0 would become infinite.
        return scores - noise.clamp(min=torch.finfo(noise.dtype).tiny).log()


@dataclass(eq=False)
class StreamStop(StoppingCriteria):
    """Hands each new token to the reader, and ends every row once nobody reads any more.

    Attributes:
        ended: Tells whether nobody does.
        put: Takes the new token's id, of the first row; None to hand nothing on.
    """

    ended: Callable[[], bool]
    put: Callable[[list[int]], None] | None = None

    def __call__(self, input_ids: Tensor, scores: object, **kwargs: object) -> Tensor:
        """Tell which rows ``[B]`` end, all or none, given all new ids ``[B, L]``."""
        if self.put:
            self.put(input_ids[0, -1:].tolist())
        return torch.full((len(input_ids),), self.ended(), device=input_ids.device)


@dataclass(eq=False)
class TextStop(StoppingCriteria):
    """Ends each row whose text has a stop string, whatever tokens it was written with.

    Attributes:
        tokenizer: Reads the rows.
        stops: The stop strings.
    """

    tokenizer: PreTrainedTokenizerBase
    stops: Sequence[str]

    def __call__(self, input_ids: Tensor, scores: object, **kwargs: object) -> Tensor:
        """Tell which rows ``[B]`` end, given all new ids ``[B, L]``."""
        # The text's end is enough, because a row that had a stop string before has ended. It is
        # one character longer than the longest stop, for it may begin within a character.
        length = TOKENS_PER_CHARACTER * (1 + max(map(len, self.stops), default=0))
        tails = self.tokenizer.batch_decode(
            input_ids[:, -length:], clean_up_tokenization_spaces=False
        )
        found = [any(stop in tail for stop in self.stops) for tail in tails]
        return torch.tensor(found, device=input_ids.device)


@dataclass(eq=False)
class RowWatch(StoppingCriteria):
    """Ends rows at a stop string, and notes when and how long each row became.

    Attributes:
        text_stop: Finds the stop strings.
        end_ids: Tokens that end a row.
        on_end: Told the number and the token ids of each row that ends so.
        lengths: Tokens of each row that has ended, by its number.
        seconds: When each step was done, counted from the start.
    """

    text_stop: TextStop
    end_ids: Sequence[int]
    on_end: Callable[[int, list[int]], None] = lambda row, ids: None
    lengths: dict[int, int] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    start: float = field(default_factory=time.perf_counter)

    def __call__(self, input_ids: Tensor, scores: object, **kwargs: object) -> Tensor:
        """Tell which rows ``[B]`` end at a stop string, given all new ids ``[B, L]``."""
        stopped = self.text_stop(input_ids, scores)
        end_ids = torch.tensor(self.end_ids, dtype=torch.long, device=input_ids.device)
        ended = stopped | torch.isin(input_ids[:, -1], end_ids)
        self.seconds.append(time.perf_counter() - self.start)
        for row in ended.nonzero().flatten().tolist():
            # A row that has ended is padded, often with its end token, until the last one ends.
            if row not in self.lengths:
                self.lengths[row] = input_ids.shape[1]
                self.on_end(row, input_ids[row].tolist())
        # End tokens end a row by themselves.
        return stopped
