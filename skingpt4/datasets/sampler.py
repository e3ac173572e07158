"""Which samples a data set is trained on, and when: a function of the seed and the batch's number.

Nothing of it has to be saved but how many batches were given, whatever loads them.
"""

import itertools
import random
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from torch.utils.data import Dataset, Sampler

from skingpt4.common.errors import DatasetError
from skingpt4.common.seeding import derive_seed, seeded

# Sorting so many batches at a time groups lengths well and still mixes the samples.
BATCHES_SORTED = 50

# So many unusable samples in a row mean that the folder, not a few photos, is bad.
REDRAWS = 10


class Draw(NamedTuple):
    """One sample of one pass: its row, and the seed of everything random about it."""

    row: int
    seed: int


class InfiniteBatchSampler(Sampler[list[Draw]]):
    """One process's batches, pass after pass; each pass has an order of its own.

    All processes cut the same order: together they take ``batch_size * world`` samples at a time,
    as one process with so large a batch would. A last short batch is dropped, as upstream does,
    unless it is the only one: upstream would then silently train on nothing.

    Args:
        size: Samples of the data set.
        batch_size: Samples a batch of one process.
        seed: Fixes the orders and the samples' seeds.
        rank: This process.
        world: How many processes share the data set.
        start: Batches given before, which are left out.
        lengths: Of each sample, to put samples of like length in one batch; None mixes them.
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
        self.size, self.batch_size, self.seed = size, batch_size, seed
        self.rank, self.world, self.start = rank, world, start
        self.lengths = lengths

    def __len__(self) -> int:
        """Return the batches of one pass."""
        return max(1, self.size // (self.batch_size * self.world))

    def __iter__(self) -> Iterator[list[Draw]]:
        """Yield batches without end."""
        together = self.batch_size * self.world
        first, given = divmod(self.start, len(self))  # whole passes, batches of the next
        for number in itertools.count(first):
            order = self.order(number)
            for batch in range(given, len(self)):
                rows = order[batch * together : (batch + 1) * together]
                # Each process takes its slice of what all take together.
                # Where rows do not suffice for all processes, some come twice.
                share = -(-len(rows) // self.world)
                begin = self.rank * share
                own = itertools.islice(itertools.cycle(rows), begin, begin + share)
                yield [Draw(row, derive_seed(self.seed, number, row)) for row in own]
            given = 0

    def order(self, number: int) -> list[int]:
        """Return the rows in the order of pass ``number``."""
        rows = list(range(self.size))
        rng = random.Random(derive_seed(self.seed, number))
        rng.shuffle(rows)
        if self.lengths is None:
            return rows
        # Sorted within chunks of some batches, so that little is padded; then the batches are
        # shuffled, so that lengths do not rise and fall over a pass.
        together = self.batch_size * self.world
        chunk = together * BATCHES_SORTED
        pieces = (rows[start : start + chunk] for start in range(0, len(rows), chunk))
        ordered = [row for piece in pieces for row in sorted(piece, key=self.lengths.__getitem__)]
        used = range(0, len(self) * together, together)
        batches = [ordered[start : start + together] for start in used]
        rng.shuffle(batches)
        return [row for batch in batches for row in batch]


class ResampleOnError(Dataset[dict[str, Any]]):
    """Samples by :class:`Draw`; another takes the place of one that cannot be used.

    The sample says under ``rejected`` how many were passed over.
    """

    def __init__(self, dataset: Dataset[dict[str, Any]], size: int) -> None:
        self.dataset, self.size = dataset, size

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        """Return a usable sample.

        Raises:
            DatasetError: If several in a row are unusable.
        """
        row = draw.row
        for rejected in range(REDRAWS):
            try:
                # Augmentations follow from the draw, whichever process loads it.
                with seeded(draw.seed, rejected):
                    return self.dataset[row] | {"rejected": rejected}
            except DatasetError as error:
                reason = error
            # Not the next row: neighbours are often of one source, and damaged together.
            row = random.Random(derive_seed(draw.seed, rejected)).randrange(self.size)
        raise DatasetError(f"{REDRAWS} samples in a row could not be used; the last: {reason}")
