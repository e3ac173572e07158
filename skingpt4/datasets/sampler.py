"""The order in which a data set is trained on: a function of the seed and the batch's number.

Nothing of it has to be saved but how many batches were given, whatever loads them.
"""

import itertools
import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from torch.utils.data import Sampler

from skingpt4.common.seeding import derive_seed

BATCHES_SORTED = 50
"""Sorting so many batches at a time groups lengths well and still mixes the samples."""


class Draw(NamedTuple):
    """One sample of one pass: its row, and the seed of everything random about it."""

    row: int
    seed: int


class EndlessOrder(Sampler[list[Draw]]):
    """One process's batches, pass after pass; each pass has an order of its own.

    All processes cut the same order: together they take ``batch_size * world`` samples at a time,
    as one process with so large a batch would. A last short batch is dropped, as upstream does,
    unless it is the only one: upstream would then silently train on nothing.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        start: int = 0,
        lengths: Sequence[int] | None = None,
    ) -> None:
        """Describe the order; ``start`` is how many batches were given before.

        Args:
            size: Samples of the data set.
            batch_size: Samples a batch of one process.
            seed: Fixes the orders and the samples' seeds.
            rank: This process.
            world: How many processes share the data set.
            start: Batches to leave out.
            lengths: Of each sample, to put such of like length together; None for no matter.
        """
        self.size, self.batch_size, self.seed = size, batch_size, seed
        self.rank, self.world, self.start = rank, world, start
        self.lengths = lengths

    def __len__(self) -> int:
        """Return the batches of one pass."""
        return max(1, self.size // (self.batch_size * self.world))

    def __iter__(self) -> Iterator[list[Draw]]:
        """Yield batches without end."""
        first, given = divmod(self.start, len(self))
        for number in itertools.count(first):
            order = self.order(number)
            for batch in range(given, len(self)):
                yield [
                    Draw(row, derive_seed(self.seed, number, row))
                    for row in self._share(order, batch)
                ]
            given = 0

    def order(self, number: int) -> list[int]:
        """Return the rows in the order of pass ``number``."""
        rows = list(range(self.size))
        rng = random.Random(derive_seed(self.seed, number))
        rng.shuffle(rows)
        return rows if self.lengths is None else self._grouped(rows, self.lengths, rng)

    def _grouped(self, rows: list[int], lengths: Sequence[int], rng: random.Random) -> list[int]:
        """Sort rows by length within chunks of some batches, and shuffle the batches."""
        whole = self.batch_size * self.world
        chunk = whole * BATCHES_SORTED
        pieces = (rows[start : start + chunk] for start in range(0, len(rows), chunk))
        ordered = [row for piece in pieces for row in sorted(piece, key=lengths.__getitem__)]
        used = len(self) * whole
        batches = [ordered[start : start + whole] for start in range(0, used, whole)]
        rng.shuffle(batches)
        return [row for batch in batches for row in batch]

    def _share(self, order: list[int], batch: int) -> list[int]:
        """Return this process's part of a batch; where rows do not suffice, some come twice."""
        whole = self.batch_size * self.world
        rows = order[batch * whole : (batch + 1) * whole]
        share = -(-len(rows) // self.world)
        return list(
            itertools.islice(itertools.cycle(rows), self.rank * share, (self.rank + 1) * share)
        )
