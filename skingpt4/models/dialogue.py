"""Turning dialogues into token ids, image positions and labels."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from skingpt4.prompts import IMAGE_PLACEHOLDER, Segment

IGNORE_INDEX = -100

IMAGE, FEATURES = "image", "features"
"""A batch's photos, as pixels or as what the frozen vision side makes of them."""


def shows_photo(samples: Mapping[str, Any]) -> bool:
    """Tell whether a batch is about photos; text-only sets are not."""
    return IMAGE in samples or FEATURES in samples


@dataclass(frozen=True)
class EncodedDialogue:
    """One dialogue as parallel lists over its positions.

    Attributes:
        ids: Token ids; 0 where an image embedding stands.
        is_image: True where an image embedding stands.
        labels: Token ids to learn, ``IGNORE_INDEX`` elsewhere.
    """

    ids: list[int]
    is_image: list[bool]
    labels: list[int]


@dataclass(frozen=True)
class EncodedBatch:
    """Right-padded dialogues, each ``[B, T]``."""

    ids: Tensor
    is_image: Tensor
    labels: Tensor
    attention_mask: Tensor


class DialogueEncoder:
    """Tokenises training segments as upstream does: each on its own, BOS once in front.

    A template may write the beginning-of-text token itself; it is then not put in front again.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        image_tokens: int,
        max_txt_len: int,
        end_sym: str,
    ) -> None:
        self.tokenizer = tokenizer
        self.image_tokens = image_tokens
        self.max_txt_len = max_txt_len
        self.end_sym = end_sym

    def __call__(self, dialogues: Sequence[Sequence[Segment]]) -> EncodedBatch:
        """Encode and pad a batch of dialogues."""
        encoded = [self.encode(dialogue) for dialogue in dialogues]
        longest = max(len(dialogue.ids) for dialogue in encoded)
        return EncodedBatch(
            ids=_pad([e.ids for e in encoded], longest, 0),
            is_image=_pad([e.is_image for e in encoded], longest, False),
            labels=_pad([e.labels for e in encoded], longest, IGNORE_INDEX),
            attention_mask=_pad([[1] * len(e.ids) for e in encoded], longest, 0),
        )

    def encode(self, segments: Sequence[Segment]) -> EncodedDialogue:
        """Encode one dialogue."""
        out = EncodedDialogue([], [], [])
        for segment in segments:
            if segment.is_target:
                _extend(out, self.answer_ids(segment.text), is_target=True)
            else:
                self._extend_prompt(out, segment.text)
        bos = self.tokenizer.bos_token_id
        if bos is None or (out.ids[:1] == [bos] and not out.is_image[0]):
            return out
        return EncodedDialogue([bos, *out.ids], [False, *out.is_image], [IGNORE_INDEX, *out.labels])

    def _extend_prompt(self, out: EncodedDialogue, text: str) -> None:
        for number, piece in enumerate(text.split(IMAGE_PLACEHOLDER)):
            if number:
                out.ids.extend([0] * self.image_tokens)
                out.is_image.extend([True] * self.image_tokens)
                out.labels.extend([IGNORE_INDEX] * self.image_tokens)
            if piece:
                _extend(out, self._tokenize(piece), is_target=False)

    def answer_ids(self, text: str) -> list[int]:
        """Tokenise an answer with its end symbol, cut to ``max_txt_len`` but never losing it.

        Upstream's cut drops the end symbol, so that long answers never learn to stop.
        """
        ids = self._tokenize(text)
        if len(ids) <= self.max_txt_len:
            return ids
        body = self._tokenize(text.removesuffix(self.end_sym))
        tail = ids[_common_prefix(ids, body) :]
        return ids[: max(self.max_txt_len - len(tail), 0)] + tail

    def _tokenize(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False).input_ids
        return ids


def _extend(out: EncodedDialogue, ids: list[int], is_target: bool) -> None:
    out.ids.extend(ids)
    out.is_image.extend([False] * len(ids))
    out.labels.extend(ids if is_target else [IGNORE_INDEX] * len(ids))


def _common_prefix(left: list[int], right: list[int]) -> int:
    length = 0
    for a, b in zip(left, right, strict=False):
        if a != b:
            break
        length += 1
    return length


def _pad(rows: Sequence[Sequence[int]], length: int, value: int) -> Tensor:
    return torch.tensor([[*row, *[value] * (length - len(row))] for row in rows])


def answer_loss(
    llm: PreTrainedModel, embeds: Tensor, attention_mask: Tensor, labels: Tensor
) -> Tensor:
    """Return the mean cross-entropy over all answer tokens of a batch, a scalar.

    A photo and a question take most positions and teach nothing; scores over the vocabulary are
    made for the columns in which some row has an answer token next, and kept in no cache.

    Args:
        llm: The language model.
        embeds: Its inputs ``[B, T, D]``.
        attention_mask: 1 where there is a token, ``[B, T]``.
        labels: Token ids to be predicted, ``IGNORE_INDEX`` elsewhere, ``[B, T]``.
    """
    next_ids = labels[:, 1:]
    columns = (next_ids != IGNORE_INDEX).any(dim=0).nonzero().flatten()
    inputs = {"inputs_embeds": embeds, "attention_mask": attention_mask, "use_cache": False}
    if _scores_columns(type(llm)):
        scores = llm(**inputs, logits_to_keep=columns).logits
    else:
        scores = llm(**inputs).logits[:, columns]
    targets = next_ids[:, columns]
    is_target = targets != IGNORE_INDEX
    return functional.cross_entropy(scores[is_target].float(), targets[is_target])


def _scores_columns(kind: type[PreTrainedModel]) -> bool:
    """Tell whether a family can be told for which positions to make scores."""
    return "logits_to_keep" in inspect.signature(kind.forward).parameters
