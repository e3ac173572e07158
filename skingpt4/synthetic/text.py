"""What is asked and said about a case: wordings, captions, the four answers, dialogues."""

from dataclasses import dataclass
from enum import Enum

import numpy as np

from skingpt4.common.files import load_data
from skingpt4.dermatology import CONCEPTS, QUESTIONS
from skingpt4.synthetic.world import DrawnCase


class Intent(Enum):
    """What a question wants to know."""

    DIAGNOSIS = "diagnosis"
    FEATURES = "features"
    CAUSE = "cause"
    TREATMENT = "treatment"
    CONTAGIOUS = "contagious"
    DANGER = "danger"
    CANCER = "cancer"
    DOCTOR = "doctor"
    WHY = "why"
    SURE = "sure"
    HELLO = "hello"
    THANKS = "thanks"
    WHO = "who"
    OTHER = "other"


_TABLE = load_data("questions.yaml")

WORDINGS: dict[Intent, tuple[str, ...]] = {
    intent: tuple(_TABLE["wordings"][intent.value]) for intent in Intent
}
"""Training's wordings; those that it never saw test whether more was learned than these."""

SUBJECTS: tuple[str, ...] = tuple(_TABLE["subjects"])
"""What ``{it}`` stands for."""

_OPENINGS: tuple[str, ...] = tuple(_TABLE["openings"])

_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def wording(intent: Intent, rng: np.random.Generator) -> str:
    """Choose a wording and write it as people do: at times in lower case, hasty or mistyped.

    Args:
        intent: What is asked.
        rng: Chooses.
    """
    text = str(rng.choice(WORDINGS[intent])).replace("{it}", str(rng.choice(SUBJECTS)))
    if rng.random() < 0.1:
        text = str(rng.choice(_OPENINGS)) + text[0].lower() + text[1:]
    if rng.random() < 0.2:
        text = text.lower()
    if rng.random() < 0.2:
        text = text.rstrip("?.!") or text
    if rng.random() < 0.1:
        # One letter is dropped, doubled or exchanged for another.
        place = int(rng.integers(len(text)))
        slip = str(rng.choice(["", text[place] * 2, rng.choice(list(_LETTERS))]))
        text = text[:place] + slip + text[place + 1 :]
    return text


DrawnTurn = dict[str, str]

CONCEPT_QUESTION = "Could you describe the medical concepts of skin disease in this image for me?"

DIAGNOSIS_QUESTIONS = ("What's wrong with my skin?", QUESTIONS[0])

GENERAL_QUESTIONS = (
    "Describe this image in detail.",
    "Take a look at this image and describe what you notice.",
    "Please provide a detailed description of the picture.",
    "Could you describe the contents of this image for me?",
)

_WORDS = load_data("drawn_words.yaml")

PLAIN: dict[str, str] = _WORDS["plain"]
"""Each concept in plain visual words, without a clinical term."""

TONES: dict[str, str] = _WORDS["tones"]
"""Skin tone by Fitzpatrick type."""

_LAYOUTS: dict[str, list[str]] = _WORDS["layouts"]
"""How lesions lie, by outline or arrangement: a clinical word, plain words, a sentence."""


@dataclass(frozen=True)
class Knowledge:
    """What the small language model may say about a disease, from ``data/knowledge.yaml``.

    Attributes:
        cause: Sentences that follow the disease's name and explain its cause.
        treatment: What treatment may include, as the end of a sentence.
        contagious: Whether it passes from person to person, one sentence.
        danger: How dangerous it is, one sentence.
    """

    cause: str
    treatment: str
    contagious: str
    danger: str


_KNOWN = load_data("knowledge.yaml")

KNOWLEDGE = {disease: Knowledge(**texts) for disease, texts in _KNOWN["diseases"].items()}

SEE_A_DOCTOR: str = _KNOWN["see_a_doctor"]

PHRASES = {concept.name: concept.phrase for concept in CONCEPTS}


def _layout(case: DrawnCase) -> list[str]:
    """Return the three wordings of how the lesions lie; an outline speaks before an arrangement."""
    first = case.groups[0]
    return _LAYOUTS.get(first.shape.value) or _LAYOUTS[first.arrangement.value]


def _listing(parts: list[str]) -> str:
    """`a, b and c`."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _sized(case: DrawnCase) -> str:
    """How many and how large the most numerous lesions are, e.g. `many small`."""
    # Captions speak of what is seen most.
    most = max(case.groups, key=lambda group: group.count)
    steps = ((1, "one"), (3, "a few"), (7, "several"))
    count = next((word for limit, word in steps if most.count <= limit), "many")
    size = "small" if most.radius < 0.06 else "medium" if most.radius < 0.15 else "large"
    return f"{count} {size}"


def general_caption(case: DrawnCase) -> str:
    """Step 0: the photograph in plain visual words, at most about 45 of them."""
    # Agreement in number is the one grammar that the template needs.
    noun = "mark" if _sized(case).startswith("one") else "marks"
    return (
        f"A close photo of {TONES[case.fitzpatrick]} skin with {_sized(case)} {noun} "
        f"{_layout(case)[1]}: {', '.join(PLAIN[concept] for concept in case.concepts)}."
    )


def concept_caption(case: DrawnCase) -> str:
    """Step 1: the concepts in the paper's form and order."""
    names = ", ".join(case.concepts)
    return f"This is a skin disease image with following clinical concepts: {names}"


def diagnosis_caption(case: DrawnCase) -> str:
    """Step 2: the disease in the paper's form."""
    return f"This could be a skin disease image of {case.disease}."


