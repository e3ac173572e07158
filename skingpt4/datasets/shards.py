"""WebDataset shards (``cc_sbu``, ``laion``): endless captioned images, drawn from tar files.

A sample is two members of the same name, an image and a ``json`` with a ``caption``, as img2dataset
writes them. One bad sample among millions must not stop a run: it is skipped, counted and logged.
"""

import json
import logging
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from braceexpand import braceexpand
from torch.utils.data import IterableDataset
from webdataset.filters import shuffle
from webdataset.tariterators import group_by_keys, tar_file_expander
from webdataset.utils import pytorch_worker_info

from skingpt4.common.errors import DatasetError, PhotoError
from skingpt4.datasets.image_text import (
    MISSING_SHOWN,
    ImageProcessor,
    Sample,
    TextProcessor,
    require_text,
    text_sample,
)
from skingpt4.processors.photo import open_photo

logger = logging.getLogger(__name__)

IMAGE_KEYS = ("jpg", "jpeg", "png", "webp")
"""Tried in this order; upstream knows ``jpg`` only."""

SHUFFLE_BUFFER = 1000
BAD_SAMPLE = (StopIteration, KeyError, AttributeError, ValueError, DatasetError, PhotoError)
"""What a missing member, broken JSON, a missing caption or a broken image raises."""

REJECTS_IN_A_ROW = 1000
"""So many rejects without one good sample mean that the shards, not a few samples, are bad."""


class ShardDataset(IterableDataset[Sample]):
    """Endless stream of samples from resampled shards, shuffled, with a fixed order for a seed.

    A sample is ``{"image": float32 [3, H, W], "text_input": str, "image_id": int, "dialogue":
    [(None, caption)]}`` where ``image_id`` counts the samples given. Each data-loading worker, and
    each process of a distributed run, draws its own order.
    """

    def __init__(
        self,
        storage: str,
        vis_processor: ImageProcessor,
        text_processor: TextProcessor | None = None,
        seed: int = 42,
    ) -> None:
        """Expand the storage string and check that every shard exists.

        Args:
            storage: Local tar files with brace ranges, such as ``shards/{00000..01255}.tar``.
            vis_processor: Turns an RGB photo into a tensor ``[3, H, W]``.
            text_processor: Applied to each caption.
            seed: Fixes the order.

        Raises:
            DatasetError: If the string cannot be expanded or a shard is missing.
        """
        self.shards = expand_shards(storage)
        self.vis_processor = vis_processor
        self.text_processor = text_processor
        self.seed = seed
        self.rejected = 0
        self._rejected_in_a_row = 0

    def __iter__(self) -> Iterator[Sample]:
        """Draw samples without end, from the start of this worker's order.

        Raises:
            DatasetError: If too many samples in a row are bad.
        """
        rank, _, worker, _ = pytorch_worker_info()
        rng = random.Random(f"{self.seed}/{rank}/{worker}")
        given = 0
        for raw in shuffle(SHUFFLE_BUFFER, rng=rng)(self._raw_samples(rng)):
            sample = self._decode(raw)
            if sample is not None:
                yield sample | {"image_id": given}
                given += 1

    def _raw_samples(self, rng: random.Random) -> Iterator[dict[str, Any]]:
        """Yield undecoded samples, name ending to bytes, of shards drawn with replacement."""
        while True:
            with Path(rng.choice(self.shards)).open("rb") as stream:
                empty, rejected = True, self.rejected
                files = tar_file_expander([{"url": "", "stream": stream}], handler=self._reject)
                for raw in group_by_keys(files, handler=self._reject):
                    empty = False
                    yield raw
                if empty and rejected == self.rejected:
                    self._reject()

    def _decode(self, raw: dict[str, Any]) -> Sample | None:
        """Decode one sample, or count it as rejected and return None."""
        try:
            image = next(raw[key] for key in IMAGE_KEYS if key in raw)
            caption = require_text(json.loads(raw["json"]), "caption", "A sample")
            text = text_sample(((None, caption),), self.text_processor)
            sample = {"image": self.vis_processor(open_photo(image))} | text
        except BAD_SAMPLE:
            self._reject()
            return None
        self._rejected_in_a_row = 0
        return sample

    def _reject(self, _error: Exception | None = None) -> bool:
        """Count one bad sample or shard; True tells webdataset to go on."""
        self.rejected += 1
        self._rejected_in_a_row += 1
        if self.rejected.bit_count() == 1:  # at 1, 2, 4, 8, ... so that the log stays short
            logger.warning("Skipped %d bad samples of the shards so far.", self.rejected)
        if self._rejected_in_a_row >= REJECTS_IN_A_ROW:
            raise DatasetError(
                f"The last {REJECTS_IN_A_ROW} samples of the {len(self.shards)} shards, the first "
                f"being '{self.shards[0]}', were all unusable; each needs an image and a json file "
                "with a caption."
            )
        return True


def expand_shards(storage: str) -> list[str]:
    """Expand brace ranges into the paths of shards.

    Raises:
        DatasetError: If the string is empty or malformed, or a shard is missing.
    """
    try:
        shards = [path for path in braceexpand(str(storage)) if path]
    except ValueError as error:
        raise DatasetError(f"The storage '{storage}' has unbalanced braces.") from error
    if not shards:
        raise DatasetError("The storage of the shards is empty; set build_info.storage.")
    missing = [path for path in shards if not Path(path).is_file()]
    if missing:
        raise DatasetError(
            f"{len(missing)} of {len(shards)} shards are missing, the first being "
            f"{', '.join(missing[:MISSING_SHOWN])}; set build_info.storage."
        )
    return shards
