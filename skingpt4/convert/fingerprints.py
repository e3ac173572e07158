"""Fingerprints: is a photo, or one that looks the same, also somewhere else?

Photos are compared by sha256, and by difference hash (dHash, Krawetz 2013): bits that say which of
two neighbouring pixels of a small thumbnail is brighter, which scaling and recompression hardly
change. 256 bits instead of the usual 64: among 440 real photos of skin, no two different ones came
within 24 bits, while 99.5 % of the same photos halved in size and saved as JPEG of quality 60 came
within 20. With 64 bits at the same share found, 4 of the 96,580 pairs were false.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
from PIL import Image
from tqdm import tqdm

from skingpt4.common.errors import DatasetError, PhotoError
from skingpt4.common.files import IMAGE_SUFFIXES, is_file
from skingpt4.common.tables import read_table
from skingpt4.processors.photo import open_photo

# Rows and columns of comparisons in a dHash.
SIDE = 16

# A dHash is compared as this many integers of 64 bits.
WORDS = SIDE * SIDE // 64

# Bits of 256 in which two dHashes of one photo may differ; the module says why.
NEAR_BITS = 20

# In larger sets only repeated files are sought: every pair of hashes would take minutes.
MOST_COMPARED = 50_000

# Columns of a table that may name a photo.
IMAGE_COLUMNS = ("image", "path", "file", "name")

# Threads that decode photos; Pillow decodes outside Python's lock.
WORKERS = 4


@dataclass(frozen=True)
class Fingerprint:
    """A photo by what tells it from others.

    Attributes:
        name: How its set calls it.
        sha256: Of its file.
        dhash: 256 bits; None where it is not known.
        source_sha256: Of the file that it was converted from; empty if there is none.
    """

    name: str
    sha256: str
    dhash: int | None = None
    source_sha256: str = ""


@dataclass(frozen=True)
class Match:
    """Two photos that are the same, or look it.

    Attributes:
        left: Name of the one.
        right: Name of the other.
        distance: Bits in which the dHashes differ; 0 also where the files are the same.
        same_file: Whether the files are the same byte for byte.
    """

    left: str
    right: str
    distance: int
    same_file: bool


def dhash(photo: Image.Image) -> int:
    """Return the 256-bit difference hash of a photo."""
    return int(str(imagehash.dhash(photo, hash_size=SIDE)), 16)


def fingerprint(content: bytes, name: str) -> Fingerprint:
    """Return the fingerprint of a file's bytes; a photo that cannot be opened has no dHash."""
    # Upright, as it is shown: a camera's and an editor's file of one photo may differ in EXIF only.
    try:
        bits = dhash(open_photo(content))
    except PhotoError:
        bits = None
    return Fingerprint(name, hashlib.sha256(content).hexdigest(), bits)


def fingerprints(
    photos: Sequence[Path | bytes], names: Sequence[str], label: str
) -> list[Fingerprint]:
    """Return the fingerprints of many photos, with a progress bar called ``label``."""

    def one(pair: tuple[Path | bytes, str]) -> Fingerprint:
        photo, name = pair
        return fingerprint(photo.read_bytes() if isinstance(photo, Path) else photo, name)

    # Lazily, in order: not more than a few photos are in memory at a time.
    with ThreadPool(WORKERS) as pool:
        found = pool.imap(one, zip(photos, names, strict=True))
        return list(tqdm(found, total=len(photos), desc=label, unit="image", disable=None))


def read_fingerprints(path: Path) -> list[Fingerprint]:
    """Read what a set of photos holds.

    Args:
        path: A folder of images; a table or JSON file with a sha256 for each image, such as the
            manifest of a converted set; or a table, such as a case list, that names image files.

    Raises:
        DatasetError: If there is no such thing.
    """
    if path.is_dir():
        files = image_files(path)
        if not files:
            raise DatasetError(f"The folder '{path}' holds no image; check the path.")
        return fingerprints(files, [str(file.relative_to(path)) for file in files], path.name)
    rows: Sequence[Mapping[str, str]]
    try:
        if path.suffix == ".json":
            rows = _json_rows(json.loads(path.read_text(encoding="utf-8-sig")))
        else:
            rows = read_table(path, error=DatasetError).to_dict("records")
    except (OSError, ValueError, DatasetError) as error:
        raise DatasetError(f"The list of photos '{path}' cannot be read ({error}).") from None
    named = {
        number: next((row[column] for column in IMAGE_COLUMNS if row.get(column)), "")
        for number, row in enumerate(rows)
    }
    # Hashes first: a manifest's photos need not be here, and are not decoded where they are.
    hashed = [
        Fingerprint(
            name=named[number] or row["sha256"][:12],
            sha256=row["sha256"],
            dhash=int(row["dhash"], 16) if row.get("dhash") else None,
            source_sha256=row.get("source_sha256", ""),
        )
        for number, row in enumerate(rows)
        if row.get("sha256")
    ]
    if hashed:
        return hashed
    # A case list: its paths are relative to it.
    names = [name for name in named.values() if is_file(path.parent / name)]
    if not names:
        raise DatasetError(
            f"'{path}' names no sha256 and no image file that exists; name a CSV or JSON file with "
            "a sha256 for each image, a case list, or the folder of images itself."
        )
    return fingerprints([path.parent / name for name in names], names, path.name)


