"""An answer that grows token by token, each chosen from llama.cpp's scores as in ``generate``."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from transformers import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
)

from skingpt4.common.errors import ChatError
from skingpt4.conversation.engines.base import Decoding
from skingpt4.conversation.engines.sampling import sampling
from skingpt4.conversation.engines.stopping import TextStop
from skingpt4.models import SkinGPT4

CPU = torch.device("cpu")


class GrowingAnswer:
    """One answer, from its first token to its end.

    Args:
        model: Gives the tokenizer, and the tokens that end an answer.
        decoding: How it is chosen.
        stops: Strings that end it.

    Attributes:
        ids: Its tokens so far.
        ended: Whether it is whole.

    Raises:
        ChatError: If beams are asked for.
    """

    def __init__(self, model: SkinGPT4, decoding: Decoding, stops: Sequence[str]) -> None:
        if decoding.num_beams > 1:
            raise ChatError(
                f"num_beams is {decoding.num_beams}, but the engine 'llama_cpp' answers without "
                "beams; set it to 1, or set model.engine=transformers."
            )
        self.ids: list[int] = []
        self.ended = False
        self._least, self._most = decoding.min_length, decoding.max_new_tokens
        self._end_ids = _end_ids(model)
        self._stop = TextStop(model.llm_tokenizer, stops)
        self._shape_scores = _processors(decoding)

    def choose(self, scores: np.ndarray) -> int:
        """Add the next token and return it.

        Args:
            scores: Of all tokens, ``[vocabulary]``; changed.
        """
        if len(self.ids) < self._least:
            scores[self._end_ids] = -np.inf
        so_far = cast(torch.LongTensor, torch.tensor([self.ids], dtype=torch.long))
        shaped = self._shape_scores(so_far, torch.from_numpy(scores).unsqueeze(0))
        token = int(shaped.argmax())
        self.ids.append(token)
        self.ended = (
            token in self._end_ids
            or len(self.ids) == self._most
            or bool(self._stop(torch.tensor([self.ids]), None))
        )
        return token


def _processors(decoding: Decoding) -> LogitsProcessorList:
    """Return what shapes the scores, in the order of ``generate``."""
    chain: list[Any] = []
    if decoding.repetition_penalty != 1:
        chain.append(RepetitionPenaltyLogitsProcessor(float(decoding.repetition_penalty)))
    return LogitsProcessorList([*chain, *sampling(decoding, CPU)])


def _end_ids(model: SkinGPT4) -> list[int]:
    """Return the tokens that end an answer."""
    ids = cast(Any, model.llm_model.generation_config).eos_token_id
    ids = model.llm_tokenizer.eos_token_id if ids is None else ids
    return [] if ids is None else [int(number) for number in np.atleast_1d(ids)]
