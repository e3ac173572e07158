"""Training text as tensors: written in the prompt's form, tokenised and labelled; and its loss.

Encoding belongs where batches are put together, in the loading processes: there it costs the
training process, and the GPU behind it, no time.
"""

import inspect
import random
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from skingpt4.common.errors import DatasetError
from skingpt4.prompts import IMAGE_PLACEHOLDER, PromptStyle, Segment, with_image_slot

# A batch's photos, as pixels or as what the frozen vision side makes of them.
IMAGE, FEATURES = "image", "features"

# Labels that teach nothing, as torch and transformers have it.
IGNORE_INDEX = -100

# Stands among token ids where an image embedding goes; no tokenizer gives it.
PHOTO_ID = -1


def shows_photo(samples: Mapping[str, Any]) -> bool:
    """Tell whether a batch is about photos; text-only sets are not."""
    return IMAGE in samples or FEATURES in samples


class DialogueEncoder:
    """Turns the texts of a batch into tensors, as upstream writes and tokenises them.

    It can be pickled, to work in loading processes. Where a sample has no question of its own, one
    training prompt is drawn for the whole batch. The prompts of a run are one sequence, which
    follows from the seed: a batch's number tells its prompt, whichever process encodes it.

    Args:
        tokenizer: The language model's.
        style: The written form of a prompt.
        prompts: Training prompts; without any, the answer follows the photo directly.
        image_tokens: Positions that one photo takes (Q).
        max_txt_len: Longest answer in tokens, end symbol included.
        seed: Fixes the prompts that are drawn.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        style: PromptStyle,
        prompts: Sequence[str],
        image_tokens: int,
        max_txt_len: int,
        seed: int = 0,
    ) -> None:
        self.tokenizer, self.style, self.prompts = tokenizer, style, prompts
        self.image_tokens, self.max_txt_len = image_tokens, max_txt_len
        self._random, self._drawn = random.Random(seed), list[str]()
        self._next = 0

    def with_seed(self, seed: int) -> "DialogueEncoder":
        """Return one that draws the prompts of another run."""
        settings = self.tokenizer, self.style, self.prompts, self.image_tokens, self.max_txt_len
        return DialogueEncoder(*settings, seed=seed)

    def __call__(self, samples: Mapping[str, Any], number: int | None = None) -> dict[str, Tensor]:
        """Encode a batch and pad it on the right.

        Args:
            samples: ``dialogue``, B lists of (question or None, answer), or upstream's
                ``text_input``, B answers; with ``image`` or ``features``, each is about a photo.
            number: Of the batch in the run; by default the one after the last.

        Returns:
            Each ``[B, T]``: ``input_ids`` (0 for a photo), ``image_mask`` (True for a photo),
            ``labels`` (``IGNORE_INDEX`` outside answers) and ``attention_mask``.

        Raises:
            DatasetError: If a text-only sample has no question.
        """
        dialogues = samples.get("dialogue") or [[(None, text)] for text in samples["text_input"]]
        has_photo, prompt = shows_photo(samples), None
        if has_photo and self.prompts:
            number = self._next if number is None else number
            self._next = number + 1
            # A process that encodes every nth batch draws those between, too.
            while len(self._drawn) <= number:
                self._drawn.append(self._random.choice(self.prompts))
            prompt = self._drawn[number]
        rows = [self.encode(dialogue, has_photo, prompt) for dialogue in dialogues]
        ids = pad_sequence([torch.tensor(row) for row, _ in rows], batch_first=True)  # [B, T]
        labels = [torch.tensor(row) for _, row in rows]
        return {
            "input_ids": ids.clamp(min=0),
            "image_mask": ids == PHOTO_ID,
            "labels": pad_sequence(labels, batch_first=True, padding_value=IGNORE_INDEX),
            # By position, not by id: a padding token may be the end token, which is learned.
            "attention_mask": pad_sequence([torch.ones_like(row) for row in labels], True),
        }

    def encode(
        self, dialogue: Sequence[tuple[str | None, str]], has_photo: bool, prompt: str | None
    ) -> tuple[list[int], list[int]]:
        """Encode one dialogue.

        Args:
            dialogue: Questions and answers; the first question alone may be None.
            has_photo: Whether it is about a photo, which then stands before the first question.
            prompt: In place of a first question that is None.

        Returns:
            Token ids, ``PHOTO_ID`` for a photo, and labels; each of T positions.

        Raises:
            DatasetError: If it has neither a photo nor a first question.
        """
        question, answer = dialogue[0]
        if question is None and prompt is None:
            if not has_photo:
                raise DatasetError("A text-only sample has no question; add a 'question' key.")
            # As upstream without prompts: the answer follows the photo directly.
            answered = Segment(answer + self.style.end_sym, is_target=True)
            segments = [Segment(IMAGE_PLACEHOLDER, is_target=False), answered]
        else:
            first = cast(str, question or prompt)
            later = [(cast(str, q), a) for q, a in dialogue[1:]]
            opening = with_image_slot(first) if has_photo else first
            segments = self.style.training([(opening, answer), *later])

        ids, labels = list[int](), list[int]()
        # Each segment, and each text beside a photo, is tokenised on its own, as upstream does.
        for segment in segments:
            if segment.is_target:
                learned = self.answer_ids(segment.text)
                ids, labels = ids + learned, labels + learned
                continue
            for number, text in enumerate(segment.text.split(IMAGE_PLACEHOLDER)):
                ids += [PHOTO_ID] * self.image_tokens if number else []
                ids += self.tokenizer(text, add_special_tokens=False).input_ids if text else []
            labels += [IGNORE_INDEX] * (len(ids) - len(labels))
        # A template may write the beginning-of-text token itself; it stands there once.
        begin = self.tokenizer.bos_token_id
        if begin is None or ids[:1] == [begin]:
            return ids, labels
        return [begin, *ids], [IGNORE_INDEX, *labels]

    def answer_ids(self, text: str) -> list[int]:
        """Tokenise an answer with its end symbol, cut to ``max_txt_len`` but never losing it."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False).input_ids
        if len(ids) <= self.max_txt_len:
            return ids
        # Upstream's cut drops the end symbol, so that long answers never learn to stop. Its tokens
        # are those from where the text with and without it differ: they may join what is before.
        body = text.removesuffix(self.style.end_sym)
        pairs = zip(ids, self.tokenizer(body, add_special_tokens=False).input_ids, strict=False)
        shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        tail = ids[shared:]
        return ids[: max(self.max_txt_len - len(tail), 0)] + tail


