"""Folder data sets: ``filter_cap.json`` beside a folder of images, and its text-only sibling.

Upstream's form is ``{"annotations": [{"image_id": "1", "caption": "..."}]}`` and ``image/1.jpg``.
Two optional keys are ours: ``question``, and ``dialogue``, a list of ``{"question", "answer"}``
that takes the caption's place. Everything is checked when the data set is built, so that a bad row
stops a run before it starts.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from skingpt4.common.errors import DatasetError, PhotoError
from skingpt4.common.files import IMAGE_SUFFIXES, sha256_of
from skingpt4.processors.photo import open_photo

ANNOTATION_FILE = "filter_cap.json"
IMAGE_FOLDER = "image"

MISSING_SHOWN = 3

ImageProcessor = Callable[[Image.Image], Tensor]
TextProcessor = Callable[[str], str]
# A question and its answer; without a question, the model draws one of its training prompts.
DatasetTurn = tuple[str | None, str]

Sample = dict[str, Any]

# What tells a data set from a changed one, part by part.
Identity = dict[str, str | int]


@dataclass(frozen=True)
class Annotation:
    """One checked row: what is shown (None in text-only sets) and what is said about it."""

    image_id: str | None
    turns: tuple[DatasetTurn, ...]


class AnnotatedDataset(Dataset[Sample]):
    """What folder data sets share: checked rows of text.

    Args:
        storage: Folder that holds ``filter_cap.json``.
        text_processor: Applied to each answer; None keeps them raw, as upstream does.
        with_images: Whether rows must have an ``image_id``; if not, they must not.

    Raises:
        DatasetError: If the folder or file is missing, the JSON is malformed, there is no
            annotation, or a row is not usable; the sentence names the row, counted from 0.
    """

    def __init__(
        self, storage: str | Path, text_processor: TextProcessor | None, with_images: bool
    ) -> None:
        self.storage = Path(storage)
        self.text_processor = text_processor
        path = self.storage / ANNOTATION_FILE
        self.annotations = [
            parse_row(row, f"Annotation {number} of '{path}'", with_images)
            for number, row in enumerate(load_rows(path))
        ]

    def __len__(self) -> int:
        return len(self.annotations)

    def lengths(self) -> list[int]:
        """Return the length of each row's text, in characters."""
        return [
            sum(len(text or "") for turn in row.turns for text in turn) for row in self.annotations
        ]

    def identity(self) -> Identity:
        """Return what changes when the data do."""
        digest = sha256_of(self.storage / ANNOTATION_FILE)[:16]
        return {"samples": len(self), "annotations": digest}


class ImageTextDataset(AnnotatedDataset):
    """Photos with captions or dialogues, by row number.

    A sample is ``{"image": float32 [3, H, W], "text_input": str, "image_id": int, "name": str,
    "dialogue": [(question or None, answer), ...]}``. ``text_input`` is the first answer;
    ``image_id`` is the rank of the id's first occurrence, as upstream gives it, ``name`` the id.
    """

    def __init__(
        self,
        storage: str | Path,
        vis_processor: ImageProcessor,
        text_processor: TextProcessor | None = None,
    ) -> None:
        """Read and check the annotations and the list of image files; no image is opened.

        Args:
            storage: Folder that holds ``filter_cap.json`` and ``image/``.
            vis_processor: Turns an RGB photo into a tensor ``[3, H, W]``.
            text_processor: Applied to each answer; None keeps captions raw, as upstream does.

        Raises:
            DatasetError: If the folder, the file, a row or an image is missing or malformed.
        """
        super().__init__(storage, text_processor, with_images=True)
        self.vis_processor = vis_processor
        # Several rows may be about one photo.
        ids = dict.fromkeys(str(row.image_id) for row in self.annotations)
        self.ranks = {image_id: rank for rank, image_id in enumerate(ids)}
        self.paths, missing = find_images(self.storage, list(ids))
        if missing:
            # Upstream knows ``.jpg`` only.
            shown = ", ".join(f"{image_id}.jpg" for image_id in missing[:MISSING_SHOWN])
            raise DatasetError(
                f"'{self.storage / IMAGE_FOLDER}' lacks {len(missing)} of {len(ids)} images, the "
                f"first being {shown}."
            )

    def __getitem__(self, index: int) -> Sample:
        """Open one photo and return its sample.

        Raises:
            DatasetError: If the photo cannot be decoded.
        """
        row = self.annotations[index]
        image_id = str(row.image_id)
        try:
            photo = open_photo(self.paths[image_id])
        except PhotoError as error:
            raise DatasetError(f"Image id '{image_id}' in '{self.storage}': {error}") from error
        pixels = self.vis_processor(photo)  # [3, H, W]
        photo_part = {"image": pixels, "image_id": self.ranks[image_id], "name": image_id}
        return photo_part | text_sample(row.turns, self.text_processor)

    def identity(self) -> Identity:
        """Return what changes when the data do: a photo is known by its name and size alone."""
        # Reading every photo for its hash would take as long as an epoch.
        files = [(path.name, path.stat().st_size) for path in self.paths.values()]
        return {**super().identity(), "images": short_hash(files)}


