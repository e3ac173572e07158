"""The loss of answers, without scores for words that nobody learns."""

import inspect

from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from skingpt4.models.batching import IGNORE_INDEX


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
