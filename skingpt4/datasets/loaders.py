"""Batches without end that go on exactly where they stood, and the mix of several data sets.

Which samples are drawn, and every augmentation, is a function of the seed and the batch's number: a
position of a few numbers is all that a resumed run needs, whatever loads the batches.
"""

import itertools
import random
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from skingpt4.common.errors import ConfigError, DatasetError
from skingpt4.common.seeding import derive_seed, seeded
from skingpt4.datasets.image_text import Sample
from skingpt4.datasets.shards import ShardDataset

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


Batch = dict[str, Any]

Encode = Callable[[Batch, int], dict[str, Tensor]]

# Keys that are tensors of one shape; all others are listed.
STACKED = ("image", "features")

# How long a loading process outlives a signal: enough to finish a step.
GRACE_SECONDS = 30

# So few unusable samples never stop a run, however short it has been.
FREE_REJECTS = 10


@dataclass
class Collate:
    """Puts samples together and encodes their texts, in the process that loads them.

    Photos are stacked to ``[B, 3, H, W]`` and features to ``[B, N, C]``; every other key is listed.

    Attributes:
        encode: Given a batch and its number in the run, returns tensors to add; None adds none.
        first: Number of the first batch.
    """

    encode: Encode | None = None
    first: int = 0

    def __call__(self, samples: Sequence[Sample]) -> Batch:
        """Put one batch together."""
        # Samples of one data set have the same keys; a batch never mixes two sets.
        batch: Batch = {key: [sample[key] for sample in samples] for key in samples[0]}
        batch |= {key: torch.stack(batch[key]) for key in STACKED if key in batch}
        if self.encode is None:
            return batch
        # Workers give batches in turn and each has a copy of this: it sees every nth batch.
        worker = get_worker_info()
        offset, step = (worker.id, worker.num_workers) if worker else (0, 1)
        number, self.first = self.first + offset, self.first + step
        return batch | self.encode(batch, number)


