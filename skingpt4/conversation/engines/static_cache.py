"""Room of a fixed size for keys and values, which lets the decoding step be compiled once.

A compiled step (and the CUDA graph it becomes) belongs to the memory that it was recorded with. So
every answer is decoded in the same few static caches: what a conversation has kept is copied in
before and out after, at the speed of memory.
"""

from typing import cast

from torch import Tensor
from transformers import Cache, DynamicCache, PreTrainedModel
from transformers.cache_utils import StaticLayer

# Static attention reads its whole room at every step, so short conversations get a small one.
SMALLEST = 512


class StaticRooms:
    """Static caches of 512, 1024, 2048 … rows, each made when it is first needed.

    Args:
        llm: The language model whose keys and values they hold.
    """

    def __init__(self, llm: PreTrainedModel) -> None:
        self._layers: int = llm.config.get_text_config().num_hidden_layers
        self._rooms: dict[int, Cache] = {}

    def enter(self, kept: DynamicCache, rows: int) -> Cache:
        """Return a cache with room for so many rows, holding a copy of those kept."""
        size = SMALLEST
        while size < rows:
            size *= 2
        if size not in self._rooms:
            # Full attention layers for every family: a sliding window is kept by the mask.
            self._rooms[size] = Cache(layers=[StaticLayer(size) for _ in range(self._layers)])
        room = self._rooms[size]
        room.reset()
        if kept.get_seq_length():
            for number, (keys, values, *_) in enumerate(kept):
                room.update(keys, values, number)
        return room

    def leave(self, room: Cache, rows: int) -> DynamicCache:
        """Return a copy of the first rows, and leave nothing of the conversation behind."""
        kept = DynamicCache()
        for number, layer in enumerate(cast(list[StaticLayer], room.layers)):
            keys, values = cast(Tensor, layer.keys), cast(Tensor, layer.values)
            kept.update(keys[:, :, :rows].clone(), values[:, :, :rows].clone(), number)
        room.reset()
        return kept
