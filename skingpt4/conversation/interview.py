"""One conversation about each of several photos, held all at once: the same questions in order."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from skingpt4.conversation.chat import BatchAnswer, Chat
    from skingpt4.conversation.engines import Decoding


def interview(
    chat: "Chat",
    photos: Sequence[Tensor],
    questions: Sequence[str],
    decoding: "Decoding",
    seeds: Sequence[Sequence[int]] | None = None,
) -> "list[list[BatchAnswer]]":
    """Ask every question about every photo, each with what was said before.

    Args:
        chat: Who answers.
        photos: Embeddings of one photo for each conversation, ``[1, Q, D]``.
        questions: In the order in which they are asked.
        decoding: How answers are chosen.
        seeds: For each question one seed for each photo; makes sampling repeatable.

    Returns:
        For each photo its answers, in the order of the questions.

    Raises:
        ChatError: If a question does not fit the model's context.
    """
    conversations = [chat.new_conversation(photos=1) for _ in photos]
    answers: list[list[BatchAnswer]] = [[] for _ in photos]
    for number, question in enumerate(questions if photos else ()):
        for conversation in conversations:
            chat.ask(question, conversation)
        own_seeds = seeds[number] if seeds else None
        said = chat.answer_batch(conversations, [[photo] for photo in photos], decoding, own_seeds)
        for own, answer in zip(answers, said, strict=True):
            own.append(answer)
    return answers
