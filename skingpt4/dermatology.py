"""The vocabulary of the SkinGPT-4 paper: concepts, classes, questions and skin types. Data only.

Counts, class names and questions are the paper's (Nature Communications 15:5649, 2024); the
spelling of the 48 concepts is SKINCON's. Phrases and `DiseaseClass.terms` are ours.
"""

import re
from dataclasses import dataclass


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
        terms: Further lower-case words that name this class in a free answer.
    """

    name: str
    step2_count: int
    diseases: tuple[str, ...]
    terms: tuple[str, ...] = ()


CONCEPTS: tuple[Concept, ...] = (
    Concept("Erythema", 2139, "erythema"),
    Concept("Plaque", 1966, "plaques"),
    Concept("Papule", 1169, "papules"),
    Concept("Brown(Hyperpigmentation)", 759, "brown hyperpigmentation"),
    Concept("Scale", 686, "scale"),
    Concept("Crust", 497, "crust"),
    Concept("White(Hypopigmentation)", 257, "white hypopigmentation"),
    Concept("Yellow", 245, "yellow colour"),
    Concept("Erosion", 200, "erosions"),
    Concept("Nodule", 189, "nodules"),
    Concept("Ulcer", 154, "ulcers"),
    Concept("Friable", 153, "friable tissue"),
    Concept("Patch", 149, "patches"),
    Concept("Dome-shaped", 146, "dome-shaped relief"),
    Concept("Exudate", 144, "exudate"),
    Concept("Scar", 123, "scars"),
    Concept("Pustule", 103, "pustules"),
    Concept("Telangiectasia", 100, "telangiectasia"),
    Concept("Black", 90, "black colour"),
    Concept("Purple", 85, "purple colour"),
    Concept("Atrophy", 69, "atrophy"),
    Concept("Bulla", 64, "bullae"),
    Concept("Umbilicated", 49, "umbilicated centres"),
    Concept("Vesicle", 46, "vesicles"),
    Concept("Warty/Papillomatous", 46, "warty surface"),
    Concept("Excoriation", 46, "excoriations"),
    Concept("Exophytic/Fungating", 42, "exophytic growth"),
    Concept("Xerosis", 35, "xerosis"),
    Concept("Induration", 33, "induration"),
    Concept("Fissure", 32, "fissures"),
    Concept("Sclerosis", 27, "sclerosis"),
    Concept("Pedunculated", 26, "pedunculated base"),
    Concept("Lichenification", 25, "lichenification"),
    Concept("Comedo", 24, "comedones"),
    Concept("Wheal", 21, "wheals"),
    Concept("Flat topped", 18, "flat topped relief"),
    Concept("Translucent", 16, "translucent surface"),
    Concept("Macule", 13, "macules"),
    Concept("Salmon", 10, "salmon colour"),
    Concept("Purpura/Petechiae", 10, "petechiae"),
    Concept("Acuminate", 8, "acuminate tips"),
    Concept("Cyst", 6, "cysts"),
    Concept("Blue", 5, "blue colour"),
    Concept("Abscess", 5, "abscesses"),
    Concept("Poikiloderma", 5, "poikiloderma"),
    Concept("Burrow", 5, "burrows"),
    Concept("Gray", 5, "gray colour"),
    Concept("Pigmented", 5, "pigmented network"),
)

CLASSES: tuple[DiseaseClass, ...] = (
    DiseaseClass("Acne and rosacea", 840, ("acne", "rosacea")),
    DiseaseClass(
        "Malignant lesions (actinic keratosis, basal cell carcinoma, etc.)",
        8166,
        ("actinic keratosis", "basal cell carcinoma"),
        ("squamous cell carcinoma", "malignant lesion"),
    ),
    DiseaseClass(
        "Dermatitis (atopic dermatitis, eczema, exanthems, drug eruptions, contact dermatitis, "
        "etc.)",
        5262,
        ("atopic dermatitis", "contact dermatitis"),
        ("dermatitis", "eczema", "exanthem", "drug eruption"),
    ),
    DiseaseClass("Bullous disease", 448, ("bullous pemphigoid", "pemphigus"), ("bullous disease",)),
    DiseaseClass(
        "Bacterial infections (cellulitis, impetigo, etc.)",
        228,
        ("impetigo", "cellulitis"),
        ("bacterial infection",),
    ),
    DiseaseClass(
        "Light diseases (vitiligo, sun-damaged skin, etc.)",
        568,
        ("vitiligo", "sun-damaged skin"),
        ("sun damage", "light disease"),
    ),
    DiseaseClass(
        "Connective tissue diseases (lupus, etc.)",
        420,
        ("lupus", "scleroderma"),
        ("dermatomyositis", "connective tissue disease"),
    ),
    DiseaseClass(
        "Benign tumors (seborrheic keratoses, etc.)",
        1916,
        ("seborrheic keratosis", "epidermoid cyst"),
        ("seborrheic keratoses", "benign tumor", "dermatofibroma", "skin tag"),
    ),
    DiseaseClass(
        "Melanoma skin cancer, nevi, moles",
        23373,
        ("melanoma", "melanocytic nevus"),
        ("nevus", "nevi", "mole"),
    ),
    DiseaseClass(
        "Fungal infections (nail fungus, tinea ringworm, candidiasis, etc.)",
        2340,
        ("tinea ringworm", "candidiasis"),
        ("tinea", "ringworm", "nail fungus", "fungal infection"),
    ),
    DiseaseClass("Psoriasis and lichen planus", 3460, ("psoriasis", "lichen planus")),
    DiseaseClass(
        "Infestations and bites (scabies, Lyme disease, etc.)",
        431,
        ("scabies", "lyme disease"),
        ("infestation", "insect bite"),
    ),
    DiseaseClass("Urticaria hives", 212, ("urticaria",), ("hives",)),
    DiseaseClass(
        "Vascular tumors",
        735,
        ("hemangioma", "pyogenic granuloma"),
        ("vascular tumor", "angioma", "kaposi sarcoma"),
    ),
    DiseaseClass("Herpes", 405, ("herpes simplex", "herpes zoster"), ("herpes", "shingles")),
)

OTHERS_COUNT = 239
"""Step-2 images outside the 15 classes (paper)."""

QUESTIONS: tuple[str, str, str, str] = (
    "Could you describe the skin disease in this image for me?",
    "Please provide a paragraph listing additional features you observed in the image.",
    "Based on the previous information, please provide a detailed explanation of the cause of this "
    "skin disease.",
    "What treatment and medication should be recommended for this case?",
)
"""The four questions of each evaluation conversation, in order (paper)."""

QUESTIONNAIRE: tuple[str, ...] = (
    "The diagnosis is correct or relevant.",
    "The description is informative.",
    "The suggestions are useful.",
    "It can help doctors with diagnosis.",
    "It can help patients to understand their disease better.",
    "If deployed locally, it protects patients' privacy.",
    "I am willing to use it.",
)
"""The seven items that raters score on a five-point scale (paper, in our words)."""

LIKERT: dict[int, str] = {
    1: "strongly disagree",
    2: "disagree",
    3: "neutral",
    4: "agree",
    5: "strongly agree",
}
"""The five-point scale (paper); the numbers are ours."""

LAY_ITEMS = (3, 5)
"""Items that lay users are asked as well (paper)."""

RATER_LEVEL_ITEMS = (6, 7)
"""Items about the rater's own attitude, not about the answers to a case (our reading)."""

