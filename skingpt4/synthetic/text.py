"""What is said about a case: captions, the four answers, and dialogues for the language model."""

import numpy as np

from skingpt4.dermatology import CONCEPTS, QUESTIONS
from skingpt4.synthetic.diseases import Arrangement, Shape
from skingpt4.synthetic.knowledge import CANCERS, KNOWLEDGE, PRECANCERS, SEE_A_DOCTOR
from skingpt4.synthetic.questions import Intent, wording
from skingpt4.synthetic.world import Case

Turn = dict[str, str]

CONCEPT_QUESTION = "Could you describe the medical concepts of skin disease in this image for me?"
DIAGNOSIS_QUESTIONS = ("What's wrong with my skin?", QUESTIONS[0])
GENERAL_QUESTIONS = (
    "Describe this image in detail.",
    "Take a look at this image and describe what you notice.",
    "Please provide a detailed description of the picture.",
    "Could you describe the contents of this image for me?",
)

PLAIN: dict[str, str] = {
    "Erythema": "red colour",
    "Plaque": "wide raised areas",
    "Papule": "small bumps",
    "Brown(Hyperpigmentation)": "brown colour",
    "Scale": "white flakes",
    "Crust": "honey coloured clods",
    "White(Hypopigmentation)": "white colour",
    "Yellow": "yellow colour",
    "Erosion": "raw red surface",
    "Nodule": "a large lump",
    "Ulcer": "a deep hole",
    "Friable": "fresh blood",
    "Patch": "wide flat areas",
    "Dome-shaped": "round like a ball",
    "Exudate": "wet shiny drops",
    "Scar": "pale shiny stripes",
    "Pustule": "spots with pale yellow centres",
    "Telangiectasia": "thin branching red lines",
    "Black": "black colour",
    "Purple": "purple colour",
    "Atrophy": "sunken wrinkled centres",
    "Bulla": "large water bubbles",
    "Umbilicated": "a dimple in the middle",
    "Vesicle": "tiny clear bubbles",
    "Warty/Papillomatous": "a rough knobby surface",
    "Excoriation": "red scratch lines",
    "Exophytic/Fungating": "cauliflower growth",
    "Xerosis": "dry pale cracks",
    "Induration": "orange peel dents",
    "Fissure": "deep dark cracks",
    "Sclerosis": "tight waxy bands",
    "Pedunculated": "a thin stalk",
    "Lichenification": "thick crossing lines",
    "Comedo": "black dots",
    "Wheal": "pale pink swellings",
    "Flat topped": "flat shiny tops",
    "Translucent": "a pearly glow",
    "Macule": "small flat spots",
    "Salmon": "orange pink colour",
    "Purpura/Petechiae": "dark wine red dots",
    "Acuminate": "pointed white tips",
    "Cyst": "smooth balls with a pore",
    "Blue": "blue colour",
    "Abscess": "hot swellings with pus",
    "Poikiloderma": "mottled colours",
    "Burrow": "wavy white tunnels",
    "Gray": "gray colour",
    "Pigmented": "a dark net",
}
"""Each concept in plain visual words, without a clinical term."""

TONES: dict[str, str] = {
    "I": "very pale",
    "II": "pale",
    "III": "light tan",
    "IV": "tan",
    "V": "brown",
    "VI": "dark brown",
}

# Layout in a clinical word, in plain words, and as a sentence; outlines speak before arrangements.
_LAYOUTS: dict[Arrangement | Shape, tuple[str, str, str]] = {
    Shape.RING: ("annular", "in a ring", "The lesions form a ring."),
    Shape.TARGET: ("target-like", "like a target", "The lesion looks like a target."),
    Arrangement.SINGLE: ("solitary", "in the middle", "The lesion stands alone."),
    Arrangement.SCATTERED: ("scattered", "scattered", "The lesions are scattered."),
    Arrangement.GROUPED: ("grouped", "close together", "The lesions are grouped."),
    Arrangement.LINEAR: ("linear", "in a band", "The lesions follow a band."),
    Arrangement.SYMMETRIC: ("symmetric", "on both sides", "The lesions are symmetric."),
    Arrangement.FIELD: ("widespread", "over a broad area", "A broad area is affected."),
}

