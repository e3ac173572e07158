"""Prompts as an LLM takes them in: token ids and embeddings; and its tokens read as text."""

import threading
from collections.abc import Generator, Sequence
from contextlib import closing

import numpy as np
import torch
from torch import Tensor

from skingpt4.conversation.engines.base import PromptSegment, TextCutter
from skingpt4.models import SkinGPT4


class PromptEncoder:
    """Turns prompt segments into token ids and embeddings, and token ids into text.

    Args:
        model: Gives the tokenizer and the token embeddings.
    """

    def __init__(self, model: SkinGPT4) -> None:
        self.model = model
        self.tokenizer = model.llm_tokenizer

    def count_tokens(self, segments: Sequence[PromptSegment]) -> int:
        """Return how many positions the prompt takes, the beginning-of-text token included."""
        ids = self.text_ids(segments)
        return sum(
            len(ids[i]) if isinstance(segment, str) else segment.shape[-2]
            for i, segment in enumerate(segments)
        )

    def text_ids(self, segments: Sequence[PromptSegment]) -> dict[int, list[int]]:
        """Tokenise the text segments, each on its own as upstream does, by their place.

        The beginning-of-text token, where the tokenizer has one, comes first and once.
        """
        ids = {
            i: self.tokenizer(segment, add_special_tokens=False).input_ids
            for i, segment in enumerate(segments)
            if isinstance(segment, str)
        }
        bos = self.tokenizer.bos_token_id
        if bos is not None and ids.get(0, [])[:1] != [bos]:
            ids[0] = [bos, *ids.get(0, [])]
        return ids

    def answer_ids(self, segments: Sequence[PromptSegment], answer: str) -> list[int]:
        """Return the tokens that a prompt gains when an answer is written on at its last text.

        Text and answer are tokenised together, as they are when a later turn reads them again.
        """
        last = len(segments) - 1
        before = self.text_ids(segments)[last]
        after = self.text_ids([*segments[:-1], f"{segments[-1]}{answer}"])[last]
        pairs = zip(before, after, strict=False)
        shared = next((i for i, (a, b) in enumerate(pairs) if a != b), len(before))
        return after[shared:]

    @torch.no_grad()
    def embed(self, segments: Sequence[PromptSegment]) -> Tensor:
        """Return the prompt's embeddings ``[1, L, D]``, where and as the LLM embeds its own text.

        Asking the embedding's output, not its weight, is right for a model that is spread over
        several devices or kept elsewhere until it is used.
        """
        texts = {
            i: self.model.embed_tokens(torch.tensor(ids, dtype=torch.long))
            for i, ids in self.text_ids(segments).items()
        }
        like = next(iter(texts.values()))
        rows = [
            texts[i] if isinstance(segment, str) else segment.flatten(end_dim=-2).to(like)
            for i, segment in enumerate(segments)
        ]
        return torch.cat(rows).unsqueeze(0)

    def read_answer(
        self,
        tokens: Generator[list[int], None, None],
        stops: Sequence[str],
        cancel: threading.Event | None = None,
    ) -> Generator[str, None, np.ndarray]:
        """Yield the text of an answer's tokens in pieces and return its token ids ``[n]``.

        Args:
            tokens: As they come; closed with this.
            stops: Strings that end the answer.
            cancel: If set before the first token came, there is no answer.
        """
        cutter = TextCutter(stops)
        ids: list[int] = []
        with closing(tokens):
            for new_ids in tokens:
                if not ids and cancel is not None and cancel.is_set():
                    break
                ids += new_ids
                if piece := cutter.cut(self.decode(ids)):
                    yield piece
        return np.array(ids, dtype=np.int64)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids, without special tokens."""
        text = self.tokenizer.decode(
            list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return str(text)