def _json_rows(content: Any) -> list[Mapping[str, str]]:
    """Return every object in the file that has a sha256, and pairs of name and sha256."""
    if isinstance(content, list):
        return [row for value in content for row in _json_rows(value)]
    if not isinstance(content, dict):
        return []
    hashes = {k: v for k, v in content.items() if isinstance(v, str) and len(v) == 64}
    # Either the object describes one photo, or its keys are the names of photos.
    own = [{"name": name, "sha256": value} for name, value in hashes.items()]
    if "sha256" in hashes:
        own = [content]
    return own + [row for value in content.values() for row in _json_rows(value)]


def image_files(folder: Path) -> list[Path]:
    """Return every image file under a folder, hidden ones left out, in a fixed order."""
    files = (file for file in folder.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES)
    return sorted(file for file in files if not file.name.startswith(".") and file.is_file())


class Collection:
    """A set of photos in which others are looked up."""

    def __init__(self, photos: Sequence[Fingerprint]) -> None:
        # A converted photo is known by its original too; a file's own sha256 goes first.
        self._by_file = {photo.source_sha256: photo for photo in photos if photo.source_sha256}
        self._by_file |= {photo.sha256: photo for photo in photos}
        self._hashed = [photo for photo in photos if photo.dhash is not None]
        self._bits = _words([photo.dhash or 0 for photo in self._hashed])  # [n, 4]

    def matches(self, photo: Fingerprint) -> Iterator[Match]:
        """Yield the photos here that are the same file; if none is, those that look the same."""
        for sha256 in filter(None, (photo.sha256, photo.source_sha256)):
            if sha256 in self._by_file:
                yield Match(photo.name, self._by_file[sha256].name, 0, same_file=True)
                return
        if photo.dhash is None:
            return
        # The bits in which two hashes differ, over all of the set at once.
        apart = np.bitwise_count(self._bits ^ _words([photo.dhash])).sum(axis=1)  # [n]
        for index in np.flatnonzero(apart <= NEAR_BITS):
            yield Match(photo.name, self._hashed[index].name, int(apart[index]), same_file=False)


def _words(hashes: Sequence[int]) -> np.ndarray:
    """Return hashes as ``[n, 4]`` words of 64 bits."""
    text = b"".join(value.to_bytes(WORDS * 8, "big") for value in hashes)
    return np.frombuffer(text, dtype=np.uint64).reshape(-1, WORDS)


def find_matches(left: Sequence[Fingerprint], right: Sequence[Fingerprint]) -> list[Match]:
    """Return every pair of a photo of ``left`` and one of ``right`` that are the same or alike."""
    collection = Collection(right)
    bar = tqdm(left, desc="leak audit", unit="photo", disable=None)
    return [match for photo in bar for match in collection.matches(photo)]


def find_repeats(photos: Sequence[Fingerprint]) -> list[Match]:
    """Return every later photo of a set that is the same as an earlier one, or looks it.

    For one set of n photos, n²/2 hashes are compared: 4 s for 20,000 photos on one core. Beyond
    ``MOST_COMPARED`` photos only the same files are found.
    """
    found = []
    first: dict[str, Fingerprint] = {}
    few = len(photos) <= MOST_COMPARED
    # Photos without a hash are compared with none, but keep their place in the arrays.
    hashed = [few and photo.dhash is not None for photo in photos]
    bits = _words([photo.dhash or 0 for photo in photos])  # [n, 4]
    for index, photo in enumerate(photos):
        earlier = first.setdefault(photo.sha256, photo)
        if earlier is not photo:
            found.append(Match(photo.name, earlier.name, 0, same_file=True))
        elif hashed[index] and index:
            apart = np.bitwise_count(bits[:index] ^ bits[index]).sum(axis=1)  # [index]
            near = (int(i) for i in np.flatnonzero(apart <= NEAR_BITS) if hashed[i])
            like = next(near, None)
            # The first alone: ten copies of a photo are nine repeats, not forty-five.
            if like is not None:
                found.append(Match(photo.name, photos[like].name, int(apart[like]), False))
    return found
