"""How each disease looks: one row of data per disease, made of groups of alike lesions.

A group's `marks` give the probability that its lesions show a concept; marks with probability 1
are the core look. Radii are fractions of the image width. Probabilities are chosen so that the
class follows from the look, neighbours overlap as they do in clinics, and each concept occurs.
"""

from dataclasses import dataclass
from enum import Enum

from skingpt4.dermatology import CLASSES


class Arrangement(str, Enum):
    """Where the lesions of a group lie."""

    SINGLE = "single"
    SCATTERED = "scattered"
    GROUPED = "grouped"
    LINEAR = "linear"
    SYMMETRIC = "symmetric"
    FIELD = "field"
    ON = "on"
    AROUND = "around"


class Shape(str, Enum):
    """Outline of a lesion."""

    BLOB = "blob"
    ROUND = "round"
    RING = "ring"
    TARGET = "target"
    IRREGULAR = "irregular"
    SQUARE = "square"
    POLYGON = "polygon"


@dataclass(frozen=True)
class Group:
    """Alike lesions.

    Attributes:
        marks: Concept name -> probability in (0, 1] that the group shows it.
        arrangement: Layout; ON and AROUND are relative to the first group's lesions.
        count: Fewest and most lesions (for ON and AROUND: in all).
        radius: Smallest and largest lesion radius as a fraction of the image width.
        shape: Outline of the lesions.
        edge: Softness of the border in lesion radii; 0.1 is sharp, 0.5 fades out.
        probability: Chance that the case has the group at all.
    """

    marks: dict[str, float]
    arrangement: Arrangement = Arrangement.SCATTERED
    count: tuple[int, int] = (1, 1)
    radius: tuple[float, float] = (0.1, 0.2)
    shape: Shape = Shape.BLOB
    edge: float = 0.15
    probability: float = 1.0


@dataclass(frozen=True)
class Disease:
    """One disease; the first group is the one that captions count and measure."""

    name: str
    groups: tuple[Group, ...]


A, S = Arrangement, Shape
BROWN, WHITE = "Brown(Hyperpigmentation)", "White(Hypopigmentation)"
WARTY, EXOPHYTIC = "Warty/Papillomatous", "Exophytic/Fungating"
PURPURA = "Purpura/Petechiae"

