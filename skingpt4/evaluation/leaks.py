"""Leak audit: is a case's photo, or one that looks the same, in a training set?

Photos are compared by sha256, and by difference hash (dHash, Krawetz 2013): 64 bits that say which
of two neighbouring pixels of a 9 x 8 thumbnail is brighter, which scaling and recompression hardly
change.
"""

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from skingpt4.common.errors import PhotoError
from skingpt4.common.sources import sha256_of
from skingpt4.evaluation.cases import EvalCase
from skingpt4.evaluation.errors import EvaluationError
from skingpt4.processors.photo import open_photo

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif")
NEAR_BITS = 4
"""Bits of 64 in which two dHashes of one photo may differ."""


@dataclass(frozen=True)
class Fingerprint:
    """A training photo by what tells it from others; ``dhash`` is None where it is not known."""

    name: str
    sha256: str
    dhash: int | None = None


@dataclass(frozen=True)
class Leak:
    """A case whose photo a training set holds.

    Attributes:
        case: Its id.
        training: The training photo.
        distance: Bits in which the dHashes differ; 0 also where the files are the same.
        same_file: Whether the files are the same byte for byte.
    """

    case: str
    training: str
    distance: int
    same_file: bool


def dhash(path: Path) -> int:
    """Return a photo's 64-bit difference hash.

    Raises:
        PhotoError: If it cannot be opened.
    """
    small = open_photo(path).convert("L").resize((9, 8), Image.Resampling.LANCZOS)
    grey = np.asarray(small, dtype=int)
    return int.from_bytes(np.packbits(grey[:, 1:] > grey[:, :-1]).tobytes(), "big")


def read_training(path: Path) -> list[Fingerprint]:
    """Read what a training set holds: a folder of images, a CSV with sha256, or a manifest (JSON).

    Raises:
        EvaluationError: If there is no such thing.
    """
    if path.is_dir():
        return list(_folder(path))
    try:
        text = path.read_text(encoding="utf-8")
        rows = _manifest_rows(json.loads(text)) if path.suffix == ".json" else _csv_rows(text)
    except (OSError, ValueError) as error:
        raise EvaluationError(f"The training manifest '{path}' cannot be read ({error}).") from None
    found = [
        Fingerprint(_name(row), row["sha256"], _bits(row)) for row in rows if row.get("sha256")
    ]
    if not found:
        raise EvaluationError(
            f"The training manifest '{path}' names no sha256; name a CSV or JSON file with a "
            "sha256 for each image, or the folder of images itself."
        )
    return found


def _folder(path: Path) -> Iterator[Fingerprint]:
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in IMAGE_ENDINGS)
    if not files:
        raise EvaluationError(f"The training folder '{path}' holds no image; check the path.")
    for file in tqdm(files, desc=path.name, unit="image", disable=None):
        try:
            bits = dhash(file)
        except PhotoError:
            bits = None
        yield Fingerprint(str(file.relative_to(path)), sha256_of(file), bits)


def _csv_rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines()))


def _manifest_rows(content: Any) -> list[dict[str, str]]:
    """Return every object in the file that has a sha256, and pairs of name and sha256."""
    if isinstance(content, dict):
        pairs = [{"name": k, "sha256": v} for k, v in content.items() if _is_sha256(v)]
        own = [content] if _is_sha256(content.get("sha256")) else pairs
        return own + [row for value in content.values() for row in _manifest_rows(value)]
    if isinstance(content, list):
        return [row for value in content for row in _manifest_rows(value)]
    return []


def _is_sha256(value: object) -> bool:
    return isinstance(value, str) and len(value) == 64


def _name(row: dict[str, str]) -> str:
    return row.get("name") or row.get("image") or row.get("path") or row["sha256"][:12]


def _bits(row: dict[str, str]) -> int | None:
    return int(row["dhash"], 16) if row.get("dhash") else None


def find_leaks(cases: Sequence[EvalCase], training: Sequence[Fingerprint]) -> list[Leak]:
    """Return every pair of a case and a training photo that are the same, or look it."""
    by_file = {entry.sha256: entry for entry in training}
    hashed = [entry for entry in training if entry.dhash is not None]
    bits = np.array([entry.dhash for entry in hashed], dtype=np.uint64)
    leaks = []
    for case in tqdm(cases, desc="leak audit", unit="case", disable=None):
        if case.sha256 in by_file:
            leaks.append(Leak(case.id, by_file[case.sha256].name, 0, same_file=True))
        elif hashed:
            apart = np.bitwise_count(bits ^ np.uint64(dhash(case.image)))
            near = np.flatnonzero(apart <= NEAR_BITS)
            leaks += [Leak(case.id, hashed[i].name, int(apart[i]), same_file=False) for i in near]
    return leaks
