"""SCIN: up to three photos of a case, labelled by up to three dermatologists.

A case is used if one condition has the greatest weight in ``weighted_skin_condition_label``.
"""

import ast
from collections import Counter
from collections.abc import Iterator

from skingpt4.datasets.records import Record
from skingpt4.datasets.sources.files import Row, SourceFiles, read_labels, skin_type

WEIGHTS = "weighted_skin_condition_label"
SKIN = "dermatologist_fitzpatrick_skin_type_label_"
SLOTS = ("1", "2", "3")


def read_scin(files: SourceFiles) -> Iterator[Record]:
    """Yield a record for each photo; the photos of a case are one group."""
    table = files.table("case_id", "image_1_path")
    judged = {row["case_id"]: row for row in files.table("case_id", WEIGHTS).rows}
    labels = read_labels("scin")
    for number, case in enumerate(table.rows):
        verdict = judged.get(case["case_id"], {})
        label, reason = _label(verdict.get(WEIGHTS, ""))
        words, disease_class = labels[label]
        if not reason and not words:
            reason = "its label is not in labels/scin.csv"
        for path in filter(None, (case.get(f"image_{slot}_path") for slot in SLOTS)):
            yield Record(
                place=table.place(number),
                image=files.find(path),
                source="SCIN",
                label=words or label,
                disease_class=disease_class,
                skin_type=_skin_type(verdict),
                group=case["case_id"],
                skip=reason,
            )


def _label(text: str) -> tuple[str, str]:
    """Return the condition of the greatest weight, or why there is none."""
    try:
        weights: dict[str, float] = dict(ast.literal_eval(text or "{}"))
        greatest = max(weights.values(), default=0)
    except (ValueError, TypeError, SyntaxError):
        return "", f"its {WEIGHTS} cannot be read"
    if not weights:
        return "", "dermatologists gave it no label"
    first = [name for name, weight in weights.items() if weight == greatest]
    return (first[0], "") if len(first) == 1 else ("", "no label has the greatest weight alone")


def _skin_type(verdict: Row) -> str:
    """Return what most dermatologists saw; the first of several equally frequent."""
    seen = Counter(filter(None, (skin_type(verdict.get(SKIN + slot, "")) for slot in SLOTS)))
    return seen.most_common(1)[0][0] if seen else ""