FITZPATRICK_TYPES: tuple[str, ...] = ("I", "II", "III", "IV", "V", "VI")

DISCLAIMER = (
    "This is research software, not a medical device. Its answers can be wrong. "
    "Please see a dermatologist for any concern about your skin."
)


def _pattern(terms: tuple[str, ...]) -> re.Pattern[str]:
    """Match any of the terms as whole words, with an optional plural s."""
    alternatives = "|".join(re.escape(term) for term in terms)
    return re.compile(rf"(?<!\w)(?:{alternatives})s?(?!\w)", re.IGNORECASE)


_CLASS_PATTERNS = {entry.name: _pattern(entry.diseases + entry.terms) for entry in CLASSES}
_CONCEPT_PATTERNS = {concept.name: _pattern((concept.name, concept.phrase)) for concept in CONCEPTS}


def classes_named(text: str) -> tuple[str, ...]:
    """Names of the classes whose diseases (or further terms) the text mentions, in table order."""
    return tuple(name for name, pattern in _CLASS_PATTERNS.items() if pattern.search(text))


def concepts_named(text: str) -> tuple[str, ...]:
    """Names of the concepts that the text mentions by name or phrase, in the paper's order."""
    return tuple(name for name, pattern in _CONCEPT_PATTERNS.items() if pattern.search(text))
