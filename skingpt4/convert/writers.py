"""The two forms of a set on disk: upstream's folder, and WebDataset shards."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Protocol

from webdataset.writer import TarWriter

from skingpt4.common.errors import DatasetError
from skingpt4.common.files import write_atomically
from skingpt4.datasets.image_text import ANNOTATION_FILE, IMAGE_FOLDER

Text = tuple[str, str]
"""A question, empty where a training prompt asks, and the answer."""


class Writer(Protocol):
    """Takes photos one by one; nothing can be trained on before :meth:`finish`.

    Attributes:
        texts: How many texts it was given.
    """

    texts: int

    def add(self, split: str, number: int, jpeg: bytes, texts: list[Text]) -> str:
        """Write one photo with its texts; return what the set calls it."""

    def finish(self) -> None:
        """Write what makes the set whole."""


class FolderWriter:
    """``<split>/filter_cap.json`` and ``<split>/image/<number>.jpg``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.texts = 0
        self._annotations: dict[str, list[dict[str, str]]] = defaultdict(list)

    def add(self, split: str, number: int, jpeg: bytes, texts: list[Text]) -> str:
        """Write the photo's file; its texts follow in :meth:`finish`."""
        name = str(number)
        folder = self.root / split / IMAGE_FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.jpg").write_bytes(jpeg)
        for question, caption in texts:
            asked = {"question": question} if question else {}
            self._annotations[split].append({"image_id": name, **asked, "caption": caption})
        self.texts += len(texts)
        return name

    def finish(self) -> None:
        """Write the annotations of each split."""
        for split, annotations in self._annotations.items():
            body = json.dumps({"annotations": annotations}, ensure_ascii=False, indent=1) + "\n"

            def write(path: Path, body: str = body) -> None:
                path.write_text(body, encoding="utf-8")

            write_atomically(self.root / split / ANNOTATION_FILE, write)


class ShardWriter:
    """``<split>/000000.tar`` and on, each with ``jpg`` and ``json`` members (img2dataset's form).

    A shard is called ``….tar.part`` until it is whole.
    """

    def __init__(self, root: Path, size: int) -> None:
        self.root = root
        self.size = size
        self.texts = 0
        self._open: dict[str, tuple[Path, TarWriter]] = {}
        self._samples: dict[str, int] = defaultdict(int)

    def add(self, split: str, number: int, jpeg: bytes, texts: list[Text]) -> str:
        """Write a sample for each of the photo's texts.

        Raises:
            DatasetError: If a text has a question, for which shards have no place.
        """
        for question, caption in texts:
            if question:
                raise DatasetError(
                    f"The photo with the question '{question[:60]}' cannot go into shards, which "
                    "hold captions only; leave out --form shards."
                )
            key = f"{number:09d}" if len(texts) == 1 else f"{number:09d}-{self._samples[split]}"
            self._tar(split).write({"__key__": key, "jpg": jpeg, "json": {"caption": caption}})
            self._samples[split] += 1
        self.texts += len(texts)
        return f"{number:09d}"

    def _tar(self, split: str) -> TarWriter:
        """Return the shard that takes the split's next sample."""
        shard, used = divmod(self._samples[split], self.size)
        if not used:
            self._close(split)
            path = self.root / split / f"{shard:06d}.tar"
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(path.name + ".part")
            self._open[split] = path, TarWriter(str(part), mtime=0)
        return self._open[split][1]

    def _close(self, split: str) -> None:
        if split in self._open:
            path, tar = self._open.pop(split)
            tar.close()
            path.with_name(path.name + ".part").replace(path)

    def finish(self) -> None:
        """Close the last shard of each split."""
        for split in list(self._open):
            self._close(split)
