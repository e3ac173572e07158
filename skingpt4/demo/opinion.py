"""A second opinion: the same question answered anew several times, and whether the answers agree.

As in the paper's consistency test, and as ``evaluate.py consistency`` draws them. What the answers
name is counted; nothing is turned into a probability.
"""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from skingpt4.conversation.chat import Chat
from skingpt4.dermatology import QUESTIONS
from skingpt4.reading import score_text

DRAWS = 10
"""Independent answers (paper)."""

TEMPERATURE = 1.0
"""Of the draws: the model's own distribution, as in ``evaluate.py consistency``."""

AGREEMENT = 0.7
"""Below this share of draws for the most frequent diagnosis, the model does not agree with itself.
The figure is ours."""


@dataclass
class Opinion:
    """What the draws said so far.

    Attributes:
        draws: How many were asked for.
        seed: Of the first draw; the others follow it.
        answers: What each finished draw said, by its number from 0.
    """

    draws: int
    seed: int
    answers: dict[int, str] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        """Whether every draw is there."""
        return len(self.answers) == self.draws

    @property
    def counts(self) -> list[tuple[str | None, int]]:
        """How many draws settled on each class, or on none; the most frequent first."""
        tops = Counter(score_text(self.answers[number]).top for number in sorted(self.answers))
        return tops.most_common()

    @property
    def agrees(self) -> bool:
        """Whether enough draws settled on the same class."""
        (top, count), *_ = self.counts
        return top is not None and count >= AGREEMENT * len(self.answers)

    def words(self, top: str | None) -> list[str]:
        """Return the answers' own words for a class, the most frequent first."""
        found: Counter[str] = Counter()
        for text in self.answers.values():
            reading = score_text(text)
            if reading.top == top:
                named = [match.words for match in reading.trace if match.name == top]
                found.update(word.lower() for word in dict.fromkeys(named[:1]))
        return [word for word, _ in found.most_common()]


def ask_again(
    chat: Chat, photos: Sequence[Tensor], opinion: Opinion, cancel: threading.Event
) -> Iterator[None]:
    """Draw the answers, in a conversation of their own; yields after each.

    Args:
        chat: Answers.
        photos: What the model saw of each photo.
        opinion: Gets the answers.
        cancel: Ends drawing when set.

    Raises:
        ChatError: If the engine cannot draw.
    """
    conversation = chat.new_conversation()
    for _ in photos:
        conversation.add_photo()
    chat.ask(QUESTIONS[0], conversation)
    seeds = range(opinion.seed, opinion.seed + opinion.draws)
    drawn = chat.draw(conversation, photos, seeds, cancel=cancel, temperature=TEMPERATURE)
    for number, text in drawn:
        opinion.answers[number] = text
        yield
