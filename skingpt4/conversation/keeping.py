"""What a chat keeps for each conversation, for as long as somebody holds the conversation."""

import hashlib
import threading
import weakref
from dataclasses import dataclass, field

from torch import Tensor

from skingpt4.conversation.conversation import Conversation

# Photos of one conversation whose embeddings are kept, and conversations whose earlier turns the
# engine keeps (of each, Llama-2-13B holds 0.8 GB per 1,000 tokens); the oldest go first.
MAX_PHOTOS = 32
MAX_MEMORIES = 8


@dataclass
class Kept:
    """What is kept of one conversation.

    Attributes:
        memory: The engine's memory of earlier turns.
        photos: Embeddings by the photo's content.
    """

    memory: object | None = None
    photos: dict[bytes, Tensor] = field(default_factory=dict)

    def add_photo(self, key: bytes, embeddings: Tensor) -> None:
        """Keep a photo's embeddings, in the place of the oldest where there are too many."""
        if len(self.photos) >= MAX_PHOTOS:
            del self.photos[next(iter(self.photos))]
        self.photos[key] = embeddings


class Keeper:
    """Finds what is kept of a conversation, and drops it with the conversation.

    Conversations are told apart as objects, whatever they say.
    """

    def __init__(self) -> None:
        self._kept: dict[int, Kept] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return how many conversations something is kept of."""
        return len(self._kept)

    def of(self, conv: Conversation) -> Kept:
        """Return what is kept of a conversation, nothing yet if it is new."""
        with self._lock:
            if id(conv) not in self._kept:
                self._kept[id(conv)] = Kept()
                # Without the lock, which the thread that drops the conversation may hold.
                weakref.finalize(conv, self._kept.pop, id(conv), None)
            return self._kept[id(conv)]

    def take_memory(self, conv: Conversation) -> object | None:
        """Return the engine's memory and leave none: only one answer at a time may use it."""
        kept = self.of(conv)
        memory, kept.memory = kept.memory, None
        return memory

    def keep_memory(self, conv: Conversation, memory: object | None) -> None:
        """Keep the engine's memory, unless the conversation was forgotten meanwhile."""
        with self._lock:
            kept = self._kept.pop(id(conv), None)
            if kept is None:
                return
            kept.memory = memory
            self._kept[id(conv)] = kept  # the most recent comes last
            holders = [other for other in list(self._kept.values()) if other.memory is not None]
            for oldest in holders[:-MAX_MEMORIES]:
                oldest.memory = None

    def forget(self, conv: Conversation) -> None:
        """Drop all that is kept of a conversation."""
        with self._lock:
            self._kept.pop(id(conv), None)


def content_hash(pixels: Tensor) -> bytes:
    """Return what tells a photo's pixels ``[1, 3, H, W]`` from others."""
    digest = hashlib.sha256(repr((pixels.dtype, tuple(pixels.shape))).encode())
    digest.update(pixels.detach().cpu().contiguous().numpy().tobytes())
    return digest.digest()
