"""The two forms of a set on disk: upstream's folder, and WebDataset shards."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Protocol

from webdataset.writer import ShardWriter

from skingpt4.common.errors import DatasetError
from skingpt4.common.files import write_text
from skingpt4.datasets.image_text import ANNOTATION_FILE, IMAGE_FOLDER

# Ends the name of a shard that is being written.
PART = ".part"

# A question, empty where a training prompt asks, and the answer.
CaptionedText = tuple[str, str]


class Writer(Protocol):
    """Takes photos one by one; nothing can be trained on before :meth:`finish`.

    Attributes:
        texts: How many texts it was given.
    """

    texts: int

    def add(self, split: str, number: int, jpeg: bytes, texts: list[CaptionedText]) -> str:
        """Write one photo with its texts; return what the set calls it."""

    def finish(self) -> None:
        """Write what makes the set whole."""


class FolderWriter:
    """``<split>/filter_cap.json`` and ``<split>/image/<number>.jpg``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.texts = 0
        self._annotations: dict[str, list[dict[str, str]]] = defaultdict(list)

    def add(self, split: str, number: int, jpeg: bytes, texts: list[CaptionedText]) -> str:
        """Write the photo's file; its texts follow in :meth:`finish`."""
        name = str(number)
        folder = self.root / split / IMAGE_FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.jpg").write_bytes(jpeg)
        for question, caption in texts:
            # Upstream's reader knows no "question"; a row without one is just as it writes them.
            asked = {"question": question} if question else {}
            self._annotations[split].append({"image_id": name, **asked, "caption": caption})
        self.texts += len(texts)
        return name

    def finish(self) -> None:
        """Write the annotations of each split."""
        for split, annotations in self._annotations.items():
            body = json.dumps({"annotations": annotations}, ensure_ascii=False, indent=1) + "\n"
            write_text(self.root / split / ANNOTATION_FILE, body)


class WebDatasetWriter:
    """``<split>/000000.tar`` and on, each with ``jpg`` and ``json`` members (img2dataset's form).

    A shard is called ``….tar.part`` until it is whole.
    """

    def __init__(self, root: Path, size: int) -> None:
        self.root = root
        self.size = size
        self.texts = 0
        self._shards: dict[str, ShardWriter] = {}

    def add(self, split: str, number: int, jpeg: bytes, texts: list[CaptionedText]) -> str:
        """Write a sample for each of the photo's texts.

        Raises:
            DatasetError: If a text has a question, for which shards have no place.
        """
        # All are looked at before the first is written: a photo is in a shard with all its texts.
        for question, _ in texts:
            if question:
                raise DatasetError(
                    f"The photo with the question '{question[:60]}' cannot go into shards, which "
                    "hold captions only; leave out --form shards."
                )
        if split not in self._shards:
            folder = self.root / split
            folder.mkdir(parents=True, exist_ok=True)
            # The pattern is filled by "%", so a percent sign in the folder's own name is doubled.
            pattern = f"{folder}/".replace("%", "%%") + f"%06d.tar{PART}"
            self._shards[split] = ShardWriter(
                pattern,
                maxcount=self.size,
                maxsize=float("inf"),
                post=lambda part: Path(part).replace(part.removesuffix(PART)),
                verbose=0,  # which would print
                mtime=0,  # the same set gives the same bytes
            )
        shards = self._shards[split]
        for _, caption in texts:
            # A sample has one caption, so a photo with several texts is several samples.
            key = f"{number:09d}" if len(texts) == 1 else f"{number:09d}-{shards.total}"
            shards.write({"__key__": key, "jpg": jpeg, "json": {"caption": caption}})
        self.texts += len(texts)
        return f"{number:09d}"

    def finish(self) -> None:
        """Close the last shard of each split."""
        for shards in self._shards.values():
            shards.close()
