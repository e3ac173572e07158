"""Many conversations at once: the same answers as one by one, several times faster."""

import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import cast

import numpy as np
from torch import Tensor

from skingpt4.conversation.chat import Chat
from skingpt4.conversation.conversation import Conversation
from skingpt4.conversation.engines import Decoding, PromptSegment, TransformersEngine
from skingpt4.conversation.engines.transformers_engine import BatchAnswer

__all__ = ["BatchAnswer", "BatchChat"]


class BatchChat(Chat):
    """A :class:`Chat` that also answers many conversations at once."""

    @classmethod
    def from_chat(cls, chat: Chat) -> "BatchChat":
        """Return one over the same model and engine."""
        return cls(chat.model, chat.vis_processor, chat.device, engine=chat.engine)

    def answer_batch(
        self,
        conversations: Sequence[Conversation],
        photos: Sequence[Sequence[Tensor]],
        decoding: Decoding,
        seeds: Sequence[int | None] | None = None,
    ) -> list[BatchAnswer]:
        """Answer the open question of every conversation and add the answers to them.

        Nothing is added to any of them if one cannot be answered. Another engine than
        ``transformers`` is asked for as many side by side as its ``at_once`` says.

        Args:
            conversations: All of one style.
            photos: Embeddings of each one's photos, in order.
            decoding: How answers are chosen.
            seeds: One for each conversation; makes sampling repeatable.

        Raises:
            ChatError: If a question does not fit the model's context.
        """
        prompts = [
            self._fit(conv, images, decoding.max_new_tokens, None)
            for conv, images in zip(conversations, photos, strict=True)
        ]
        stops = self._stops(conversations[0])
        own_seeds = seeds or [None] * len(prompts)
        if isinstance(self.engine, TransformersEngine):
            answers = self.engine.generate_batch(prompts, decoding, stops, own_seeds)
        else:
            alone = partial(self._answer_alone, decoding=decoding, stops=stops)
            with ThreadPoolExecutor(self.engine.at_once) as pool:
                answers = list(pool.map(alone, conversations, prompts, own_seeds))
        for conv, answer in zip(conversations, answers, strict=True):
            conv.append_message(conv.roles[1], self._plain(answer.text, conv))
        return answers

    def _answer_alone(
        self,
        conv: Conversation,
        prompt: Sequence[PromptSegment],
        seed: int | None,
        decoding: Decoding,
        stops: Sequence[str],
    ) -> BatchAnswer:
        """Answer one prompt with what is kept of its conversation."""
        memory = self._keeper.take_memory(conv) or self.engine.new_memory()
        try:
            return _timed(
                self.engine.stream(prompt, replace(decoding, seed=seed), stops, memory=memory)
            )
        finally:
            self._keeper.keep_memory(conv, memory)


def _timed(stream: Generator[str, None, np.ndarray]) -> BatchAnswer:
    """Read an answer to its end; its times count from its own start."""
    start, first, text = time.perf_counter(), 0.0, ""
    while True:
        try:
            text += next(stream)
        except StopIteration as end:
            seconds = time.perf_counter() - start
            ids = cast(np.ndarray, end.value)
            return BatchAnswer(text, ids, first or seconds, seconds)
        first = first or time.perf_counter() - start
