"""WebDataset shards (``cc_sbu``, ``laion``): endless captioned images, drawn from tar files.

A sample is two members of the same name, an image and a ``json`` with a ``caption``, as img2dataset
writes them. One bad sample among millions must not stop a run: it is skipped, counted and logged.
"""

import itertools
import json
import logging
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from braceexpand import braceexpand
from torch.utils.data import IterableDataset, get_worker_info
from webdataset.filters import shuffle
from webdataset.tariterators import group_by_keys, tar_file_expander

from skingpt4.common.errors import DatasetError, PhotoError
from skingpt4.common.files import IMAGE_SUFFIXES
from skingpt4.common.seeding import derive_seed, seeded
from skingpt4.datasets.image_text import (
    MISSING_SHOWN,
    Identity,
    ImageProcessor,
    Sample,
    TextProcessor,
    require_text,
    short_hash,
    text_sample,
)
from skingpt4.processors.photo import open_photo

logger = logging.getLogger(__name__)

# As webdataset names a sample's members; upstream knows ``jpg`` only.
IMAGE_KEYS = tuple(ending.removeprefix(".") for ending in IMAGE_SUFFIXES)

SHUFFLE_BUFFER = 1000  # undecoded samples: 100 MB a worker where a picture has 100 KB

# At least so many samples are drawn before the buffer is emptied and a new block begins: what a
# resumed run reads again, at most, beside one shard.
BLOCK_SAMPLES = 10_000

# What a missing member, broken JSON, a missing caption or a broken image raises.
BAD_SAMPLE = (StopIteration, KeyError, AttributeError, ValueError, DatasetError, PhotoError)

# So many rejects without one good sample mean that the shards, not a few samples, are bad.
REJECTS_IN_A_ROW = 1000


class ShardDataset(IterableDataset[Sample]):
    """Endless stream of samples from resampled shards, shuffled, with a fixed order for a seed.

    A sample is ``{"image": float32 [3, H, W], "text_input": str, "image_id": int, "name": str,
    "dialogue": [(None, caption)], "position": (stream, block, place), "rejected": int}``: its name
    in the shard, where to go on after it, and how many unusable samples came before it. Each
    data-loading worker of each process draws a stream of its own, cut in blocks that can be drawn
    without those before; ``image_id`` is the sample's place in its block.
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
        self.resume(rank=0, positions={}, first=0)

    def resume(self, rank: int, positions: Mapping[int, tuple[int, int]], first: int) -> None:
        """Set where the next iteration begins.

        Args:
            rank: This process, of those of a distributed run.
            positions: By stream, the block and the place in it to go on from.
            first: The stream that the first worker takes, modulo their number.
        """
        self.rank, self.positions, self.first = rank, dict(positions), first

    def identity(self) -> Identity:
        """Return what changes when the data do: a shard is known by its name and size alone."""
        files = [(Path(shard).name, Path(shard).stat().st_size) for shard in self.shards]
        return {"shards": len(files), "files": short_hash(files)}

    def __iter__(self) -> Iterator[Sample]:
        """Draw samples without end.

        Raises:
            DatasetError: If too many samples in a row are bad.
        """
        # Each worker of each process draws a stream of its own.
        worker = get_worker_info()
        stream = (worker.id + self.first) % worker.num_workers if worker else 0
        block, start = self.positions.get(stream, (0, 0))
        for number in itertools.count(block):
            parts = (self.seed, self.rank, stream, number)
            # A block depends on its number alone, so those before need not be drawn to resume.
            rng = random.Random(derive_seed(*parts))
            told = self.rejected
            for place, raw in enumerate(shuffle(SHUFFLE_BUFFER, rng=rng)(self._raw_block(rng))):
                # Samples before the place to go on from are read again, but not decoded.
                if place < start:
                    told = self.rejected
                    continue
                try:
                    with seeded(*parts, place):
                        image, caption = image_and_caption(raw)
                        text = text_sample(((None, caption),), self.text_processor)
                        pixels = self.vis_processor(open_photo(image))  # [3, H, W]
                except BAD_SAMPLE:
                    self._reject()
                    continue
                self._rejected_in_a_row = 0
                rejected, told = self.rejected - told, self.rejected
                yield text | {
                    "image": pixels,
                    "image_id": place,
                    "name": raw["__key__"],
                    "position": (stream, number, place + 1),
                    "rejected": rejected,
                }
            start = 0

    def _raw_block(self, rng: random.Random) -> Iterator[dict[str, Any]]:
        """Yield a block of undecoded samples, name ending to bytes, of shards drawn at random."""
        given = 0
        while given < BLOCK_SAMPLES:
            before, rejected = given, self.rejected
            for raw in read_shard(rng.choice(self.shards), self._reject):
                given += 1
                yield raw
            # A shard without anything would otherwise be drawn again without end.
            if given == before and rejected == self.rejected:
                self._reject()

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


def read_shard(shard: str, handler: Callable[[Exception], bool]) -> Iterator[dict[str, Any]]:
    """Yield one shard's undecoded samples, name ending to bytes.

    Args:
        shard: A tar file.
        handler: Called with what is wrong with a file; True goes on with the next.
    """
    with Path(shard).open("rb") as stream:
        files = tar_file_expander([{"url": "", "stream": stream}], handler=handler)
        yield from group_by_keys(files, handler=handler)


def image_and_caption(raw: Mapping[str, Any]) -> tuple[bytes, str]:
    """Return a sample's encoded image and its caption; raises any of `BAD_SAMPLE` without them."""
    image = next(raw[key] for key in IMAGE_KEYS if key in raw)
    return image, require_text(json.loads(raw["json"]), "caption", "A sample")


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
