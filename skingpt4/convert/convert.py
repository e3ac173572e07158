"""Turning records into a set that can be trained on, with a manifest and a report.

What is left out has a reason, which the report counts: no photo, no label, a class outside the 15,
a photo that cannot be read, one that is there already, one that is also an evaluation case. Photos
are encoded again under running numbers, so that neither metadata nor names come along.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from io import BytesIO
from multiprocessing.pool import ThreadPool
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from skingpt4.common.errors import DatasetError, PhotoError
from skingpt4.common.files import clear_folder, sha256_of
from skingpt4.common.tables import write_table
from skingpt4.convert.fingerprints import Collection, Fingerprint, dhash, read_fingerprints
from skingpt4.convert.manifest import (
    COLUMNS,
    MANIFEST_NAME,
    REPORT_FILES,
    SEPARATOR,
    Conversion,
    ManifestRow,
    Skipped,
    write_report,
)
from skingpt4.convert.records import SPLITS, CaptionTemplate, SourceRecord, may_identify
from skingpt4.convert.sources.lookup import OTHERS
from skingpt4.convert.writers import CaptionedText, FolderWriter, WebDatasetWriter, Writer
from skingpt4.processors.photo import open_photo

# So high that the second encoding cannot be seen.
JPEG_QUALITY = 95

# What --form takes.
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
        """Return what decides a set's content, for its report."""
        outside = "left out" if self.classified and not self.keep_others else "kept"
        return {
            "caption of photos without a text of their own": self.template.text,
            "outside the 15 classes": outside,
            "longest side": f"{self.max_side} pixels",
            "validation share and seed": f"{self.val_share}, {self.seed}",
            "photos excluded": ", ".join(place.name for place in self.exclude) or "none",
        }


@dataclass
class _Photo:
    """A file with all its usable records and what they say of it."""

    image: Path
    records: list[SourceRecord] = field(default_factory=list)
    texts: list[CaptionedText] = field(default_factory=list)


def convert(records: Iterable[SourceRecord], output: Path, options: ConvertOptions) -> Conversion:
    """Write a set; return what was used and what was skipped.

    Args:
        records: What a source gives.
        output: Folder for ``train/``, ``val/``, ``manifest.csv``, ``report.md`` and
            ``skipped.csv``.
        options: See there.

    Raises:
        DatasetError: If the folder is not empty, or nothing can be used.
    """
    # Before anything is written: a wrong --exclude must not cost an earlier conversion.
    excluded = Collection([p for place in options.exclude for p in read_fingerprints(place)])
    photos, skipped = _gather(records, options)
    # An earlier conversion is cleared only once there is something to put in its place.
    if photos:
        clear_folder(output, (*SPLITS, MANIFEST_NAME, *REPORT_FILES), options.overwrite)
    writer: Writer = FolderWriter(output)
    if options.form == "shards":
        writer = WebDatasetWriter(output, options.shard_size)
    rows, suspects = _write_photos(photos, writer, excluded, skipped, options)
    # The two most frequent reasons nearly always name the argument that is wrong.
    if not rows:
        common = Counter(skip.reason for skip in skipped).most_common(2)
        raise DatasetError(
            f"None of the {len(skipped)} records can be used; "
            f"{', '.join(f'{count} times: {reason}' for reason, count in common)}; check --images "
            "and --table."
        )
    # Annotations come last, so that a conversion that was broken off cannot be trained on.
    writer.finish()
    # Columns named: a set without a photo would have none.
    table = pd.DataFrame([asdict(row) for row in rows], columns=list(COLUMNS))
    write_table(output / MANIFEST_NAME, table)
    conversion = Conversion(rows, skipped, writer.texts, options.summary(), suspects)
    write_report(output, conversion)
    return conversion


def _gather(
    records: Iterable[SourceRecord], options: ConvertOptions
) -> tuple[list[_Photo], list[Skipped]]:
    """Group the usable records by photo, in their order; the others are skipped with a reason."""
    photos: dict[Path, _Photo] = {}
    skipped: list[Skipped] = []
    for found in records:
        is_other = options.keep_others and not found.disease_class
        record = replace(found, disease_class=OTHERS) if is_other else found
        text = options.template.write(record)
        # The source's own reason goes first, then what is wrong with the label, then the photo.
        reason = record.skip
        if not reason and options.classified and not record.disease_class:
            reason = "its label is outside the 15 classes"
        elif not reason and record.image is None:
            reason = "its image is not in the folders"
        elif not reason and not text:
            reason = "it has neither a caption nor what the template needs"
        if reason or record.image is None:
            skipped.append(Skipped(record.place, reason, record.label))
            continue
        # One photo may have several records, as a table has a row for each question about it.
        photo = photos.setdefault(record.image, _Photo(record.image))
        photo.records.append(record)
        photo.texts.append((record.question, text))
    return list(photos.values()), skipped