def features_answer(case: DrawnCase) -> str:
    """Answer to the paper's second question: the concepts as sentences."""
    phrases = [PHRASES[concept] for concept in case.concepts]
    return f"I also observe {_listing(phrases)}. {_layout(case)[2]}"


def four_answers(case: DrawnCase) -> list[DrawnTurn]:
    """The paper's four questions with their answers, in order."""
    facts = KNOWLEDGE[case.disease]
    answers = (
        diagnosis_caption(case),
        features_answer(case),
        f"{case.disease[0].upper()}{case.disease[1:]} {facts.cause}",
        f"For {case.disease}, treatment may include {facts.treatment}. {SEE_A_DOCTOR}",
    )
    return [{"question": q, "answer": a} for q, a in zip(QUESTIONS, answers, strict=True)]


def everyday_answers(case: DrawnCase) -> dict[Intent, str]:
    """What the model says to each kind of everyday question."""
    facts = KNOWLEDGE[case.disease]
    diagnosis, features, cause, treatment = (turn["answer"] for turn in four_answers(case))
    signs = _listing([PHRASES[concept] for concept in case.concepts])
    # A photo alone never rules a cancer out.
    cancer = "no cancer, but only a dermatologist can be sure."
    if case.disease in _KNOWN["cancers"]:
        cancer = "a skin cancer. Please see a dermatologist soon."
    elif case.disease in _KNOWN["precancers"]:
        cancer = "no cancer but can turn into one. Please see a dermatologist soon."
    return {
        Intent.DIAGNOSIS: diagnosis,
        Intent.FEATURES: features,
        Intent.CAUSE: cause,
        Intent.TREATMENT: treatment,
        Intent.CONTAGIOUS: facts.contagious,
        Intent.DANGER: facts.danger,
        Intent.CANCER: f"I think of {case.disease}, which is {cancer}",
        Intent.DOCTOR: "Yes. Only a dermatologist can confirm the diagnosis.",
        Intent.WHY: f"I think of {case.disease} because I observe {signs}.",
        Intent.SURE: "I am not sure and can be wrong. Only a dermatologist can tell for certain.",
        Intent.HELLO: "Hello. I can describe this photo of skin. What would you like to know?",
        Intent.THANKS: "You are welcome. Please see a dermatologist for a diagnosis.",
        Intent.WHO: "I am not a doctor. I am a research program and my answers can be wrong.",
        Intent.OTHER: (
            "I can only speak about this photo of skin: what it shows, what causes it, how it is "
            "treated and whether it is dangerous."
        ),
    }


def text_question(case: DrawnCase, rng: np.random.Generator) -> list[DrawnTurn]:
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
    kind = int(rng.choice(5, p=(0.25, 0.2, 0.1, 0.25, 0.2)))
    # The note is drawn before the question: the order settles every later random number.
    note = _note(case, rng)
    if kind == 0:
        turns = [{"question": CONCEPT_QUESTION, "answer": concept_caption(case)}]
    elif kind == 1:
        question = DIAGNOSIS_QUESTIONS[rng.integers(2)]
        turns = [{"question": question, "answer": diagnosis_caption(case)}]
    elif kind == 2:
        turns = [four_answers(case)[1]]
    elif kind == 3:
        question = GENERAL_QUESTIONS[rng.integers(4)]
        turns = [{"question": question, "answer": general_caption(case)}]
    else:
        turns = [_everyday(case, rng)]
    return _with_slot(note, turns)


def text_dialogue(case: DrawnCase, rng: np.random.Generator) -> list[DrawnTurn]:
    """Return a conversation of two to ten turns about a note as in `text_question`."""
    kind = int(rng.choice(3, p=(0.3, 0.1, 0.6)))
    note = _note(case, rng)
    turns = four_answers(case)
    if kind == 1:
        turns = [turns[place] for place in rng.permutation(4)[: rng.integers(2, 4)]]
    elif kind == 2:
        # Some of the four questions in order, or none, then up to six everyday ones.
        turns = turns[: int(rng.integers(5))]
        turns += [_everyday(case, rng) for _ in range(int(rng.integers(2, 7)))]
    return _with_slot(note, turns)


def _note(case: DrawnCase, rng: np.random.Generator) -> list[str]:
    """The signs of a case as a doctor jots them down."""
    # Each sign in clinical or in plain words: the model must learn that both are one.
    clinical = rng.random(len(case.concepts)) < 0.5
    signs = [name if c else PLAIN[name] for name, c in zip(case.concepts, clinical, strict=True)]
    signs += [_layout(case)[int(rng.integers(2))], _sized(case), f"{TONES[case.fitzpatrick]} skin"]
    # Photos repeat themselves, too: 32 image tokens hold fewer signs than that.
    again = [sign for sign in signs if rng.random() < 0.4]
    return [str(word) for word in rng.permutation([*signs, *again])]


def _with_slot(words: list[str], turns: list[DrawnTurn]) -> list[DrawnTurn]:
    """Put words where the photo would stand, before the first question."""
    slot = f"<Img>{', '.join(words)}</Img> "
    return [{**turns[0], "question": slot + turns[0]["question"]}, *turns[1:]]


def _everyday(case: DrawnCase, rng: np.random.Generator) -> DrawnTurn:
    """One question in an everyday wording, with its answer."""
    intent = list(Intent)[int(rng.integers(len(Intent)))]
    return {"question": wording(intent, rng), "answer": everyday_answers(case)[intent]}