PHRASES = {concept.name: concept.phrase for concept in CONCEPTS}


def _layout(case: Case) -> tuple[str, str, str]:
    """The three wordings of how the lesions lie."""
    first = case.groups[0]
    return _LAYOUTS[first.shape] if first.shape in _LAYOUTS else _LAYOUTS[first.arrangement]


def _listing(parts: list[str]) -> str:
    """`a, b and c`."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _sized(case: Case) -> str:
    """How many and how large the most numerous lesions are, e.g. `many small`."""
    most = max(case.groups, key=lambda group: group.count)
    steps = ((1, "one"), (3, "a few"), (7, "several"))
    count = next((word for limit, word in steps if most.count <= limit), "many")
    size = "small" if most.radius < 0.06 else "medium" if most.radius < 0.15 else "large"
    return f"{count} {size}"


def general_caption(case: Case) -> str:
    """Step 0: the photograph in plain visual words, at most about 45 of them."""
    noun = "mark" if _sized(case).startswith("one") else "marks"
    return (
        f"A close photo of {TONES[case.fitzpatrick]} skin with {_sized(case)} {noun} "
        f"{_layout(case)[1]}: {', '.join(PLAIN[concept] for concept in case.concepts)}."
    )


def concept_caption(case: Case) -> str:
    """Step 1: the concepts in the paper's form and order."""
    names = ", ".join(case.concepts)
    return f"This is a skin disease image with following clinical concepts: {names}"


def diagnosis_caption(case: Case) -> str:
    """Step 2: the disease in the paper's form."""
    return f"This could be a skin disease image of {case.disease}."


def features_answer(case: Case) -> str:
    """Answer to the paper's second question: the concepts as sentences."""
    phrases = [PHRASES[concept] for concept in case.concepts]
    return f"I also observe {_listing(phrases)}. {_layout(case)[2]}"


def cause_answer(case: Case) -> str:
    """Answer to the paper's third question."""
    return f"{case.disease[0].upper()}{case.disease[1:]} {KNOWLEDGE[case.disease].cause}"


def treatment_answer(case: Case) -> str:
    """Answer to the paper's fourth question; it ends with advice to see a dermatologist."""
    treatment = KNOWLEDGE[case.disease].treatment
    return f"For {case.disease}, treatment may include {treatment}. {SEE_A_DOCTOR}"


def four_answers(case: Case) -> list[Turn]:
    """The paper's four questions with their answers, in order."""
    answers = (
        diagnosis_caption(case),
        features_answer(case),
        cause_answer(case),
        treatment_answer(case),
    )
    return [{"question": q, "answer": a} for q, a in zip(QUESTIONS, answers, strict=True)]


def everyday_answers(case: Case) -> dict[Intent, str]:
    """What the model says to each kind of everyday question."""
    facts = KNOWLEDGE[case.disease]
    diagnosis, features, cause, treatment = (turn["answer"] for turn in four_answers(case))
    return {
        Intent.DIAGNOSIS: diagnosis,
        Intent.FEATURES: features,
        Intent.CAUSE: cause,
        Intent.TREATMENT: treatment,
        Intent.CONTAGIOUS: facts.contagious,
        Intent.DANGER: facts.danger,
        Intent.CANCER: cancer_answer(case),
        Intent.DOCTOR: "Yes. Only a dermatologist can confirm the diagnosis.",
        Intent.WHY: why_answer(case),
        Intent.SURE: "I am not sure and can be wrong. Only a dermatologist can tell for certain.",
        Intent.HELLO: "Hello. I can describe this photo of skin. What would you like to know?",
        Intent.THANKS: "You are welcome. Please see a dermatologist for a diagnosis.",
        Intent.WHO: "I am not a doctor. I am a research program and my answers can be wrong.",
        Intent.OTHER: (
            "I can only speak about this photo of skin: what it shows, what causes it, how it is "
            "treated and whether it is dangerous."
        ),
    }


def cancer_answer(case: Case) -> str:
    """Answer to whether it is a cancer, which a photo alone never rules out."""
    opinion = f"I think of {case.disease}, which is"
    if case.disease in CANCERS:
        return f"{opinion} a skin cancer. Please see a dermatologist soon."
    if case.disease in PRECANCERS:
        return f"{opinion} no cancer but can turn into one. Please see a dermatologist soon."
    return f"{opinion} no cancer, but only a dermatologist can be sure."


