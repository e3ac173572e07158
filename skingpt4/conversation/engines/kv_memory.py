"""What the language model keeps of one conversation: the keys and values of its rows so far."""

import torch
from torch import Tensor
from transformers import DynamicCache


class KvMemory:
    """Keys and values of earlier turns, and the embeddings that they were computed from.

    A new prompt reuses as many of its leading rows as are bit for bit what the cache has seen:
    texts, photos and earlier answers alike, without any bookkeeping of which is which. An answer
    that is tokenised otherwise when it is read again, or a history whose oldest turn was left out,
    just matches a shorter way.
    """

    def __init__(self) -> None:
        self._rows: Tensor | None = None
        self._cache = DynamicCache()

    def take(self, rows: Tensor) -> DynamicCache:
        """Return the cache, cut to what it shares with a prompt, and forget it.

        What takes it changes it; were generation to fail, nothing half done is left here.

        Args:
            rows: The prompt's embeddings ``[L, D]``; the last row is never shared, because
                something must be fed for the first token.
        """
        known, self._rows = self._rows, None
        cache, self._cache = self._cache, DynamicCache()
        if known is not None:
            cache.crop(shared_rows(known, rows[:-1]) - len(known))
        return cache

    def keep(self, cache: DynamicCache, rows: Tensor) -> None:
        """Keep a cache and all rows ``[n, D]`` that have gone through it."""
        self._rows = rows
        self._cache = cache


def shared_rows(one: Tensor, other: Tensor) -> int:
    """Return how many leading rows of ``[n, D]`` and ``[m, D]`` are equal."""
    length = min(len(one), len(other))
    differs = (one[:length] != other[:length]).any(dim=-1)
    return int(torch.cat([differs, differs.new_ones(1)]).byte().argmax())
