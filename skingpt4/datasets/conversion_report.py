"""What a conversion used and what it left out, for people (Markdown) and for tables (CSV)."""

import csv
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from skingpt4.common.checkpoint import write_atomically
from skingpt4.datasets.manifest import ManifestRow

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
