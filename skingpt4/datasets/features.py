"""What the frozen vision side makes of a folder's photos, kept on disk and read in its place.

Numbers are float16, as the Q-Former computes on a GPU: 48 KiB a crop (32 × 768 × 2 bytes). The
file is mapped into memory, so that processes share it and only what is used is read.
"""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from skingpt4.common.errors import DatasetError, PhotoError
from skingpt4.common.files import write_text
from skingpt4.common.seeding import seeded
from skingpt4.datasets.image_text import Identity, ImageTextDataset, Sample, text_sample
from skingpt4.processors.photo import open_photo

FEATURES_NAME, RECORD_NAME = "features.npy", "record.json"
PARTIAL_SUFFIX = ".partial"


class FeatureStore:
    """Features ``[photos, crops, tokens, width]`` in one folder.

    Attributes:
        folder: Its name says what they were made of.
        crops: Of each photo.
    """

    def __init__(self, folder: Path, crops: int) -> None:
        self.folder, self.crops = folder, crops
        self._partial = folder / (FEATURES_NAME + PARTIAL_SUFFIX)
        self._features: np.ndarray | None = None  # mapped when first read
        self._unusable = frozenset[int]()

    @property
    def is_complete(self) -> bool:
        """Tell whether everything is there; the record is written last."""
        return (self.folder / RECORD_NAME).is_file()

    def create(self, photos: int, tokens: int, width: int) -> None:
        """Make room on the disk for the features of so many photos."""
        self.folder.mkdir(parents=True, exist_ok=True)
        shape = (photos, self.crops, tokens, width)  # float16: 2 bytes a number
        np.lib.format.open_memmap(self._partial, "w+", np.float16, shape).flush()

    def open_partial(self) -> np.ndarray:
        """Return the file of :meth:`create`, for several processes to write into."""
        return np.load(self._partial, mmap_mode="r+")

    def finish(self, record: dict[str, Any], unusable: list[int]) -> None:
        """Declare the features complete.

        Args:
            record: What they were made of, for the reader.
            unusable: Ranks of photos that cannot be opened.
        """
        # In this order: a record says that the features beside it are whole.
        self._partial.replace(self.folder / FEATURES_NAME)
        body = json.dumps({**record, "unusable": unusable}, indent=1) + "\n"
        write_text(self.folder / RECORD_NAME, body)

    def read(self, rank: int, crop: int) -> Tensor:
        """Return the features ``[tokens, width]`` of one crop of one photo.

        Raises:
            DatasetError: If the photo could not be opened when features were made.
        """
        if self._features is None:  # the first read in this process
            record = json.loads((self.folder / RECORD_NAME).read_text(encoding="utf-8"))
            self._unusable = frozenset(record["unusable"])
            self._features = np.load(self.folder / FEATURES_NAME, mmap_mode="r")
        if rank in self._unusable:
            raise DatasetError(f"Photo number {rank} could not be opened when it was encoded.")
        return torch.from_numpy(self._features[rank, crop].copy())  # [tokens, width]

    def __getstate__(self) -> dict[str, Any]:
        """Let loading processes map the file themselves: a mapping would be sent as a copy."""
        return {**self.__dict__, "_features": None}


class CroppedPhotos(Dataset[Tensor | None]):
    """The crops ``[crops, 3, H, W]`` of each photo of a folder; None where it cannot be opened.

    A crop depends on the seed, the photo's rank and the crop's number alone.
    """

    def __init__(self, dataset: ImageTextDataset, crops: int, seed: int) -> None:
        self.dataset, self.crops, self.seed = dataset, crops, seed
        self.paths = list(dataset.paths.values())

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, rank: int) -> Tensor | None:
        """Open a photo and crop it."""
        try:
            photo = open_photo(self.paths[rank])
        except PhotoError:
            return None  # a place in the file stays empty, and the record names it
        crops = []
        for number in range(self.crops):
            with seeded(self.seed, rank, number):
                crops.append(self.dataset.vis_processor(photo))
        return torch.stack(crops)  # [crops, 3, H, W]


class FeatureDataset(ImageTextDataset):
    """A folder's samples with ``features [tokens, width]`` in the place of ``image``."""

    def __init__(self, dataset: ImageTextDataset, store: FeatureStore) -> None:
        # The folder was read and checked before its photos were encoded: its rows are shared.
        self.__dict__.update(vars(dataset))
        self.store = store

    def __getitem__(self, index: int) -> Sample:
        """Return a sample; the caller's random state chooses the crop.

        Raises:
            DatasetError: If the photo could not be opened when features were made.
        """
        row = self.annotations[index]
        name = str(row.image_id)
        rank = self.ranks[name]
        # In training, rows come seeded by the sampler; so the crop follows from the draw, too.
        features = self.store.read(rank, random.randrange(self.store.crops))
        sample = {"features": features, "image_id": rank, "name": name}
        return sample | text_sample(row.turns, self.text_processor)

    def identity(self) -> Identity:
        """Return what changes when the data do."""
        return {**super().identity(), "features": self.store.folder.name}
