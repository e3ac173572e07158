"""Turning records into a set that can be trained on, with a manifest and a report.

What is left out has a reason, which the report counts: no photo, no label, a class outside the 15,
a photo that cannot be read, one that is there already, one that is also an evaluation case. Photos
are written anew under running numbers, so that neither metadata nor names come along.
"""

import hashlib
import logging
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from multiprocessing.pool import ThreadPool
from pathlib import Path

from tqdm import tqdm

from skingpt4.common.errors import DatasetError, PhotoError
from skingpt4.common.files import sha256_of
from skingpt4.convert.fingerprints import Collection, Fingerprint, dhash, read_fingerprints
from skingpt4.convert.manifest import (
    MANIFEST_NAME,
    REPORT_FILES,
    SEPARATOR,
    Conversion,
    ManifestRow,
    Skipped,
    write_manifest,
    write_report,
)
from skingpt4.convert.records import SPLITS, CaptionTemplate, Record, may_identify
from skingpt4.convert.sources.lookup import OTHERS
from skingpt4.convert.writers import FolderWriter, ShardWriter, Text, Writer
from skingpt4.processors.photo import open_photo

logger = logging.getLogger(__name__)

JPEG_QUALITY = 95

FORMS = ("folder", "shards")


@dataclass(frozen=True)
class ConvertOptions:
    """How to convert.

    Attributes:
        template: What a photo without a text of its own is said to show.
        classified: Leave out what belongs to none of the 15 classes.
        keep_others: Keep it nevertheless, as class ``Others``.
        max_side: Longest side of a written photo in pixels; larger ones are scaled down.
        val_share: Share of patients (or photos) for validation, 0 <= share < 1.
        seed: Decides which.
        form: ``folder`` or ``shards``.
        shard_size: Samples in a shard.
        exclude: Case lists or folders whose photos must not be trained on.
        workers: Threads that decode.
        overwrite: Replace an earlier conversion.
    """

    template: CaptionTemplate
    classified: bool = True
    keep_others: bool = False
    max_side: int = 1024
    val_share: float = 0.0
    seed: int = 42
    form: str = "folder"
    shard_size: int = 1000
    exclude: Sequence[Path] = ()
    workers: int = 4
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            DatasetError: If a value is out of its range.
        """
        if not 0 <= self.val_share < 1:
            raise DatasetError(f"--val-share is {self.val_share}; it must be from 0 to below 1.")
        if self.form not in FORMS:
            raise DatasetError(f"--form is '{self.form}'; choose one of {', '.join(FORMS)}.")
        if min(self.max_side, self.shard_size, self.workers) < 1:
            raise DatasetError("--max-side, --shard-size and --workers must be at least 1.")

    def summary(self) -> dict[str, str]:
        """Return what decides over a set's content, for its report."""
        return {
            "caption of photos without a text of their own": self.template.text,
            "outside the 15 classes": (
                "left out" if self.classified and not self.keep_others else "kept"
            ),
            "longest side": f"{self.max_side} pixels",
            "validation share and seed": f"{self.val_share}, {self.seed}",
            "photos excluded": ", ".join(place.name for place in self.exclude) or "none",
        }


@dataclass
class _Photo:
    """A file and all records of it that can be used."""

    image: Path
    records: list[Record] = field(default_factory=list)
    texts: list[Text] = field(default_factory=list)

    @property
    def group(self) -> str:
        """Tells its patient or lesion, else itself, from all others."""
        first = self.records[0]
        return f"{first.source}/{first.group or self.image}"


@dataclass(frozen=True)
class _Prepared:
    """A photo as it will be written."""

    jpeg: bytes
    print: Fingerprint


def convert(records: Iterable[Record], output: Path, options: ConvertOptions) -> Conversion:
    """Write a set; return what was used and what was skipped.

    Args:
        records: What a source gives.
        output: Folder for ``train/``, ``val/``, ``manifest.csv``, ``report.md`` and
            ``skipped.csv``.
        options: See there.

    Raises:
        DatasetError: If the folder is not empty, or nothing can be used.
    """
    excluded = Collection([p for place in options.exclude for p in read_fingerprints(place)])
    converter = _Converter(_writer(output, options), options, excluded)
    photos = converter.gather(records)
    if photos:
        _empty(output, options.overwrite)
        for photo, prepared in zip(photos, _prepare_all(photos, options), strict=True):
            converter.take(photo, prepared)
    if not converter.rows:
        raise DatasetError(
            f"None of the {len(converter.skipped)} records can be used; "
            f"{_most_common(converter.skipped)}; check --images and --table."
        )
    converter.writer.finish()
    write_manifest(output, converter.rows)
    conversion = converter.conversion()
    write_report(output, conversion)
    return conversion


def _writer(output: Path, options: ConvertOptions) -> Writer:
    if options.form == "shards":
        return ShardWriter(output, options.shard_size)
    return FolderWriter(output)


def _empty(output: Path, overwrite: bool) -> None:
    """Make the output folder, or clear what an earlier conversion wrote there."""
    if output.exists() and not output.is_dir():
        raise DatasetError(f"The output '{output}' is a file; name a folder.")
    if output.exists() and any(output.iterdir()) and not overwrite:
        raise DatasetError(
            f"The output folder '{output}' is not empty; name another or add --overwrite."
        )
    output.mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        shutil.rmtree(output / split, ignore_errors=True)
    for name in (MANIFEST_NAME, *REPORT_FILES):
        (output / name).unlink(missing_ok=True)