def _write_photos(
    photos: Sequence[_Photo],
    writer: Writer,
    excluded: Collection,
    skipped: list[Skipped],
    options: ConvertOptions,
) -> tuple[list[ManifestRow], list[str]]:
    """Write each photo that is sound, new and no case; add the records of the others to `skipped`.

    Returns:
        The manifest's rows, and the images with a text that may tell who it is about.
    """
    rows: list[ManifestRow] = []
    suspects: list[str] = []
    names: dict[str, str] = {}  # what the set calls each original file, by its sha256
    groups: dict[str, str] = {}  # running numbers, so that no patient's own name is written
    with ThreadPool(options.workers) as pool:
        # In their order, whichever thread is done first: the numbers must not depend on timing.
        encoded = pool.imap(lambda photo: _encode(photo.image, options.max_side), photos)
        bar = tqdm(encoded, total=len(photos), desc="photos", unit="image", disable=None)
        for photo, (jpeg, fingerprint) in zip(photos, bar, strict=True):
            fault = _fault(fingerprint, names, excluded)
            if fault or fingerprint is None:
                skipped += [Skipped(record.place, *fault) for record in photo.records]
                continue
            # The first record's label, patient and split stand for the photo.
            record = photo.records[0]
            split = record.split or _draw_split(record, photo.image.name, options)
            name = writer.add(split, len(names) + 1, jpeg, photo.texts)
            names[fingerprint.source_sha256] = name
            if any(may_identify(text) for _, text in photo.texts):
                suspects.append(name)
            # Without a group, a photo is its own; two sources may use one number for two patients.
            patient = f"{record.source}/{record.group or photo.image}"
            rows.append(
                ManifestRow(
                    image=name,
                    split=split,
                    sha256=fingerprint.sha256,
                    source_sha256=fingerprint.source_sha256,
                    dhash=f"{fingerprint.dhash:064x}",
                    source=record.source,
                    label=record.label,
                    disease_class=record.disease_class,
                    concepts=SEPARATOR.join(record.concepts),
                    skin_type=record.skin_type,
                    group=groups.setdefault(patient, str(len(groups) + 1)),
                )
            )
    return rows, suspects


def _encode(image: Path, max_side: int) -> tuple[bytes, Fingerprint | None]:
    """Encode a photo again, upright and without metadata; no fingerprint if it cannot be read."""
    try:
        photo = open_photo(image, max_side=max_side)
    except PhotoError:
        return b"", None
    buffer = BytesIO()
    # Without chroma subsampling: the colour of skin is what is learnt from.
    photo.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    jpeg = buffer.getvalue()
    digest = hashlib.sha256(jpeg).hexdigest()
    return jpeg, Fingerprint("", digest, dhash(photo), sha256_of(image))


def _fault(
    photo: Fingerprint | None, names: Mapping[str, str], excluded: Collection
) -> tuple[str, ...]:
    """Return why a photo is not written, and the other photo concerned; empty if it is."""
    if photo is None:
        return ("its image cannot be read",)
    # By the original file: a copy encoded twice has the same bytes only by chance of the encoder.
    if photo.source_sha256 in names:
        return "it is the same file as another image", names[photo.source_sha256]
    match = next(excluded.matches(photo), None)
    if match is None:
        return ()
    return f"it {'is' if match.same_file else 'looks like'} a photo of --exclude", match.right


def _draw_split(record: SourceRecord, image_name: str, options: ConvertOptions) -> str:
    """Draw a split by the hash of the patient or lesion, so that its photos stay together.

    The draw does not depend on the other photos, so a set that grows keeps its splits.
    """
    key = f"{options.seed}/{record.source}/{record.group or image_name}"
    # 13 hexadecimal digits are 52 bits, which a float holds exactly.
    drawn = int(hashlib.sha256(key.encode()).hexdigest()[:13], 16) / 16**13
    return "val" if drawn < options.val_share else "train"
