"""Going through a whole data set: what is in it, and what is wrong with it, without stopping.

A reader stops at the first bad row, so that a run does not start on it; here all of them are found.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from webdataset.tariterators import group_by_keys, tar_file_expander

from skingpt4.common.errors import DatasetError
from skingpt4.convert.fingerprints import Fingerprint, Match, find_repeats, fingerprints
from skingpt4.convert.manifest import ManifestRow, find_manifest, read_manifest
from skingpt4.datasets.image_text import (
    ANNOTATION_FILE,
    EXTENSIONS,
    IMAGE_FOLDER,
    load_rows,
    parse_row,
    require_text,
)
from skingpt4.datasets.shards import IMAGE_KEYS, expand_shards
from skingpt4.labeler import label_text

SHARD_SAMPLES = 2_000
"""So many samples of a web-scale set are looked at, from its first shard on."""

UNNAMED = "none named"


@dataclass
class Inspection:
    """What is in a data set.

    Attributes:
        storage: Where it lies.
        answers: Every text that is trained on.
        photos: A fingerprint of every photo that is there; it has no dHash if it is unreadable.
        faults: A sentence for each row that cannot be used.
        missing: Names of photos that are not there.
        classes: Photos of each class.
        concepts: Photos of each concept.
        partial: Whether only the first samples were looked at.
    """

    storage: str
    answers: list[str] = field(default_factory=list)
    photos: list[Fingerprint] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    classes: Counter[str] = field(default_factory=Counter)
    concepts: Counter[str] = field(default_factory=Counter)
    partial: bool = False

    @property
    def unreadable(self) -> list[str]:
        """Names of the photos that cannot be opened."""
        return [photo.name for photo in self.photos if photo.dhash is None]

    def repeats(self) -> list[Match]:
        """Return the photos that are there twice, or look it."""
        return find_repeats([photo for photo in self.photos if photo.dhash is not None])


def inspect_folder(storage: Path, label: str, with_images: bool = True) -> Inspection:
    """Go through a folder set: every row, every photo.

    Args:
        storage: Folder with ``filter_cap.json`` and, with images, ``image/``.
        label: Name of the progress bar.
        with_images: Whether its rows must have photos.

    Raises:
        DatasetError: If there is no annotation file, or it is malformed.
    """
    path = storage / ANNOTATION_FILE
    found = Inspection(str(storage))
    answers: dict[str, list[str]] = defaultdict(list)
    for number, row in enumerate(load_rows(path)):
        try:
            annotation = parse_row(row, f"Annotation {number} of '{path}'", with_images)
        except DatasetError as error:
            found.faults.append(str(error))
            continue
        answers[str(annotation.image_id)] += [answer for _, answer in annotation.turns]
    found.answers = [answer for texts in answers.values() for answer in texts]
    if with_images:
        files = _files(storage / IMAGE_FOLDER, list(answers))
        found.missing = [name for name in answers if name not in files]
        found.photos = fingerprints(list(files.values()), list(files), label)
        _count(found, answers, _manifest(storage))
    return found


def _files(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    present = {path.name: path for path in folder.iterdir()} if folder.is_dir() else {}
    candidates = {
        name: next((name + end for end in EXTENSIONS if name + end in present), None)
        for name in names
    }
    return {name: present[file] for name, file in candidates.items() if file is not None}


def _manifest(storage: Path) -> dict[str, ManifestRow]:
    path = find_manifest(storage)
    return {row.image: row for row in read_manifest(path)} if path else {}


def _count(
    found: Inspection, answers: dict[str, list[str]], manifest: dict[str, ManifestRow]
) -> None:
    """Count classes and concepts, by the manifest where it has the photo, else by its texts."""
    for name, texts in answers.items():
        row = manifest.get(name)
        if row:
            found.classes[row.disease_class or UNNAMED] += 1
            found.concepts.update(row.concept_names)
            continue
        labels = label_text(" ".join(texts))
        found.classes[labels.top or UNNAMED] += 1
        found.concepts.update(labels.concepts)


def inspect_shards(storage: str, label: str) -> Inspection:
    """Go through the first samples of WebDataset shards.

    Args:
        storage: Tar files with brace ranges.
        label: Name of the progress bar.

    Raises:
        DatasetError: If the string is malformed or a shard is missing.
    """
    shards = expand_shards(storage)
    found = Inspection(storage)
    samples = _samples(shards, found)
    photos: dict[str, bytes] = {}
    answers: dict[str, list[str]] = {}
    for raw in islice(samples, SHARD_SAMPLES):
        name = str(raw["__key__"])
        try:
            photos[name] = next(raw[key] for key in IMAGE_KEYS if key in raw)
            answers[name] = [require_text(json.loads(raw["json"]), "caption", f"Sample '{name}'")]
        except (StopIteration, KeyError, AttributeError, ValueError, DatasetError) as error:
            found.faults.append(f"Sample '{name}' lacks an image or a caption ({error!r}).")
    found.partial = next(samples, None) is not None
    found.answers = [answer for texts in answers.values() for answer in texts]
    found.photos = fingerprints([photos[name] for name in answers], list(answers), label)
    _count(found, answers, {})
    return found


def _samples(shards: Sequence[str], found: Inspection) -> Iterator[dict[str, Any]]:
    """Yield undecoded samples; a damaged shard is a fault and the next one follows."""

    def note(error: Exception) -> bool:
        found.faults.append(f"A shard is damaged ({error}).")
        return True

    for shard in shards:
        with Path(shard).open("rb") as stream:
            files = tar_file_expander([{"url": shard, "stream": stream}], handler=note)
            yield from group_by_keys(files, handler=note)