def why_answer(case: Case) -> str:
    """Answer to why this diagnosis: the concepts that speak for it."""
    phrases = [PHRASES[concept] for concept in case.concepts]
    return f"I think of {case.disease} because I observe {_listing(phrases)}."


def text_question(case: Case, rng: np.random.Generator) -> list[Turn]:
    """One question about a disorderly note that stands in the image slot, with its answer.

    The note's words come in any order, some of them twice, each sign in clinical or in plain words.
    It teaches the language model to find what it is asked for, whatever the order, and that a
    "red colour" is an erythema, as a large one has learned from books.

    Args:
        case: The case that the note describes.
        rng: Chooses the question and the note.

    Returns:
        One turn, whose question begins with `<Img>words</Img> `.
    """
    kinds = (_concepts, _diagnosis, _features, _general, _everyday)
    kind = kinds[int(rng.choice(len(kinds), p=(0.25, 0.2, 0.1, 0.25, 0.2)))]
    return _with_slot(_note(case, rng), kind(case, rng))


def text_dialogue(case: Case, rng: np.random.Generator) -> list[Turn]:
    """A conversation of two to ten turns about a note as in `text_question`."""
    kinds = (_whole, _part, _chatty)
    kind = kinds[int(rng.choice(len(kinds), p=(0.3, 0.1, 0.6)))]
    return _with_slot(_note(case, rng), kind(case, rng))


def _note(case: Case, rng: np.random.Generator) -> list[str]:
    """The signs of a case as somebody jots them down."""
    clinical = rng.random(len(case.concepts)) < 0.5
    signs = [name if c else PLAIN[name] for name, c in zip(case.concepts, clinical, strict=True)]
    signs += [_layout(case)[int(rng.integers(2))], _sized(case), f"{TONES[case.fitzpatrick]} skin"]
    again = [sign for sign in signs if rng.random() < 0.4]
    return [str(word) for word in rng.permutation([*signs, *again])]


def _with_slot(words: list[str], turns: list[Turn]) -> list[Turn]:
    """Put words where the photo would stand, before the first question."""
    slot = f"<Img>{', '.join(words)}</Img> "
    return [{**turns[0], "question": slot + turns[0]["question"]}, *turns[1:]]


def _whole(case: Case, rng: np.random.Generator) -> list[Turn]:
    """The four questions in order."""
    return four_answers(case)


def _part(case: Case, rng: np.random.Generator) -> list[Turn]:
    """Two or three of the four questions in any order."""
    turns = four_answers(case)
    return [turns[place] for place in rng.permutation(4)[: rng.integers(2, 4)]]


def _features(case: Case, rng: np.random.Generator) -> list[Turn]:
    """The second of the four questions."""
    return [four_answers(case)[1]]


def _concepts(case: Case, rng: np.random.Generator) -> list[Turn]:
    """The question of step 1."""
    return [{"question": CONCEPT_QUESTION, "answer": concept_caption(case)}]


def _diagnosis(case: Case, rng: np.random.Generator) -> list[Turn]:
    """One of the questions of step 2."""
    question = DIAGNOSIS_QUESTIONS[rng.integers(2)]
    return [{"question": question, "answer": diagnosis_caption(case)}]


def _general(case: Case, rng: np.random.Generator) -> list[Turn]:
    """A question about the picture, answered in plain words."""
    question = GENERAL_QUESTIONS[rng.integers(4)]
    return [{"question": question, "answer": general_caption(case)}]


def _everyday(case: Case, rng: np.random.Generator) -> list[Turn]:
    """One question in an everyday wording."""
    intent = list(Intent)[int(rng.integers(len(Intent)))]
    return [{"question": wording(intent, rng), "answer": everyday_answers(case)[intent]}]


def _chatty(case: Case, rng: np.random.Generator) -> list[Turn]:
    """Some of the four questions in order, or none, then up to six everyday ones in any order."""
    asked = four_answers(case)[: int(rng.integers(5))]
    return asked + [turn for _ in range(int(rng.integers(2, 7))) for turn in _everyday(case, rng)]
