"""SkinGPT-4 as an answerer: the four questions as one conversation, or one question on its own."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import replace

import torch

from skingpt4.conversation.chat import BatchAnswer, Chat, load_chat
from skingpt4.conversation.engines import Decoding
from skingpt4.dermatology import QUESTIONS
from skingpt4.evaluation.cases import EvalCase
from skingpt4.evaluation.responses import Answer
from skingpt4.evaluation.systems import System


def seed_for(seed: int, case: str, draw: int) -> int:
    """Return a draw's own seed, 0 to 2^63 - 1, whatever else is drawn."""
    digest = hashlib.sha256(f"{seed}:{case}:{draw}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class Interview:
    """Asks the questions in order, each with what was said before (paper).

    Args:
        system: Who answers.
        decoding: How; its seed gives each case and question one of its own.
        device: Where.
    """

    def __init__(self, system: System, decoding: Decoding, device: torch.device) -> None:
        self.chat = load_chat(system.cfg_path, system.options, device)
        self.decoding = decoding

    def __call__(self, cases: Sequence[EvalCase]) -> list[list[Answer]]:
        """Hold one conversation about each case, all at once."""
        began = time.perf_counter()
        photos = [[photo] for photo in self.chat.encode_photos([case.image for case in cases])]
        encoding = time.perf_counter() - began
        conversations = [self.chat.new_conversation() for _ in cases]
        for conversation in conversations:
            conversation.add_photo()
        answers: list[list[Answer]] = [[] for _ in cases]
        for number, question in enumerate(QUESTIONS):
            for conversation in conversations:
                self.chat.ask(question, conversation)
            seeds = [seed_for(self.decoding.seed or 0, case.id, number) for case in cases]
            said = self.chat.answer_batch(conversations, photos, self.decoding, seeds)
            waited = encoding if number == 0 else 0.0
            for own, answer in zip(answers, said, strict=True):
                own.append(_answer(question, answer, waited))
        return answers


class RepeatedQuestion:
    """Asks one question about each photo, once or again and again, always in a new conversation.

    Args:
        chat: Who answers.
        decoding: How; its seed gives each case and draw one of its own.
        draws: How often.
        question: By default the first of the four.
    """

    def __init__(
        self, chat: Chat, decoding: Decoding, draws: int, question: str = QUESTIONS[0]
    ) -> None:
        self.chat = chat
        self.question = question
        self.decoding = decoding
        self.draws = draws

    def __call__(self, cases: Sequence[EvalCase]) -> list[list[Answer]]:
        """Return the draws of each case."""
        encoded = self.chat.encode_photos([case.image for case in cases])
        photos = [[photo] for photo in encoded for _ in range(self.draws)]
        conversations = [self.chat.new_conversation() for _ in photos]
        for conversation in conversations:
            conversation.add_photo()
            self.chat.ask(self.question, conversation)
        first = self.decoding.seed or 0
        seeds = [seed_for(first, case.id, draw) for case in cases for draw in range(self.draws)]
        said = self.chat.answer_batch(
            conversations, photos, replace(self.decoding, seed=None), seeds
        )
        answers = [_answer(self.question, answer, 0.0) for answer in said]
        starts = range(0, len(answers), self.draws)
        return [answers[start : start + self.draws] for start in starts]


def _answer(question: str, answer: BatchAnswer, waited: float) -> Answer:
    """Round times to a millisecond, which is finer than they repeat."""
    return Answer(
        question=question,
        text=answer.text,
        seconds_to_first=round(waited + answer.seconds_to_first, 3),
        seconds=round(waited + answer.seconds, 3),
        tokens=len(answer.token_ids),
    )
