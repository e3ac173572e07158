"""Which rows of which conversations llama.cpp's context holds, and how it takes in more."""

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count

import numpy as np

from skingpt4.conversation.engines.llama_cpp_runtime import LlamaRuntime, Row, chunks

# How many conversations keep their rows; another one takes the place of the longest unused.
CONVERSATIONS = 16
# Answers to one question that are drawn in step with each other.
DRAWS = 16


class Stopped(Exception):  # noqa: N818 - nothing went wrong
    """Somebody ended the work in progress."""


@dataclass(eq=False)
class Memory:
    """What the context holds of one conversation; once dropped, the next answer clears that.

    Attributes:
        rows: Its first rows, whose keys and values the context has.
        sequence: llama.cpp's number for it.
        used: When it was claimed last.
    """

    rows: list[Row] = field(default_factory=list)
    sequence: int = -1
    used: int = -1


class SequenceCache:
    """Gives each conversation a sequence of the context, as long as there is room.

    Args:
        runtime: With :data:`CONVERSATIONS` + :data:`DRAWS` sequences.
    """

    def __init__(self, runtime: LlamaRuntime) -> None:
        self.runtime = runtime
        self._seated: weakref.WeakSet[Memory] = weakref.WeakSet()
        self._taken: set[int] = set()
        self._clock = count()

    @contextmanager
    def holding(self, memory: Memory, rows: Sequence[Row], room: int) -> Iterator[None]:
        """Keep what the context has of a prompt, and make room for the rest and the answer.

        What another conversation has of it is shared. Conversations that were not used for the
        longest time give way. :class:`Stopped` ends the block; after any other exception nothing
        is known of the conversation's rows, and they are let go.

        Args:
            memory: The conversation's; its rows are cut to what the prompt begins with.
            rows: The prompt; at least its last row is left to be taken in.
            room: How many rows may follow the prompt.
        """
        try:
            self._claim(memory, rows[:-1])
            self._make_room(memory, len(rows) + room)
            yield
        except Stopped:
            pass
        except BaseException:
            self._forget(memory)
            raise

    def feed(
        self, memory: Memory, rows: Sequence[Row], ended: Callable[[], bool], wanted: int = 1
    ) -> np.ndarray:
        """Take rows in after those that a conversation has.

        Args:
            memory: The conversation's, held.
            rows: What comes next.
            ended: Asked between chunks whether somebody ended the work.
            wanted: After how many of the last rows the scores are wanted.

        Returns:
            The scores of what follows these rows, ``[wanted, vocabulary]``.

        Raises:
            ChatError: If llama.cpp fails.
            Stopped: If the work was ended.
        """
        scores: list[np.ndarray] = []
        left = len(rows)
        for chunk in chunks(rows):
            if ended():
                raise Stopped
            start, size = len(memory.rows), len(chunk)
            is_wanted = [left - i <= wanted for i in range(size)]
            positions = range(start, start + size)
            sequences = [memory.sequence] * size
            scores.extend(self.runtime.decode(chunk, positions, sequences, is_wanted))
            memory.rows += chunk
            left -= size
        return np.stack(scores)

    @contextmanager
    def branches(self, memory: Memory, number: int) -> Iterator[list[int]]:
        """Let sequences begin with all rows of a conversation, and give their numbers."""
        sequences = list(range(CONVERSATIONS, CONVERSATIONS + number))
        try:
            for sequence in sequences:
                self.runtime.share(memory.sequence, sequence, len(memory.rows))
            yield sequences
        finally:
            for sequence in sequences:
                self.runtime.crop(sequence, 0)

    def extend(self, memory: Memory, branches: Mapping[int, Sequence[int]]) -> np.ndarray:
        """Take the latest token of each branch in; return the scores of the next.

        Args:
            memory: What the branches began with.
            branches: Each one's tokens so far, by sequence.

        Returns:
            ``[branches, vocabulary]``, in the order of the branches.

        Raises:
            ChatError: If llama.cpp fails.
        """
        if not branches:
            return np.empty((0, 0))
        latest = [len(memory.rows) + len(ids) - 1 for ids in branches.values()]
        tokens = [ids[-1] for ids in branches.values()]
        return self.runtime.decode(tokens, latest, list(branches), [True] * len(branches))

    def _claim(self, memory: Memory, rows: Sequence[Row]) -> None:
        """Give a conversation a sequence that holds as many of the rows as are to be had."""
        self._clear_dropped()
        self._seat(memory)
        memory.used = next(self._clock)
        best = max(self._seated, key=lambda other: (_common(other.rows, rows), other.used))
        kept = _common(best.rows, rows)
        if best is not memory:
            self.runtime.crop(memory.sequence, 0)
            self.runtime.share(best.sequence, memory.sequence, kept)
        elif not self.runtime.crop(memory.sequence, kept):
            self.runtime.crop(memory.sequence, 0)
            kept = 0
        memory.rows = list(rows[:kept])

    def _clear_dropped(self) -> None:
        """Empty the sequences of conversations that no longer are."""
        for sequence in self._taken - {memory.sequence for memory in self._seated}:
            self.runtime.crop(sequence, 0)
            self._taken.discard(sequence)

    def _seat(self, memory: Memory) -> None:
        if memory in self._seated:
            return
        if len(self._taken) == CONVERSATIONS:
            self._forget(min(self._seated, key=lambda other: other.used))
        memory.sequence = min(set(range(CONVERSATIONS)) - self._taken)
        self._taken.add(memory.sequence)
        self._seated.add(memory)

    def _make_room(self, memory: Memory, needed: int) -> None:
        others = sorted(self._seated - {memory}, key=lambda other: other.used)
        while others and sum(len(o.rows) for o in others) + needed > self.runtime.positions:
            self._forget(others.pop(0))

    def _forget(self, memory: Memory) -> None:
        if memory in self._seated:
            self.runtime.crop(memory.sequence, 0)
            self._seated.discard(memory)
            self._taken.discard(memory.sequence)
        memory.rows = []


def _common(left: Sequence[Row], right: Sequence[Row]) -> int:
    """Return how many rows two prompts have in common at their beginning."""
    pairs = enumerate(zip(left, right, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(left), len(right)))
