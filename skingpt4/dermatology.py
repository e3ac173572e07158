"""The vocabulary of the SkinGPT-4 paper, and which diseases are malignant.

The paper's words and counts are in ``data/dermatology.yaml``, the diseases' names in
``data/conditions.yaml``; both say whose they are.
"""

from dataclasses import dataclass
from typing import Any, Literal

from skingpt4.common.files import load_data


@dataclass(frozen=True)
class Concept:
    """One clinical concept of step 1.

    Attributes:
        name: SKINCON's spelling.
        count: The number of its images in SKINCON (paper).
        phrase: The concept as a noun phrase inside a sentence.
    """

    name: str
    count: int
    phrase: str


@dataclass(frozen=True)
class DiseaseClass:
    """One of the 15 classes of step 2.

    Attributes:
        name: The paper's name of the class.
        step2_count: Images of the class in the paper's step 2.
        diseases: Lower-case disease names that our answers use.
    """

    name: str
    step2_count: int
    diseases: tuple[str, ...]


Malignancy = Literal["malignant", "premalignant", "benign", "non_neoplastic", "unclear"]


@dataclass(frozen=True)
class Condition:
    """A disease, apart from its class: melanoma and nevus, which share one, are two.

    Attributes:
        name: Its English name.
        malignancy: Of which kind it is (WHO).
        chinese: Its Chinese name.
        terms: Lower-case English spellings, among them its name.
        is_general: Whether the name tells the kind only: "skin cancer".
    """

    name: str
    malignancy: Malignancy
    chinese: str
    terms: tuple[str, ...]
    is_general: bool


_TABLE: dict[str, Any] = load_data("dermatology.yaml")

CONCEPTS = tuple(Concept(*row) for row in _TABLE["concepts"])

CLASSES = tuple(
    DiseaseClass(row["name"], row["step2_count"], tuple(row["diseases"]))
    for row in _TABLE["classes"]
)

CLASS_NAMES = tuple(entry.name for entry in CLASSES)

# Step-2 images outside the 15 classes (paper).
OTHERS_COUNT: int = _TABLE["others_count"]

# The four questions of each evaluation conversation, in order (paper).
QUESTIONS: tuple[str, str, str, str] = tuple(_TABLE["questions"])

# The seven items that raters score on a five-point scale (paper, in our words).
QUESTIONNAIRE: tuple[str, ...] = tuple(_TABLE["questionnaire"])

# The five-point scale (paper); the numbers are ours.
LIKERT: dict[int, str] = _TABLE["likert"]

# Items that lay users are asked as well (paper).
LAY_ITEMS: tuple[int, ...] = tuple(_TABLE["lay_items"])

# Items about the rater's own attitude, not about the answers to a case (our reading).
RATER_LEVEL_ITEMS: tuple[int, ...] = tuple(_TABLE["rater_level_items"])

FITZPATRICK_TYPES: tuple[str, ...] = tuple(_TABLE["fitzpatrick_types"])

DISCLAIMER: str = _TABLE["disclaimer"]

_CONDITIONS: dict[Any, Any] = load_data("conditions.yaml")

_GENERAL: list[str] = _CONDITIONS.pop("general")

# By name.
CONDITIONS: dict[str, Condition] = {
    name: Condition(name, malignancy, chinese, (name.lower(), *spellings), name in _GENERAL)
    for malignancy, rows in _CONDITIONS.items()
    for name, (chinese, *spellings) in rows.items()
}
