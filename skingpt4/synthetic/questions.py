"""Everyday wordings of what people ask about a photo, by what they want to know."""

from enum import Enum

import numpy as np

from skingpt4.common.files import load_data


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
