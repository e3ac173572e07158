"""How the next token is drawn: temperature, top-k and top-p, then noise."""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
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
