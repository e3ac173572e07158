"""Case lists: reading and checking one, and telling it from others."""

import difflib
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from skingpt4.common.errors import EvaluationError, PhotoError
from skingpt4.common.files import sha256_of
from skingpt4.common.tables import read_table
from skingpt4.dermatology import CLASS_NAMES, CONCEPTS, FITZPATRICK_TYPES
from skingpt4.documents.images import jpeg
from skingpt4.processors.photo import open_photo
from skingpt4.processors.photo_quality import measure

COLUMNS = ("id", "image", "class", "label", "concepts", "fitzpatrick", "source")

REQUIRED = COLUMNS[:3]

# Cases of each class (paper: 15 classes, 150 cases).
CASES_PER_CLASS = 10

CASE_LIST_NAME = "cases.csv"

# What ``evaluate.py cases`` found, for the report.
CHECK_NAME = "cases_checked.json"

CONCEPT_NAMES = tuple(entry.name for entry in CONCEPTS)

GOOD, UNREADABLE = "good", "unreadable"

# Longest side of a case's photo in the report, in pixels.
PHOTO_SIDE = 320


@dataclass(frozen=True)
class CasePhoto:
    """What tables and report need of a case's photo, from one decoding.

    Attributes:
        quality: ``good``, the first thing that is wrong with it, or ``unreadable``.
        jpeg: The photo, small, for a page; empty if it is unreadable.
        fault: Why it is unreadable, in a sentence; else empty.
    """

    quality: str
    jpeg: bytes = b""
    fault: str = ""


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

    @cached_property
    def photo(self) -> CasePhoto:
        """The photo's quality and its small copy; read when first asked for, then kept."""
        try:
            photo = open_photo(self.image)
        except PhotoError as error:
            return CasePhoto(UNREADABLE, fault=str(error))
        problems = measure(photo).problems
        quality = problems[0].value.replace("_", " ") if problems else GOOD
        return CasePhoto(quality, jpeg(photo, PHOTO_SIDE))


def read_cases(path: str | Path) -> list[EvalCase]:
    """Read and check a case list; image paths are relative to it.

    Raises:
        EvaluationError: If the file, a column or an image is missing, an id is used twice, or a
            class, concept or skin type is unknown.
    """
    place = Path(path)
    if not place.is_file():
        raise EvaluationError(f"The case list '{place}' does not exist; check the path.")
    table = read_table(place, error=EvaluationError)
    if "label" not in table:  # dataset/make_synthetic.py calls it the disease
        table = table.rename(columns={"disease": "label"})
    missing = [name for name in REQUIRED if name not in table]
    if missing or table.empty:
        lack = f"no column '{missing[0]}'" if missing else "no case"
        raise EvaluationError(
            f"The case list '{place}' has {lack}; it needs the columns {', '.join(REQUIRED)} and "
            "may have label, concepts, fitzpatrick and source."
        )
    # Columns of the user's own go, optional ones that are missing come as empty.
    table = table.reindex(columns=list(COLUMNS), fill_value="")
    repeated = table["id"][table["id"].duplicated()]
    if len(repeated):
        raise EvaluationError(
            f"The case list '{place}' has the id '{repeated.iloc[0]}' more than once; give each "
            "case its own."
        )
    rows = zip(table.index, table.to_dict("records"), strict=True)
    return [_case(place, f"Line {line} of the case list '{place}'", row) for line, row in rows]


def _case(path: Path, place: str, row: dict[str, str]) -> EvalCase:
    """Check one row; `place` names it in messages."""
    if not row["id"]:
        raise EvaluationError(f"{place} has no id; give each case its own.")
    concepts = tuple(part.strip() for part in row["concepts"].split(";") if part.strip())
    named = [("class", row["class"], CLASS_NAMES)]
    named += [("concept", concept, CONCEPT_NAMES) for concept in concepts]
    if row["fitzpatrick"]:
        named.append(("Fitzpatrick type", row["fitzpatrick"], FITZPATRICK_TYPES))
    for what, value, allowed in named:
        if value not in allowed:
            # With no cutoff there is always a nearest name, however far off.
            near = difflib.get_close_matches(value, allowed, n=1, cutoff=0.0)
            raise EvaluationError(
                f"{place} has the unknown {what} '{value}'; the nearest of the {len(allowed)} is "
                f"'{near[0]}'."
            )
    image = path.parent / row["image"]
    if not row["image"] or not image.is_file():
        raise EvaluationError(
            f"{place} (case '{row['id']}') names the image '{row['image']}', which does not "
            "exist; image paths are relative to the list."
        )
    kind = (row["class"], row["label"], concepts, row["fitzpatrick"], row["source"])
    return EvalCase(row["id"], image, *kind, sha256=sha256_of(image))


def case_list_hash(cases: Sequence[EvalCase]) -> str:
    """Return a sha256 that tells case lists apart, wherever their files lie."""
    # The photo counts by its own hash, so a list that was moved stays the same list.
    content = [{**asdict(case), "image": None} for case in cases]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def class_balance(cases: Sequence[EvalCase]) -> dict[str, int]:
    """Return how many cases each of the 15 classes has."""
    counts = Counter(case.disease_class for case in cases)
    return {name: counts[name] for name in CLASS_NAMES}


def is_balanced(cases: Sequence[EvalCase]) -> bool:
    """Tell whether the list has the paper's form: ten cases of each class."""
    return set(class_balance(cases).values()) == {CASES_PER_CLASS}
