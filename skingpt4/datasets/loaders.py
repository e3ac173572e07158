"""Batches: collating samples, seeded loaders, and the mix of several data sets in one run."""

import random
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from skingpt4.common.errors import ConfigError, DatasetError
from skingpt4.datasets.image_text import Sample

Batch = dict[str, Any]


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack ``image``, if there is one, to ``[B, 3, H, W]``; gather every other key in a list."""
    batch: Batch = {key: [sample[key] for sample in samples] for key in samples[0]}
    if "image" in batch:
        batch["image"] = torch.stack(batch["image"])
    return batch


def build_loader(
    dataset: Dataset[Sample],
    batch_size: int,
    num_workers: int = 0,
    shuffle: bool = True,
    seed: int = 42,
    drop_last: bool = True,
) -> DataLoader[Sample]:
    """Build a loader whose order and augmentations are fixed by its seed.

    Workers derive the seeds of python, numpy and torch from the loader's; without workers,
    augmentations draw from the process's own torch generator.

    Args:
        dataset: Map-style, or endless (then it shuffles by itself).
        batch_size: Samples a batch.
        num_workers: Loading processes; 0 loads in this one.
        shuffle: Draw a new order in each pass.
        seed: Fixes orders and workers.
        drop_last: Drop a last short batch, as upstream does, unless the data set is smaller than
            one batch: upstream would then silently train on nothing.
    """
    endless = isinstance(dataset, IterableDataset)
    return DataLoader(
        dataset,
        batch_size=batch_size,
        shuffle=shuffle and not endless,
        num_workers=num_workers,
        collate_fn=collate,
        drop_last=drop_last and (not isinstance(dataset, Sized) or len(dataset) >= batch_size),
        generator=torch.Generator().manual_seed(seed),
        persistent_workers=num_workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


class MultiIterLoader:
    """Endless batches, each from one of several loaders drawn by its ratio; the order is seeded.

    A loader that comes to its end starts again. Without ratios, all are drawn alike.
    """

    def __init__(
        self,
        loaders: Sequence[Iterable[Batch]],
        ratios: Sequence[float | None] | None = None,
        seed: int = 42,
    ) -> None:
        """Check the ratios and that no loader is empty.

        Raises:
            ConfigError: If some loaders have a ratio and others none, or one is not above zero.
            DatasetError: If there is no loader, or one has no batch.
        """
        if not loaders:
            raise DatasetError("There is no data set to train on; name one under 'datasets'.")
        for number, loader in enumerate(loaders):
            if _is_empty(loader):
                raise _no_batch(number, len(loaders))
        self.loaders = list(loaders)
        self.ratios = _check_ratios(ratios, len(loaders))
        self._rng = random.Random(seed)
        self._iterators: list[Iterator[Batch]] = [iter(()) for _ in loaders]

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        """Return the next batch; the mix goes on where it stood.

        Raises:
            DatasetError: If the drawn loader gives no batch even from its start.
        """
        drawn = self._rng.choices(range(len(self.loaders)), self.ratios)[0]
        batch = _next_batch(self._iterators[drawn])
        if batch is None:
            self._iterators[drawn] = iter(self.loaders[drawn])
            batch = _next_batch(self._iterators[drawn])
        if batch is None:
            raise _no_batch(drawn, len(self.loaders))
        return batch


def _next_batch(iterator: Iterator[Batch]) -> Batch | None:
    try:
        return next(iterator, None)
    except DatasetError as error:  # from a worker, torch puts a traceback before the sentence
        raise DatasetError(str(error).rpartition("DatasetError: ")[2].strip()) from error


def _no_batch(number: int, count: int) -> DatasetError:
    return DatasetError(f"Data set {number + 1} of {count} gives no batch; add samples to it.")


def _is_empty(loader: Iterable[Batch]) -> bool:
    try:
        return isinstance(loader, Sized) and len(loader) == 0
    except TypeError:  # a torch loader over an endless data set has a length that raises
        return False


def _check_ratios(ratios: Sequence[float | None] | None, count: int) -> list[float]:
    given = [ratio for ratio in ratios or () if ratio is not None]
    if not given:
        return [1.0] * count
    if len(given) != count:
        raise ConfigError(
            f"{len(given)} of {count} data sets have a sample_ratio; give one to all or to none."
        )
    if min(given) <= 0:
        raise ConfigError(f"A sample_ratio is {min(given)}; each must be above 0.")
    return given
