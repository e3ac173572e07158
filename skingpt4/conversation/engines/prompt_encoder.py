"""Prompts as a language model takes them in, and its tokens read as text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from skingpt4.models.skin_gpt4 import SkinGPT4

# Text, or the embeddings ``[32, D]`` (also ``[1, 32, D]``) of one photo.
PromptSegment = str | Tensor

REPLACEMENT_CHARACTER = "\ufffd"


@dataclass(frozen=True, eq=False)
class Prompt:
    """A prompt that is tokenised, once for all who count, embed or send it.

    Attributes:
        segments: Texts and photos in order.
        parts: The same as token ids and as embeddings ``[n, D]``; the beginning-of-text token,
            where the tokenizer has one, comes first and once.
    """

    segments: Sequence[PromptSegment]
    parts: Sequence[list[int] | Tensor]

    def __len__(self) -> int:
        """Return how many positions the prompt takes."""
        return sum(map(len, self.parts))


@dataclass(frozen=True, eq=False)
class PromptEncoder:
    """Turns prompt segments into token ids and embeddings, and token ids into text.

    Attributes:
        model: Gives the token embeddings, and tells which tokens end an answer.
        tokenizer: The model's.
    """

    model: "SkinGPT4"
    tokenizer: "PreTrainedTokenizerBase"

    @property
    def end_ids(self) -> list[int]:
        """Tokens that end an answer; the model's own choice goes before the tokenizer's."""
        # Instruct models end a turn with other tokens than a text, and list them here.
        config = self.model.llm_model.generation_config
        ids = cast(int | list[int] | None, config and config.eos_token_id)
        ids = self.tokenizer.eos_token_id if ids is None else ids
        return [] if ids is None else [int(number) for number in np.atleast_1d(ids)]

    def encode(self, segments: Sequence[PromptSegment]) -> Prompt:
        """Tokenise the text segments, each on its own as upstream does."""
        parts: list[list[int] | Tensor] = [
            self.tokenizer(segment, add_special_tokens=False).input_ids
            if isinstance(segment, str)
            else segment.flatten(end_dim=-2)  # [1, 32, D] -> [32, D]
            for segment in segments
        ]
        bos, first = self.tokenizer.bos_token_id, parts[0]
        # Llama 2's own template writes "<s>" as text, which must not be doubled.
        if bos is not None and isinstance(first, list) and first[:1] != [bos]:
            parts[0] = [bos, *first]
        return Prompt(segments, parts)

    def write_on(self, prompt: Prompt, answer: str) -> tuple[Prompt, list[int]]:
        """Return the prompt with an answer written on at its last text, and the answer's tokens.

        Text and answer are tokenised together, as they are when a later turn reads them again, so
        the answer's tokens are those from the first one that differs.
        """
        *earlier, last = prompt.segments
        longer = self.encode([*earlier, f"{last}{answer}"])
        before, after = cast(list[int], prompt.parts[-1]), cast(list[int], longer.parts[-1])
        pairs = zip(before, after, strict=False)
        shared = next((i for i, (a, b) in enumerate(pairs) if a != b), len(before))
        return longer, after[shared:]

    @torch.no_grad()
    def embed(self, prompt: Prompt) -> Tensor:
        """Return the prompt's embeddings ``[1, L, D]``, where and as the LLM embeds its own text.

        Asking the embedding's output, not its weight, is right for a model that is spread over
        several devices or kept elsewhere until it is used.
        """
        # {place: [l, D]}
        texts = {
            place: self.model.embed_tokens(torch.tensor(part, dtype=torch.long))
            for place, part in enumerate(prompt.parts)
            if isinstance(part, list)
        }
        like = next(iter(texts.values()))  # photos follow the text's device and dtype
        rows = [
            part.to(like) if isinstance(part, Tensor) else texts[place]
            for place, part in enumerate(prompt.parts)
        ]
        return torch.cat(rows).unsqueeze(0)  # [1, L, D]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids, without special tokens."""
        text = self.tokenizer.decode(
            list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return str(text)

    def read(self, ids: Sequence[int], stops: Sequence[str]) -> str:
        """Return the text of a whole answer, up to its stop string."""
        return TextCutter(stops).cut(self.decode(ids))


@dataclass(eq=False)
class TextCutter:
    """Cuts a growing text into pieces that later text cannot change.

    Attributes:
        stops: Strings that end the text.
        shown: Characters in the pieces so far.
    """

    stops: Sequence[str]
    shown: int = 0

    def cut(self, text: str) -> str:
        """Return what became certain since the last call; ``text`` is all text so far."""
        for stop in self.stops:
            text = text.partition(stop)[0]
        text = text.rstrip(REPLACEMENT_CHARACTER)  # bytes that are no whole character yet
        # An end that may still become a stop string is held back, and so is white space around
        # the answer, which may turn out to be its last.
        held_back = max(
            (n for stop in self.stops for n in range(1, len(stop)) if text.endswith(stop[:n])),
            default=0,
        )
        piece = text[: len(text) - held_back].strip()[self.shown :]
        self.shown += len(piece)
        return piece