def answer_loss(
    llm: PreTrainedModel, embeds: Tensor, attention_mask: Tensor, labels: Tensor
) -> Tensor:
    """Return the mean cross-entropy over all answer tokens of a batch, a scalar.

    Args:
        llm: The language model.
        embeds: Its inputs ``[B, T, D]``.
        attention_mask: 1 where there is a token, ``[B, T]``.
        labels: Token ids to be predicted, ``IGNORE_INDEX`` elsewhere, ``[B, T]``.
    """
    next_ids = labels[:, 1:]  # [B, T - 1]: what each position has to predict
    # A photo and a question take most positions and teach nothing. Scores over the vocabulary are
    # made for the columns alone in which some row has an answer token next, and kept in no cache.
    columns = (next_ids != IGNORE_INDEX).any(dim=0).nonzero().flatten()  # [K]
    inputs = {"inputs_embeds": embeds, "attention_mask": attention_mask, "use_cache": False}
    # Some families cannot be told which positions to score; theirs are all scored, then chosen.
    if "logits_to_keep" in inspect.signature(type(llm).forward).parameters:
        scores = llm(**inputs, logits_to_keep=columns).logits  # [B, K, vocabulary]
    else:
        scores = llm(**inputs).logits[:, columns]
    targets = next_ids[:, columns]  # [B, K]
    is_target = targets != IGNORE_INDEX
    return functional.cross_entropy(scores[is_target].float(), targets[is_target])
