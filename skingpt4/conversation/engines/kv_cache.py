"""What the language model keeps of a conversation: the keys and values of its rows so far."""

from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor
from transformers import Cache, DynamicCache, PreTrainedModel
from transformers.cache_utils import StaticLayer

# Static attention reads its whole cache at every step, so short conversations get a small one.
SMALLEST = 512


@dataclass(eq=False)
class KvMemory:
    """Keys and values of earlier turns, and the embeddings that they were computed from.

    A new prompt reuses as many of its leading rows as are bit for bit what the cache has seen:
    texts, photos and earlier answers alike, without any bookkeeping of which is which. An answer
    that is tokenised otherwise when it is read again, or a history whose oldest turn was left out,
    just matches a shorter way.
    """

    _rows: Tensor | None = None
    _cache: DynamicCache = field(default_factory=DynamicCache)

    def take(self, rows: Tensor) -> DynamicCache:
        """Return the cache, cut to what it shares with a prompt, and forget it.

        Generation changes the cache in place; were it to fail, nothing half done is left here.

        Args:
            rows: The prompt's embeddings ``[L, D]``; the last row is never shared, because
                something must be fed for the first token.
        """
        known, self._rows = self._rows, None
        cache, self._cache = self._cache, DynamicCache()
        if known is not None:
            length = min(len(known), len(rows) - 1)
            differs = (known[:length] != rows[:length]).any(dim=-1)  # [length]
            # The first row that differs; the appended 1 is found where none does.
            shared = int(torch.cat([differs, differs.new_ones(1)]).byte().argmax())
            cache.crop(shared - len(known))  # a negative number crops from the end
        return cache

    def keep(self, cache: DynamicCache, rows: Tensor) -> None:
        """Keep a cache and all rows ``[n, D]`` that have gone through it."""
        self._rows = rows
        self._cache = cache


@dataclass(eq=False)
class StaticCachePool:
    """Static caches of 512, 1024, 2048 … rows, each made when it is first needed.

    A compiled step is compiled for one cache's addresses and shapes, so all conversations use the
    same few.

    Attributes:
        llm: The language model whose keys and values they hold.
        caches: By the number of their rows.
    """

    llm: PreTrainedModel
    caches: dict[int, Cache] = field(default_factory=dict)

    def acquire(self, kept: DynamicCache, rows: int) -> Cache:
        """Return a cache with room for so many rows, holding a copy of those kept."""
        size = SMALLEST
        while size < rows:
            size *= 2
        if size not in self.caches:
            # Full attention layers for every family: a sliding window is kept by the mask.
            layers = self.llm.config.get_text_config().num_hidden_layers
            self.caches[size] = Cache(layers=[StaticLayer(size) for _ in range(layers)])
        cache = self.caches[size]
        cache.reset()
        if kept.get_seq_length():
            for number, (keys, values, *_) in enumerate(kept):
                cache.update(keys, values, number)
        return cache

    def release(self, cache: Cache, rows: int) -> DynamicCache:
        """Return a copy of the first rows, and leave nothing of the conversation behind."""
        kept = DynamicCache()
        for number, layer in enumerate(cast(list[StaticLayer], cache.layers)):
            # [1, heads, size, head width]
            keys, values = cast(Tensor, layer.keys), cast(Tensor, layer.values)
            kept.update(keys[:, :, :rows].clone(), values[:, :, :rows].clone(), number)
        cache.reset()
        return kept
