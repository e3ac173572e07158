"""Many conversations at once: the same answers as one by one, several times faster.

Prompts of unlike length are padded on the left and keep their own positions, so a row computes what
it would compute alone, up to the rounding of floating-point sums. Sampling draws each row's noise
from the row's own seed, as :meth:`Chat.answer` does for one.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)

from skingpt4.common.errors import ChatError
from skingpt4.conversation.chat import Chat, Photo
from skingpt4.conversation.conversation import Conversation
from skingpt4.conversation.engines import Decoding, PromptSegment, TransformersEngine
from skingpt4.conversation.engines.base import TextCutter
from skingpt4.conversation.engines.transformers_engine import TextStop, sampling


@dataclass(frozen=True)
class BatchAnswer:
    """One answer of a batch.

    Attributes:
        text: Without stop string and special tokens.
        token_ids: All new tokens ``[n]``, the end token included.
        seconds_to_first: From the batch's start to its first token.
        seconds: From the batch's start to the row's last token.
    """

    text: str
    token_ids: np.ndarray
    seconds_to_first: float
    seconds: float


class BatchEngine(TransformersEngine):
    """The model's own language model, for several prompts in one pass."""

    @torch.no_grad()
    def generate_batch(
        self,
        prompts: Sequence[Sequence[PromptSegment]],
        decoding: Decoding,
        stops: Sequence[str] = (),
        seeds: Sequence[int | None] | None = None,
    ) -> list[BatchAnswer]:
        """Answer every prompt.

        Args:
            prompts: Text and photo segments of each.
            decoding: For all of them; its ``seed`` is not used.
            stops: Strings that end an answer.
            seeds: One for each prompt; makes sampling repeatable.

        Raises:
            ChatError: If ``decoding`` asks for several beams.
        """
        if decoding.num_beams > 1:
            raise ChatError(
                f"num_beams is {decoding.num_beams}, but a batch of conversations is answered "
                "without beams; set it to 1, or answer one by one."
            )
        embeds, mask = _pad_left([self._embed(segments)[0] for segments in prompts])
        settings = self._generation_config(decoding)
        watch = _RowWatch(TextStop(self.tokenizer, stops), settings.eos_token_id, len(prompts))
        chains = [
            sampling(replace(decoding, seed=seed), embeds.device)
            for seed in seeds or [None] * len(prompts)
        ]
        ids = cast(Any, self.model.llm_model).generate(
            inputs_embeds=embeds,
            attention_mask=mask,
            generation_config=settings,
            logits_processor=LogitsProcessorList([_RowChains(chains)]),
            stopping_criteria=StoppingCriteriaList([*self.stopping_criteria, watch]),
        )
        rows = zip(ids, watch.lengths, strict=True)
        return [self._answer(row, length, watch, stops) for row, length in rows]

    def _answer(
        self, row: Tensor, length: int | None, watch: "_RowWatch", stops: Sequence[str]
    ) -> BatchAnswer:
        """Cut a row's padding off, and its text at the stop string."""
        token_ids = row[:length].cpu().numpy()
        return BatchAnswer(
            text=TextCutter(stops).cut(self._decode(token_ids.tolist())),
            token_ids=token_ids,
            seconds_to_first=watch.seconds[0],
            seconds=watch.seconds[len(token_ids) - 1],
        )


class BatchChat(Chat):
    """A :class:`Chat` that also answers many conversations at once."""

    engine: BatchEngine

    @classmethod
    def from_chat(cls, chat: Chat) -> "BatchChat":
        """Return one over the same model."""
        batch_chat = cls(chat.model, chat.vis_processor, chat.device)
        batch_chat.engine = BatchEngine(chat.model)
        return batch_chat

    @torch.no_grad()
    def encode_photos(self, images: Sequence[Photo]) -> list[Tensor]:
        """Encode photos together; each becomes ``[1, 32, D]``.

        Raises:
            PhotoError: If one cannot be opened.
        """
        pixels = torch.cat([self._pixels(image) for image in images])
        return list(self.model.encode_img(pixels.to(self.device)).split(1))

    def answer_batch(
        self,
        conversations: Sequence[Conversation],
        photos: Sequence[Sequence[Tensor]],
        decoding: Decoding,
        seeds: Sequence[int | None] | None = None,
    ) -> list[BatchAnswer]:
        """Answer the open question of every conversation and add the answers to them.

        Nothing is added to any of them if one cannot be answered.

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
        answers = self.engine.generate_batch(prompts, decoding, stops, seeds)
        for conv, answer in zip(conversations, answers, strict=True):
            conv.append_message(conv.roles[1], self._plain(answer.text, conv))
        return answers


class _RowChains(LogitsProcessor):
    """Shapes each row's scores by the row's own chain."""

    def __init__(self, chains: Sequence[LogitsProcessorList]) -> None:
        self.chains = chains

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        rows = zip(self.chains, input_ids.split(1), scores.split(1), strict=True)
        return torch.cat([chain(ids, row) for chain, ids, row in rows])


class _RowWatch(StoppingCriteria):
    """Ends rows at a stop string, and notes when and how long each row became.

    Attributes:
        lengths: Tokens of each row until its end; None while it has not ended.
        seconds: When each step was done, counted from the start.
    """

    def __init__(self, text_stop: TextStop, end_ids: int | list[int], rows: int) -> None:
        self.text_stop = text_stop
        self.end_ids = torch.tensor([end_ids]).flatten()
        self.lengths: list[int | None] = [None] * rows
        self.seconds: list[float] = []
        self._start = time.perf_counter()

    def __call__(self, input_ids: Tensor, scores: object, **kwargs: object) -> Tensor:
        stopped = self.text_stop(input_ids, scores)
        ended = stopped | torch.isin(input_ids[:, -1], self.end_ids.to(input_ids.device))
        self.seconds.append(time.perf_counter() - self._start)
        for row in ended.nonzero().flatten().tolist():
            if self.lengths[row] is None:
                self.lengths[row] = input_ids.shape[1]
        return stopped


def _pad_left(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Stack prompts ``[L_i, D]`` as ``[B, L, D]`` with an attention mask ``[B, L]``."""
    embeds = pad_sequence(list(rows), batch_first=True, padding_side="left")
    ones = [torch.ones(len(row), dtype=torch.long, device=row.device) for row in rows]
    return embeds, pad_sequence(ones, batch_first=True, padding_side="left")