class TrainLoader:
    """Endless training batches of one data set in one process.

    Args:
        dataset: By row, or shards.
        batch_size: Samples a batch of one process.
        num_workers: Loading processes; 0 loads in this one.
        seed: Fixes orders and augmentations.
        rank: This process.
        world: How many processes share the data set.
        reject_share: More unusable samples than this share of those drawn end the run.
        group_by_length: Put answers of like length in one batch; shards cannot be grouped.
        encode: Makes tensors of a batch's texts, in the loading processes; see :class:`Collate`.

    Attributes:
        given: Batches given so far, by this and earlier processes of the same run.
        batches_a_pass: Batches of one pass over the data; None where the data have no end.
        rejected: Unusable samples so far.
    """

    def __init__(
        self,
        dataset: Dataset[Sample],
        batch_size: int,
        num_workers: int = 0,
        seed: int = 42,
        rank: int = 0,
        world: int = 1,
        reject_share: float = 1.0,
        group_by_length: bool = False,
        encode: Encode | None = None,
    ) -> None:
        size = len(dataset) if isinstance(dataset, Sized) else None
        if size == 0:
            raise DatasetError("The data set is empty; add samples to it.")
        self.dataset, self.batch_size, self.num_workers = dataset, batch_size, num_workers
        self.seed, self.rank, self.reject_share = seed, rank, reject_share
        self.encode = encode
        self.given = self.drawn = self.rejected = 0
        # Where each stream of shards stands; a folder stands where `given` says.
        self.positions: dict[int, tuple[int, int]] = {}
        self.sampler: InfiniteBatchSampler | None = None
        if size is not None:
            lengths = getattr(dataset, "lengths", None) if group_by_length else None
            self.sampler = InfiniteBatchSampler(
                size, batch_size, seed, rank, world, lengths=lengths and lengths()
            )
        self.batches_a_pass = len(self.sampler) if self.sampler else None
        self._batches: Iterator[Batch] | None = None

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        """Return the next batch.

        Raises:
            DatasetError: If too many samples are unusable.
        """
        if self._batches is None:
            settings: dict[str, Any] = {
                "num_workers": self.num_workers,
                "collate_fn": Collate(self.encode, self.given),
                "pin_memory": torch.cuda.is_available(),
                "worker_init_fn": _outlive_signals,
                # Without one, torch draws the workers' seed from the run's own generator.
                "generator": torch.Generator().manual_seed(self.seed),
            }
            if isinstance(self.dataset, ShardDataset):
                # Workers give batches in turn: the one whose turn it is continues as the first.
                self.dataset.resume(self.rank, self.positions, self.given)
                loader = DataLoader(self.dataset, batch_size=self.batch_size, **settings)
            else:
                sampler = cast(InfiniteBatchSampler, self.sampler)
                sampler.start = self.given
                samples = ResampleOnError(self.dataset, sampler.size)
                loader = DataLoader(samples, batch_sampler=sampler, **settings)
            self._batches = iter(loader)
        try:
            batch = next(self._batches)
        except DatasetError as error:  # from a worker, torch puts a traceback before the sentence
            raise DatasetError(str(error).rpartition("DatasetError: ")[2].strip()) from error
        # Workers load ahead: only what was given counts for the position of a resumed run.
        self.given += 1
        for stream, block, place in batch.pop("position", ()):
            self.positions[stream] = (block, place)
        rejected = sum(batch.pop("rejected", ()))
        self.drawn += len(batch["dialogue"]) + rejected
        self.rejected += rejected
        # A share, since a damaged photo among thousands is no reason to stop, but half of them is.
        if self.rejected > max(FREE_REJECTS, self.reject_share * self.drawn):
            raise DatasetError(
                f"{self.rejected} of the {self.drawn} samples drawn so far could not be used, more "
                f"than run.reject_share, {self.reject_share:.0%}; `python train.py --check` names "
                "those of a folder."
            )
        return batch

    def state_dict(self) -> dict[str, Any]:
        """Return the position, as plain data."""
        return {
            "given": self.given,
            "drawn": self.drawn,
            "rejected": self.rejected,
            "positions": {stream: list(place) for stream, place in self.positions.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a position; loading starts again."""
        self.given, self.drawn, self.rejected = state["given"], state["drawn"], state["rejected"]
        # Worker processes that have loaded ahead begin again from there.
        self.positions = {stream: (b, p) for stream, (b, p) in state["positions"].items()}
        self.close()

    def close(self) -> None:
        """End the loading processes."""
        # Waiting for the iterator to be collected could take as long as an error's traceback lives.
        getattr(self._batches, "_shutdown_workers", lambda: None)()
        self._batches = None


class MultiIterLoader:
    """Endless batches, each from one of several loaders drawn by its ratio; the order is seeded.

    Without ratios, all are drawn alike. Every process of a run draws the same.
    """

    def __init__(
        self,
        loaders: Mapping[str, TrainLoader],
        ratios: Sequence[float | None] | None = None,
        seed: int = 42,
    ) -> None:
        """Check loaders and ratios.

        Args:
            loaders: By the name of the data set.
            ratios: Weight of each loader; given for all or for none.
            seed: Fixes which loader is drawn when.

        Raises:
            ConfigError: If ratios are incomplete or not above 0.
            DatasetError: If there is no loader.
        """
        if not loaders:
            raise DatasetError("There is no data set to train on; add one under 'datasets'.")
        given = [ratio for ratio in ratios or () if ratio is not None]
        if given and len(given) != len(loaders):
            raise ConfigError(
                f"{len(given)} of {len(loaders)} data sets have a sample_ratio; give one to all or "
                "to none."
            )
        if given and min(given) <= 0:
            raise ConfigError(f"A sample_ratio is {min(given)}; each must be above 0.")
        self.loaders = dict(loaders)
        self.ratios = given or [1.0] * len(loaders)
        self.seed = seed
        self.given = 0

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        """Return the next batch; the mix goes on where it stood.

        Raises:
            DatasetError: If the drawn data set cannot give one; the sentence names it.
        """
        # By the batch's number, not from a running generator: all processes draw alike, and a
        # resumed run has nothing to replay.
        rng = random.Random(derive_seed(self.seed, self.given))
        drawn = rng.choices(list(self.loaders), self.ratios)[0]
        try:
            batch = next(self.loaders[drawn])
        except DatasetError as error:
            raise DatasetError(f"Data set '{drawn}': {error}") from error
        self.given += 1
        return batch | {"dataset": drawn}

    def state_dict(self) -> dict[str, Any]:
        """Return the position of the mix and of each loader, as plain data."""
        loaders = {name: loader.state_dict() for name, loader in self.loaders.items()}
        return {"given": self.given, "loaders": loaders}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a position."""
        self.given = state["given"]
        for name, loader in self.loaders.items():
            loader.load_state_dict(state["loaders"][name])

    def close(self) -> None:
        """End the loading processes."""
        for loader in self.loaders.values():
            loader.close()


def _outlive_signals(_worker: int) -> None:
    """Let the run itself save and stop: schedulers signal every process, a terminal the group.

    A process that is told to end and is not stopped by the run ends by itself a little later.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE_SECONDS))


def build_eval_loader(
    dataset: Dataset[Sample],
    batch_size: int,
    num_workers: int = 0,
    encode: Encode | None = None,
) -> DataLoader[Sample]:
    """Build a loader that gives every sample once, in order, the last batch being short."""
    return DataLoader(
        dataset,
        batch_size=batch_size,
        num_workers=num_workers,
        collate_fn=Collate(encode),
        worker_init_fn=_outlive_signals,
        generator=torch.Generator(),
    )