_ROWS: tuple[Disease, ...] = (
    Disease(
        "acne",
        (
            Group(
                {"Papule": 1, "Erythema": 1, "Acuminate": 0.3},
                A.SCATTERED,
                (8, 13),
                (0.035, 0.05),
                S.ROUND,
                0.3,
            ),
            Group({"Pustule": 1}, A.SCATTERED, (6, 10), (0.03, 0.042), S.ROUND, probability=0.75),
            Group({"Comedo": 1}, A.SCATTERED, (14, 26), (0.014, 0.019), S.ROUND, probability=0.9),
            Group({"Cyst": 1}, A.SCATTERED, (1, 3), (0.09, 0.11), S.ROUND, probability=0.2),
            Group({"Scar": 1}, A.SCATTERED, (3, 6), (0.055, 0.075), probability=0.3),
        ),
    ),
    Disease(
        "rosacea",
        (
            Group(
                {"Erythema": 1, "Telangiectasia": 1},
                A.SYMMETRIC,
                (2, 2),
                (0.26, 0.32),
                S.BLOB,
                0.6,
            ),
            Group({"Papule": 1}, A.ON, (8, 14), (0.032, 0.045), S.ROUND, 0.25, probability=0.75),
            Group({"Pustule": 1}, A.ON, (5, 8), (0.03, 0.04), S.ROUND, probability=0.4),
        ),
    ),
    Disease(
        "actinic keratosis",
        (
            Group(
                {
                    "Papule": 1,
                    "Yellow": 0.95,
                    "Scale": 0.65,
                    "Erythema": 0.7,
                    "Acuminate": 0.35,
                    "Gray": 0.2,
                },
                A.SCATTERED,
                (4, 7),
                (0.075, 0.1),
                S.IRREGULAR,
                0.2,
            ),
        ),
    ),
    Disease(
        "basal cell carcinoma",
        (
            Group(
                {
                    "Nodule": 1,
                    "Translucent": 0.95,
                    "Telangiectasia": 0.95,
                    "Ulcer": 0.5,
                    "Friable": 0.3,
                },
                A.SINGLE,
                (1, 1),
                (0.22, 0.3),
                S.BLOB,
                0.12,
            ),
        ),
    ),
    Disease(
        "atopic dermatitis",
        (
            Group(
                {
                    "Erythema": 1,
                    "Patch": 0.85,
                    "Lichenification": 0.7,
                    "Xerosis": 0.7,
                    "Excoriation": 0.6,
                    "Scale": 0.15,
                    "Fissure": 0.2,
                },
                A.SYMMETRIC,
                (2, 3),
                (0.22, 0.3),
                S.IRREGULAR,
                0.55,
            ),
        ),
    ),
    Disease(
        "contact dermatitis",
        (
            Group(
                {
                    "Erythema": 1,
                    "Patch": 1,
                    "Exudate": 0.8,
                    "Fissure": 0.3,
                    "Crust": 0.25,
                    "Scale": 0.2,
                },
                A.SINGLE,
                (1, 1),
                (0.32, 0.4),
                S.SQUARE,
                0.15,
            ),
            Group({"Papule": 1}, A.ON, (12, 20), (0.026, 0.036), S.ROUND, 0.25, probability=0.5),
        ),
    ),
    Disease(
        "bullous pemphigoid",
        (
            Group(
                {"Bulla": 1, "Erythema": 0.6},
                A.SCATTERED,
                (4, 7),
                (0.095, 0.14),
                S.BLOB,
                0.1,
            ),
            Group({"Erosion": 1}, A.SCATTERED, (2, 4), (0.08, 0.11), probability=0.3),
            Group({"Crust": 1}, A.SCATTERED, (2, 4), (0.06, 0.08), probability=0.2),
        ),
    ),
    Disease(
        "pemphigus",
        (
            Group(
                {"Erosion": 1, "Friable": 0.25, "Exudate": 0.25},
                A.SCATTERED,
                (4, 6),
                (0.11, 0.16),
                S.IRREGULAR,
                0.12,
            ),
            Group({"Crust": 1}, A.ON, (3, 5), (0.06, 0.08), probability=0.3),
            Group({"Bulla": 1}, A.SCATTERED, (3, 4), (0.08, 0.11), S.IRREGULAR, probability=0.9),
        ),
    ),
    Disease(
        "impetigo",
        (
            Group(
                {"Crust": 1, "Erythema": 0.95, "Exudate": 0.4},
                A.GROUPED,
                (6, 10),
                (0.07, 0.11),
                S.IRREGULAR,
                0.2,
            ),
            Group({"Erosion": 1}, A.SCATTERED, (3, 5), (0.05, 0.075), probability=0.35),
            Group({"Pustule": 1}, A.SCATTERED, (5, 8), (0.03, 0.042), S.ROUND, probability=0.3),
        ),
    ),
    Disease(
        "cellulitis",
        (
            Group(
                {"Erythema": 1, "Induration": 0.9, PURPURA: 0.4, "Purple": 0.2},
                A.FIELD,
                (1, 1),
                (0.42, 0.52),
                S.IRREGULAR,
                0.5,
            ),
            Group({"Abscess": 1}, A.ON, (1, 3), (0.1, 0.14), S.ROUND, probability=0.65),
        ),
    ),
    Disease(
        "vitiligo",
        (
            Group({WHITE: 1, "Patch": 1}, A.SYMMETRIC, (4, 6), (0.1, 0.15), S.IRREGULAR, 0.06),
            Group({"Erythema": 1}, A.SCATTERED, (2, 4), (0.06, 0.1), S.BLOB, 0.5, probability=0.12),
        ),
    ),
    Disease(
        "sun-damaged skin",
        (
            Group(
                {BROWN: 1, "Macule": 1}, A.SCATTERED, (20, 32), (0.022, 0.045), S.IRREGULAR, 0.25
            ),
            Group(
                {"Poikiloderma": 1},
                A.FIELD,
                (1, 1),
                (0.45, 0.55),
                S.IRREGULAR,
                0.4,
                probability=0.5,
            ),
            Group({"Xerosis": 1}, A.FIELD, (1, 1), (0.5, 0.6), S.IRREGULAR, 0.4, probability=0.3),
            Group({"Comedo": 1}, A.GROUPED, (14, 22), (0.014, 0.019), S.ROUND, probability=0.25),
        ),
    ),
    Disease(
        "lupus",
        (
            Group(
                {
                    "Erythema": 1,
                    "Plaque": 1,
                    "Atrophy": 0.9,
                    "Scale": 0.35,
                    PURPURA: 0.15,
                    "Poikiloderma": 0.25,
                },
                A.SYMMETRIC,
                (2, 4),
                (0.17, 0.24),
                S.BLOB,
                0.12,
            ),
            Group({"Scar": 1}, A.ON, (2, 4), (0.06, 0.085), probability=0.35),
        ),
    ),
    Disease(
        "scleroderma",
        (
            Group(
                {"Sclerosis": 1, "Induration": 0.5, "Telangiectasia": 0.5, "Atrophy": 0.25},
                A.LINEAR,
                (2, 4),
                (0.18, 0.26),
                S.BLOB,
                0.2,
            ),
            Group({BROWN: 1, "Macule": 1}, A.ON, (7, 12), (0.03, 0.04), probability=0.35),
            Group({"Ulcer": 1}, A.ON, (1, 2), (0.08, 0.1), probability=0.25),
        ),
    ),
    Disease(
        "seborrheic keratosis",
        (
            Group(
                {
                    BROWN: 1,
                    WARTY: 1,
                    "Plaque": 0.9,
                    "Flat topped": 0.25,
                    EXOPHYTIC: 0.3,
                    "Black": 0.2,
                    "Gray": 0.25,
                },
                A.SCATTERED,
                (3, 6),
                (0.1, 0.15),
                S.BLOB,
                0.08,
            ),
        ),
    ),
    Disease(
        "epidermoid cyst",
        (
            Group(
                {"Cyst": 1, "Dome-shaped": 0.8, "Yellow": 0.6, "Translucent": 0.2, "Erythema": 0.2},
                A.SCATTERED,
                (1, 3),
                (0.14, 0.21),
                S.ROUND,
                0.08,
            ),
        ),
    ),
    Disease(
        "melanoma",
        (
            Group(
                {
                    "Black": 1,
                    BROWN: 0.9,
                    "Blue": 0.5,
                    "Gray": 0.35,
                    "Plaque": 0.9,
                    "Pigmented": 0.4,
                    "Ulcer": 0.15,
                    WHITE: 0.12,
                },
                A.SINGLE,
                (1, 1),
                (0.24, 0.34),
                S.IRREGULAR,
                0.07,
            ),
        ),
    ),
    Disease(
        "melanocytic nevus",
        (
            Group(
                {
                    BROWN: 1,
                    "Papule": 0.85,
                    "Dome-shaped": 0.6,
                    "Pigmented": 0.55,
                    "Pedunculated": 0.15,
                    "Blue": 0.1,
                },
                A.SCATTERED,
                (2, 5),
                (0.08, 0.12),
                S.ROUND,
                0.1,
            ),
        ),
    ),
    Disease(
        "tinea ringworm",
        (
            Group(
                {"Erythema": 1, "Scale": 1, "Plaque": 0.85},
                A.SCATTERED,
                (1, 3),
                (0.2, 0.29),
                S.RING,
                0.12,
            ),
            Group({"Pustule": 1}, A.AROUND, (6, 9), (0.03, 0.04), S.ROUND, probability=0.15),
        ),
    ),
    Disease(
        "candidiasis",
        (
            Group(
                {"Erythema": 1, "Patch": 0.9, WHITE: 0.4, "Fissure": 0.45, "Erosion": 0.3},
                A.SINGLE,
                (1, 1),
                (0.25, 0.32),
                S.BLOB,
                0.12,
            ),
            Group({"Pustule": 1}, A.AROUND, (9, 15), (0.03, 0.042), S.ROUND),
        ),
    ),
    Disease(
        "psoriasis",
        (
            Group(
                {
                    "Plaque": 1,
                    "Scale": 1,
                    "Erythema": 0.85,
                    "Salmon": 0.6,
                    "Fissure": 0.15,
                    "Xerosis": 0.12,
                },
                A.SCATTERED,
                (2, 5),
                (0.17, 0.25),
                S.BLOB,
                0.08,
            ),
        ),
    ),
    Disease(
        "lichen planus",
        (
            Group(
                {
                    "Papule": 1,
                    "Purple": 1,
                    "Flat topped": 0.95,
                    "Scale": 0.2,
                    "Lichenification": 0.1,
                },
                A.GROUPED,
                (9, 16),
                (0.055, 0.085),
                S.POLYGON,
                0.1,
            ),
            Group({BROWN: 1}, A.SCATTERED, (4, 7), (0.045, 0.065), S.BLOB, 0.3, probability=0.25),
        ),
    ),
    Disease(
        "scabies",
        (
            Group({"Burrow": 1}, A.SCATTERED, (5, 8), (0.1, 0.15), S.ROUND, 0.1),
            Group(
                {"Papule": 1, "Erythema": 0.85, "Crust": 0.2},
                A.SCATTERED,
                (8, 14),
                (0.028, 0.038),
                S.ROUND,
                0.25,
            ),
            Group({"Excoriation": 1}, A.SCATTERED, (2, 4), (0.1, 0.14), probability=0.7),
            Group({"Nodule": 1}, A.SCATTERED, (1, 3), (0.08, 0.11), S.ROUND, probability=0.15),
        ),
    ),
    Disease(
        "lyme disease",
        (
            Group({"Erythema": 1, "Patch": 1}, A.SINGLE, (1, 1), (0.3, 0.4), S.TARGET, 0.15),
            Group({"Papule": 1}, A.ON, (1, 1), (0.045, 0.06), S.ROUND, 0.2, probability=0.5),
            Group({PURPURA: 1}, A.ON, (1, 1), (0.1, 0.13), S.ROUND, 0.3, probability=0.25),
        ),
    ),
    Disease(
        "urticaria",
        (
            Group(
                {"Wheal": 1, "Erythema": 0.95, "Salmon": 0.15, PURPURA: 0.1},
                A.SCATTERED,
                (6, 11),
                (0.09, 0.16),
                S.BLOB,
                0.1,
            ),
            Group({"Excoriation": 1}, A.SCATTERED, (1, 3), (0.1, 0.14), probability=0.2),
        ),
    ),
    Disease(
        "hemangioma",
        (
            Group(
                {
                    "Nodule": 1,
                    "Erythema": 0.9,
                    "Purple": 0.65,
                    "Dome-shaped": 0.6,
                    "Blue": 0.35,
                    EXOPHYTIC: 0.15,
                },
                A.SINGLE,
                (1, 2),
                (0.19, 0.28),
                S.BLOB,
                0.08,
            ),
        ),
    ),
    Disease(
        "pyogenic granuloma",
        (
            Group(
                {
                    "Friable": 1,
                    "Pedunculated": 0.8,
                    "Erythema": 1,
                    "Nodule": 0.7,
                    EXOPHYTIC: 0.3,
                    "Ulcer": 0.15,
                },
                A.SINGLE,
                (1, 2),
                (0.16, 0.22),
                S.BLOB,
                0.08,
            ),
        ),
    ),
    Disease(
        "herpes simplex",
        (
            Group({"Erythema": 1}, A.GROUPED, (1, 2), (0.22, 0.28), S.BLOB, 0.4),
            Group(
                {"Vesicle": 1, "Umbilicated": 0.35},
                A.ON,
                (12, 20),
                (0.038, 0.052),
                S.ROUND,
                0.1,
            ),
            Group({"Crust": 1}, A.ON, (3, 5), (0.045, 0.06), probability=0.3),
            Group({"Erosion": 1}, A.ON, (2, 4), (0.045, 0.06), probability=0.3),
        ),
    ),
    Disease(
        "herpes zoster",
        (
            Group({"Erythema": 1}, A.LINEAR, (3, 5), (0.14, 0.18), S.BLOB, 0.4),
            Group(
                {"Vesicle": 1, "Umbilicated": 0.4},
                A.ON,
                (18, 28),
                (0.035, 0.048),
                S.ROUND,
                0.1,
            ),
            Group({"Pustule": 1}, A.ON, (4, 7), (0.032, 0.042), S.ROUND, probability=0.25),
            Group({"Crust": 1}, A.ON, (3, 5), (0.045, 0.06), probability=0.25),
        ),
    ),
)

DISEASES: dict[str, Disease] = {row.name: row for row in _ROWS}
CLASS_OF: dict[str, str] = {disease: entry.name for entry in CLASSES for disease in entry.diseases}