class TextDialogueDataset(AnnotatedDataset):
    """Questions and answers without a photo, by row number, for teaching the LLM to converse.

    A sample is ``{"text_input": str, "image_id": int, "name": str, "dialogue": [(question,
    answer), ...]}`` with the row number as ``image_id`` and ``name``; every question is given,
    since training prompts need a photo.
    """

    def __init__(self, storage: str | Path, text_processor: TextProcessor | None = None) -> None:
        super().__init__(storage, text_processor, with_images=False)

    def __getitem__(self, index: int) -> Sample:
        """Return one dialogue."""
        number, turns = index % len(self), self.annotations[index].turns
        named = {"image_id": number, "name": str(number)}
        return named | text_sample(turns, self.text_processor)


def short_hash(value: object) -> str:
    """Return 16 hexadecimal digits that tell a value of plain data, by its repr, from others."""
    return hashlib.sha256(repr(value).encode()).hexdigest()[:16]


def text_sample(turns: tuple[DatasetTurn, ...], text_processor: TextProcessor | None) -> Sample:
    """Return the text half of a sample: ``text_input`` (the first answer) and ``dialogue``."""
    dialogue = list(turns)
    if text_processor is not None:
        dialogue = [(question, text_processor(answer)) for question, answer in turns]
    return {"text_input": dialogue[0][1], "dialogue": dialogue}


def load_rows(path: Path) -> list[Any]:
    """Return the rows of an annotation file, unchecked.

    Raises:
        DatasetError: If the folder or file is missing, the JSON is malformed, or there is no row.
    """
    if not path.parent.is_dir():
        raise DatasetError(
            f"The data set folder '{path.parent}' does not exist; set build_info.storage."
        )
    try:
        # Some editors put a byte order mark in front.
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise DatasetError(f"The data set folder '{path.parent}' has no {path.name}.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"'{path}' is not a readable UTF-8 JSON file: {error}.") from error
    rows = content.get("annotations") if isinstance(content, dict) else None
    if not isinstance(rows, list) or not rows:
        raise DatasetError(f"'{path}' must hold a non-empty list under the key 'annotations'.")
    return rows


def parse_row(row: Any, place: str, with_images: bool) -> Annotation:
    """Check one row.

    Args:
        row: As it stands in the file.
        place: What an error calls it.
        with_images: Whether it must have an ``image_id``; if not, it must not.

    Raises:
        DatasetError: If it is not usable.
    """
    if not isinstance(row, Mapping):
        raise DatasetError(f"{place} is not a mapping of keys such as 'caption'.")
    image_id = row.get("image_id")
    if not with_images and image_id is not None:
        raise DatasetError(f"{place} has an 'image_id', but the data set is text-only.")
    # True is a number to Python, and no name that anyone means.
    is_name = isinstance(image_id, str | int) and not isinstance(image_id, bool)
    if with_images and (not is_name or image_id == ""):
        raise DatasetError(f"{place} has no usable 'image_id': {image_id!r} is no text or number.")

    turns: tuple[DatasetTurn, ...]
    # Upstream's form first: a caption, perhaps under a question of its own.
    if "dialogue" not in row:
        question = require_text(row, "question", place) if "question" in row else None
        turns = ((question, require_text(row, "caption", place)),)
    else:
        if "question" in row:
            raise DatasetError(f"{place} has both 'question' and 'dialogue'; keep one.")
        said = row["dialogue"]
        if not isinstance(said, list) or not said or not all(isinstance(t, Mapping) for t in said):
            raise DatasetError(
                f"{place} has a 'dialogue' that is no list of questions and answers."
            )
        turns = tuple(
            (require_text(turn, "question", place), require_text(turn, "answer", place))
            for turn in said
        )
    if not with_images and turns[0][0] is None:
        raise DatasetError(f"{place} has no 'question', which a text-only data set needs.")
    return Annotation(str(image_id) if with_images else None, turns)


def require_text(mapping: Mapping[str, Any], key: str, place: str) -> str:
    """Return the text under a key.

    Raises:
        DatasetError: If the key is missing, or holds no text or only blanks; the sentence names
            ``place``.
    """
    value = mapping.get(key)
    if not isinstance(value, str) or not value.strip():
        raise DatasetError(f"{place} has no text under '{key}'.")
    return value


def find_images(storage: Path, image_ids: Sequence[str]) -> tuple[dict[str, Path], list[str]]:
    """Match each id with a file in ``image/``, by one listing of the folder.

    Returns:
        The files by id, and the ids without one.

    Raises:
        DatasetError: If there is no such folder.
    """
    folder = storage / IMAGE_FOLDER
    if not folder.is_dir():
        raise DatasetError(f"The data set folder '{storage}' has no folder '{folder.name}'.")
    # One listing instead of a question to the disk for each name and ending.
    present = {path.name for path in folder.iterdir()}
    found = {}
    for image_id in image_ids:
        names = (image_id + extension for extension in IMAGE_SUFFIXES)
        name = next((name for name in names if name in present), None)
        if name is not None:
            found[image_id] = folder / name
    return found, [image_id for image_id in image_ids if image_id not in found]
