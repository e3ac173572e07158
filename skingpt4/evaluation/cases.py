"""Case lists: reading and checking one, telling it from others, drawing the built-in one."""

import csv
import difflib
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

from skingpt4.common.errors import EvaluationError
from skingpt4.common.files import sha256_of, write_atomically
from skingpt4.convert.fingerprints import Fingerprint, find_matches, fingerprints
from skingpt4.dermatology import CLASS_NAMES, CONCEPTS, FITZPATRICK_TYPES
from skingpt4.synthetic.render import jpeg_bytes
from skingpt4.synthetic.sets import held_out_cases

COLUMNS = ("id", "image", "class", "label", "concepts", "fitzpatrick", "source")

REQUIRED = COLUMNS[:3]

# What dataset/make_synthetic.py calls the label.
ALIASES = {"disease": "label"}

CASES_PER_CLASS = 10
"""Cases of each class (paper: 15 classes, 150 cases)."""

BUILTIN_SEED = 0

BUILTIN_SOURCE = "drawn"

CASE_LIST_NAME = "cases.csv"

_ALLOWED = {
    "class": CLASS_NAMES,
    "concept": tuple(entry.name for entry in CONCEPTS),
    "Fitzpatrick type": FITZPATRICK_TYPES,
}

Row = dict[str, str]


@dataclass(frozen=True)
class EvalCase:
    """One case.

    Attributes:
        id: Unique in its list.
        image: The photo's file.
        disease_class: One of the 15 class names.
        label: The disease's name; empty if unknown.
        concepts: What the photo shows, in the list's order; empty if unknown.
        fitzpatrick: Skin type ``I`` to ``VI``; empty if unknown.
        source: Where the photo is from.
        sha256: Of the photo's file.
    """

    id: str
    image: Path
    disease_class: str
    label: str
    concepts: tuple[str, ...]
    fitzpatrick: str
    source: str
    sha256: str


def read_cases(path: str | Path) -> list[EvalCase]:
    """Read and check a case list; image paths are relative to it.

    Raises:
        EvaluationError: If the file, a column or an image is missing, an id is used twice, or a
            class, concept or skin type is unknown.
    """
    place = Path(path)
    rows = _read_rows(place)
    twice = [name for name, count in Counter(row["id"] for row in rows).items() if count > 1]
    if twice:
        raise EvaluationError(
            f"The case list '{place}' has the id '{twice[0]}' more than once; give each case its "
            "own."
        )
    return [_case(place, number, row) for number, row in enumerate(rows, start=2)]


def _read_rows(path: Path) -> list[Row]:
    if not path.is_file():
        raise EvaluationError(f"The case list '{path}' does not exist; check the path.")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = [ALIASES.get(name.strip(), name.strip()) for name in reader.fieldnames or ()]
            reader.fieldnames = columns
            rows = [{name: (row[name] or "").strip() for name in columns} for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise EvaluationError(f"The case list '{path}' is no UTF-8 CSV file ({error}).") from None
    missing = [name for name in REQUIRED if name not in columns]
    if missing or not rows:
        lack = f"no column '{missing[0]}'" if missing else "no case"
        raise EvaluationError(
            f"The case list '{path}' has {lack}; it needs the columns {', '.join(REQUIRED)} and "
            "may have label, concepts, fitzpatrick and source."
        )
    return rows


def _case(path: Path, number: int, row: Row) -> EvalCase:
    """Check one row; ``number`` is its line."""
    place = f"Line {number} of the case list '{path}'"
    if not row["id"]:
        raise EvaluationError(f"{place} has no id; give each case its own.")
    concepts = tuple(part.strip() for part in row.get("concepts", "").split(";") if part.strip())
    skin_type = row.get("fitzpatrick", "")
    _check(place, "class", row["class"])
    for concept in concepts:
        _check(place, "concept", concept)
    if skin_type:
        _check(place, "Fitzpatrick type", skin_type)
    image = path.parent / row["image"]
    if not row["image"] or not image.is_file():
        raise EvaluationError(
            f"{place} (case '{row['id']}') names the image '{row['image']}', which does not "
            "exist; image paths are relative to the list."
        )
    return EvalCase(
        id=row["id"],
        image=image,
        disease_class=row["class"],
        label=row.get("label", ""),
        concepts=concepts,
        fitzpatrick=skin_type,
        source=row.get("source", ""),
        sha256=sha256_of(image),
    )


def _check(place: str, what: str, value: str) -> None:
    allowed = _ALLOWED[what]
    if value not in allowed:
        near = difflib.get_close_matches(value, allowed, n=1, cutoff=0.0)
        raise EvaluationError(
            f"{place} has the unknown {what} '{value}'; the nearest of the {len(allowed)} is "
            f"'{near[0]}'."
        )


def case_list_hash(cases: Sequence[EvalCase]) -> str:
    """Return a sha256 that tells case lists apart, wherever their files lie."""
    content = [{**asdict(case), "image": None} for case in cases]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def class_balance(cases: Sequence[EvalCase]) -> dict[str, int]:
    """Return how many cases each of the 15 classes has."""
    counts = Counter(case.disease_class for case in cases)
    return {name: counts[name] for name in CLASS_NAMES}


def is_balanced(cases: Sequence[EvalCase]) -> bool:
    """Tell whether the list has the paper's form: ten cases of each class."""
    return set(class_balance(cases).values()) == {CASES_PER_CLASS}


def builtin_cases(folder: Path) -> Path:
    """Draw the 150 built-in cases into a folder, if they are not there; return their list.

    They are those of ``dataset/make_synthetic.py`` with seed 0, which no training set holds.
    """
    path = folder / CASE_LIST_NAME
    if not path.is_file():
        rows = list(_draw(folder / "cases"))
        write_atomically(path, lambda file: _write_rows(file, rows))
    return path


def _draw(folder: Path) -> Iterator[list[str]]:
    folder.mkdir(parents=True, exist_ok=True)
    drawn = held_out_cases(BUILTIN_SEED, CASES_PER_CLASS)
    for number, case in enumerate(tqdm(drawn, desc="drawing", unit="case", disable=None), start=1):
        image = folder / f"{number}.jpg"
        image.write_bytes(jpeg_bytes(case))
        concepts = ";".join(case.concepts)
        kind = [case.class_name, case.disease, concepts, case.fitzpatrick, BUILTIN_SOURCE]
        yield [str(number), f"{folder.name}/{image.name}", *kind]


def _write_rows(path: Path, rows: Sequence[Sequence[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([COLUMNS, *rows])


@dataclass(frozen=True)
class Leak:
    """A case whose photo a training set holds.

    Attributes:
        case: Its id.
        training: The training photo.
        distance: Bits of 256 in which the dHashes differ; 0 also where the files are the same.
        same_file: Whether the files are the same byte for byte.
    """

    case: str
    training: str
    distance: int
    same_file: bool


def find_leaks(cases: Sequence[EvalCase], training: Sequence[Fingerprint]) -> list[Leak]:
    """Return every pair of a case and a training photo that are the same, or look it."""
    photos = fingerprints([c.image for c in cases], [c.id for c in cases], "cases")
    return [
        Leak(match.left, match.right, match.distance, match.same_file)
        for match in find_matches(photos, training)
    ]
