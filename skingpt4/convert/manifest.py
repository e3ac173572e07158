"""The manifest of a converted set: what each photo is, without a word on who it is of."""

import csv
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from skingpt4.common.errors import DatasetError
from skingpt4.common.files import write_atomically

MANIFEST_NAME = "manifest.csv"

SEPARATOR = ";"


@dataclass(frozen=True)
class ManifestRow:
    """One photo of a converted set.

    Attributes:
        image: Its id in ``filter_cap.json``, or its key in the shards.
        split: ``train``, ``val`` or ``test``.
        sha256: Of the file as written.
        source_sha256: Of the original file, by which whoever has it can find it here.
        dhash: 256-bit difference hash, 64 hexadecimal digits.
        source: The data set that it is from.
        label: The disease in words; empty if unknown.
        disease_class: One of the 15 classes, ``Others``, or empty.
        concepts: SKINCON's names, separated by semicolons.
        skin_type: Fitzpatrick type; empty if unknown.
        group: A running number for each patient or lesion.
    """

    image: str
    split: str
    sha256: str
    source_sha256: str
    dhash: str
    source: str
    label: str
    disease_class: str
    concepts: str
    skin_type: str
    group: str

    @property
    def concept_names(self) -> tuple[str, ...]:
        """The concepts one by one."""
        return tuple(filter(None, self.concepts.split(SEPARATOR)))


COLUMNS = tuple(field.name for field in fields(ManifestRow))


def write_manifest(folder: Path, rows: Sequence[ManifestRow]) -> None:
    """Write ``manifest.csv`` into a folder."""

    def write(path: Path) -> None:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(asdict(row) for row in rows)

    write_atomically(folder / MANIFEST_NAME, write)


def find_manifest(storage: Path) -> Path | None:
    """Return the manifest of a set, which lies beside its splits or in the set itself."""
    places = (storage / MANIFEST_NAME, storage.parent / MANIFEST_NAME)
    return next((place for place in places if place.is_file()), None)


def read_manifest(path: Path) -> list[ManifestRow]:
    """Read a manifest.

    Raises:
        DatasetError: If it cannot be read or lacks a column.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            return [ManifestRow(**{name: row[name] for name in COLUMNS}) for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error, KeyError) as error:
        raise DatasetError(
            f"The manifest '{path}' is not one that dataset/convert.py wrote ({error}); convert "
            "the set again, or remove the file."
        ) from None


REPORT_NAME = "report.md"

SKIPPED_NAME = "skipped.csv"

REPORT_FILES = (REPORT_NAME, SKIPPED_NAME)

UNKNOWN = "unknown"

Table = tuple[str, Counter[str]]


@dataclass(frozen=True)
class Skipped:
    """A record that was left out: where it stands, why, and which label or image it is about."""

    place: str
    reason: str
    about: str = ""


@dataclass(frozen=True)
class Conversion:
    """What a conversion did.

    Attributes:
        rows: The photos written.
        skipped: The records left out.
        texts: How many texts go with the photos.
        settings: What decided over the content.
        suspects: Images with a text that may tell who it is about.
    """

    rows: Sequence[ManifestRow]
    skipped: Sequence[Skipped]
    texts: int
    settings: Mapping[str, str]
    suspects: Sequence[str] = ()


def write_report(folder: Path, conversion: Conversion) -> None:
    """Write ``report.md`` and ``skipped.csv``.

    ``skipped.csv`` may name original files, which is why it does not lie in the set itself.
    """
    body = "\n".join(_lines(conversion)) + "\n"
    write_atomically(folder / REPORT_NAME, lambda path: _write_text(path, body))
    write_atomically(folder / SKIPPED_NAME, lambda path: _write_skipped(path, conversion.skipped))


def _write_text(path: Path, body: str) -> None:
    path.write_text(body, encoding="utf-8")


def _write_skipped(path: Path, skipped: Sequence[Skipped]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ("place", "reason", "about"))
        writer.writeheader()
        writer.writerows(asdict(skip) for skip in skipped)


def _lines(conversion: Conversion) -> Iterable[str]:
    rows = conversion.rows
    yield "# Conversion report"
    yield ""
    left_out = f"{len(conversion.skipped)} records left out ({SKIPPED_NAME} names each)"
    yield f"{len(rows)} photos with {conversion.texts} texts; {left_out}."
    yield ""
    yield from (f"- {name}: {value}" for name, value in conversion.settings.items())
    if conversion.suspects:
        yield ""
        yield (
            f"**Look at these {len(conversion.suspects)} before anyone else does**: a text "
            "of theirs holds something like a name, date, number or address of a person: image "
            f"{', '.join(conversion.suspects)}."
        )
    tables: list[Table] = [
        ("split", Counter(row.split for row in rows)),
        ("source", Counter(row.source for row in rows)),
        ("class", Counter(row.disease_class or UNKNOWN for row in rows)),
        ("label", Counter(row.label or UNKNOWN for row in rows)),
        ("concept", Counter(name for row in rows for name in row.concept_names)),
        ("skin type", Counter(row.skin_type or UNKNOWN for row in rows)),
    ]
    for name, counts in tables:
        if set(counts) - {UNKNOWN}:
            yield from _table(name, "photos", counts)
    reasons = Counter(skip.reason for skip in conversion.skipped)
    yield from _table("left out because", "records", reasons)


def _table(name: str, what: str, counts: Counter[str]) -> Iterable[str]:
    if counts:
        yield from ("", f"| {name} | {what} |", "|---|---|")
        yield from (f"| {key} | {count} |" for key, count in counts.most_common())