def _most_common(skipped: Sequence[Skipped]) -> str:
    counts = Counter(skip.reason for skip in skipped).most_common(2)
    return ", ".join(f"{count} times: {reason}" for reason, count in counts)


class _Converter:
    """What one conversion has decided so far."""

    def __init__(self, writer: Writer, options: ConvertOptions, excluded: Collection) -> None:
        self.writer = writer
        self.options = options
        self.excluded = excluded
        self.rows: list[ManifestRow] = []
        self.skipped: list[Skipped] = []
        self.suspects: list[str] = []
        self._seen: dict[str, str] = {}
        self._groups: dict[str, str] = {}

    def conversion(self) -> Conversion:
        """Return what was done."""
        return Conversion(
            self.rows, self.skipped, self.writer.texts, self.options.summary(), self.suspects
        )

    def gather(self, records: Iterable[Record]) -> list[_Photo]:
        """Return the usable records by photo, in their order."""
        photos: dict[Path, _Photo] = {}
        for record in map(self._classified, records):
            text = self.options.template.write(record)
            reason = self._unusable(record, text)
            if reason or record.image is None:
                self.skipped.append(Skipped(record.place, reason, record.label))
                continue
            photo = photos.setdefault(record.image, _Photo(record.image))
            photo.records.append(record)
            photo.texts.append((record.question, text))
        return list(photos.values())

    def _classified(self, record: Record) -> Record:
        if self.options.keep_others and not record.disease_class:
            return replace(record, disease_class=OTHERS)
        return record

    def _unusable(self, record: Record, text: str) -> str:
        """Return why a record cannot be used; empty if it can."""
        faults = {
            record.skip: bool(record.skip),
            "its label is outside the 15 classes": (
                self.options.classified and not record.disease_class
            ),
            "its image is not in the folders": record.image is None,
            "it has neither a caption nor what the template needs": not text,
        }
        return next((reason for reason, holds in faults.items() if holds), "")

    def take(self, photo: _Photo, prepared: _Prepared | None) -> None:
        """Write a photo that is sound, new and no case."""
        fault = self._fault(prepared)
        if fault or prepared is None:
            self.skipped += [Skipped(record.place, *fault) for record in photo.records]
            return
        split = _split(photo, self.options)
        name = self.writer.add(split, len(self._seen) + 1, prepared.jpeg, photo.texts)
        self._seen[prepared.print.source_sha256] = name
        if any(may_identify(text) for _, text in photo.texts):
            self.suspects.append(name)
        group = self._groups.setdefault(photo.group, str(len(self._groups) + 1))
        self.rows.append(_row(photo.records[0], name, split, prepared.print, group))

    def _fault(self, photo: _Prepared | None) -> tuple[str, ...]:
        """Return why a photo is not written, and the other photo concerned; empty if it is."""
        if photo is None:
            return ("its image cannot be read",)
        if photo.print.source_sha256 in self._seen:
            return "it is the same file as another image", self._seen[photo.print.source_sha256]
        match = next(self.excluded.matches(photo.print), None)
        if match is None:
            return ()
        likeness = "is" if match.same_file else "looks like"
        return f"it {likeness} a photo of --exclude", match.right


def _prepare_all(photos: Sequence[_Photo], options: ConvertOptions) -> Iterator[_Prepared | None]:
    with ThreadPool(options.workers) as pool:
        prepared = pool.imap(lambda photo: _prepare(photo.image, options.max_side), photos)
        yield from tqdm(prepared, total=len(photos), desc="photos", unit="image", disable=None)


def _prepare(image: Path, max_side: int) -> _Prepared | None:
    """Encode a photo anew, upright and without metadata; None if it cannot be read."""
    try:
        photo = open_photo(image, max_side=max_side)
    except PhotoError:
        return None
    buffer = BytesIO()
    photo.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    jpeg = buffer.getvalue()
    digest = hashlib.sha256(jpeg).hexdigest()
    return _Prepared(jpeg, Fingerprint("", digest, dhash(photo), sha256_of(image)))


def _split(photo: _Photo, options: ConvertOptions) -> str:
    """Return the source's own split, else one drawn by the group's hash.

    The draw does not depend on the other photos, so a set that grows keeps its splits.
    """
    first = photo.records[0]
    if first.split:
        return first.split
    key = f"{options.seed}/{first.source}/{first.group or photo.image.name}"
    drawn = int(hashlib.sha256(key.encode()).hexdigest()[:13], 16) / 16**13
    return "val" if drawn < options.val_share else "train"


def _row(record: Record, name: str, split: str, photo: Fingerprint, group: str) -> ManifestRow:
    return ManifestRow(
        image=name,
        split=split,
        sha256=photo.sha256,
        source_sha256=photo.source_sha256,
        dhash=f"{photo.dhash:064x}",
        source=record.source,
        label=record.label,
        disease_class=record.disease_class,
        concepts=SEPARATOR.join(record.concepts),
        skin_type=record.skin_type,
        group=group,
    )
