"""What a checkpoint records about the parts it was trained with, and what that says of others.

A projection fits one language model, one Q-Former and one written form of the prompt; with any
other it gives nonsense silently. Files of others record nothing and are compared by shape alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from skingpt4.common.schema import ModelConfig
from skingpt4.prompts import PromptStyle, get_prompt_style

LLM, QFORMER, PROMPT = "llm", "qformer", "prompt"

SUBJECTS = {LLM: "language model", QFORMER: "Q-Former", PROMPT: "prompt form"}

# Weights are told apart by a few of their values and not by a digest, because the same folder is
# loaded in float32, float16 or bfloat16. Rounding to the last moves a value by at most 2^-8 of
# itself (2^-9 on either side); float16 loses up to 6e-8 of a tiny one.
SAMPLE_SIZE = 64

RELATIVE_TOLERANCE = 2**-8

ABSOLUTE_TOLERANCE = 1e-7

# The first rows of an embedding are a vocabulary's frequent pieces, which any fine-tuning moves.
FREQUENT_ROWS = 1024

Record = Mapping[str, Any]


@dataclass(frozen=True)
class LlmFacts:
    """What tells one language model from another.

    Attributes:
        name: Last component of its folder or id; for messages, it is not compared.
        architecture: Class name.
        width: Of its token embeddings.
        vocabulary: Number of token embeddings.
        embeddings: Some of their values; ``None`` if they are not loaded.
    """

    name: str
    architecture: str
    width: int
    vocabulary: int
    embeddings: list[float] | None = None

    def __str__(self) -> str:
        """Name it with its figures."""
        shape = f"{self.architecture}, {self.width} wide, {self.vocabulary} tokens"
        return f"'{self.name}' ({shape})"

    def figures(self) -> tuple[str, int, int]:
        """Return what must be equal."""
        return self.architecture, self.width, self.vocabulary


def llm_facts(llm: PreTrainedModel, name: str) -> LlmFacts:
    """Describe a language model that ``model.llm_model`` names so."""
    embeddings = cast(nn.Embedding, llm.get_input_embeddings()).weight
    vocabulary, width = embeddings.shape
    values = sample(embeddings[:FREQUENT_ROWS])
    return LlmFacts(Path(name).name, type(llm).__name__, width, vocabulary, values)


def sample(tensor: Tensor) -> list[float] | None:
    """Return some of a tensor's values, evenly spread; ``None`` on the meta device."""
    if tensor.is_meta:
        return None
    places = torch.linspace(0, tensor.numel() - 1, SAMPLE_SIZE, dtype=torch.float64).long()
    values = tensor.detach().flatten()[places.to(tensor.device)].float()
    return [float(f"{value:.6g}") for value in values.tolist()]


def write_record(
    config: ModelConfig, llm: LlmFacts, qformer: Sequence[float] | None
) -> dict[str, Any]:
    """Return what a checkpoint records.

    Args:
        config: The model's section.
        llm: Its language model.
        qformer: Its Q-Former's :func:`qformer_values`; ``None`` without one.
    """
    shape, queries = _qformer_shape(config)
    facts = {"shape": shape, "queries": queries, "values": qformer}
    return {LLM: asdict(llm), QFORMER: facts, PROMPT: _prompt_facts(config)}


def qformer_values(query_tokens: Tensor, qformer: Tensor) -> list[float] | None:
    """Return values that tell one Q-Former from another; ``None`` on the meta device."""
    queries, weights = sample(query_tokens), sample(qformer)
    return None if queries is None or weights is None else queries + weights


def unverifiable(record: Record) -> list[str]:
    """Return what a checkpoint does not say about the parts it was trained with."""
    return [subject for key, subject in SUBJECTS.items() if key not in record]


def check_record(
    record: Record,
    config: ModelConfig,
    facts: LlmFacts,
    path: str | Path,
    qformer: Sequence[float] | None = None,
) -> list[str]:
    """Return a sentence for each part that is not the one a checkpoint was trained with.

    What either side does not know is not compared.

    Args:
        record: What the checkpoint records.
        config: The present model's section.
        facts: The present language model.
        path: The checkpoint.
        qformer: The present Q-Former's :func:`qformer_values`.
    """
    sentences = []
    if LLM in record:
        sentences += _check_llm(LlmFacts(**record[LLM]), facts, path)
    if QFORMER in record:
        sentences += _check_qformer(record[QFORMER], config, qformer, path)
    if PROMPT in record and record[PROMPT] != (present := _prompt_facts(config)):
        sentences.append(
            f"The checkpoint '{path}' was trained with the {_form(record[PROMPT])}, but the "
            f"config has the {_form(present)}; set model.prompt_style, model.prompt_template and "
            "model.end_sym to those."
        )
    return sentences


def check_width(stored: int | None, facts: LlmFacts, path: str | Path) -> list[str]:
    """Return a sentence if a checkpoint's projection is made for another width."""
    if stored in (None, facts.width):
        return []
    return [
        f"The checkpoint '{path}' was trained with a language model {stored} wide, but "
        f"model.llm_model is {facts}; name the language model and the checkpoint that belong "
        "together."
    ]


def _check_llm(trained: LlmFacts, present: LlmFacts, path: str | Path) -> list[str]:
    if trained.figures() != present.figures():
        difference = f"is {present}"
    elif not _alike(trained.embeddings, present.embeddings):
        difference = f"'{present.name}' has other token embeddings"
    else:
        return []
    return [
        f"The checkpoint '{path}' was trained with the language model {trained}, but "
        f"model.llm_model {difference}; name the language model and the checkpoint that belong "
        "together."
    ]


def _check_qformer(
    trained: Record, config: ModelConfig, values: Sequence[float] | None, path: str | Path
) -> list[str]:
    ours, theirs = _qformer_shape(config), (trained["shape"], trained["queries"])
    if ours != theirs:
        difference = _qformer_name(*ours)
    elif not _alike(trained["values"], values):
        difference = f"'{config.q_former_model}', which has other weights"
    else:
        return []
    return [
        f"The checkpoint '{path}' was trained with {_qformer_name(*theirs)}, but the config has "
        f"{difference}; name the Q-Former and the checkpoint that belong together."
    ]


def _qformer_shape(config: ModelConfig) -> tuple[str, int]:
    """Return the Q-Former's shape and number of queries; ``("", 0)`` without one."""
    return (config.qformer, config.num_query_token) if config.has_qformer else ("", 0)


def _qformer_name(shape: str, queries: int) -> str:
    return f"the Q-Former '{shape}' with {queries} queries" if shape else "no Q-Former"


def _prompt_facts(config: ModelConfig) -> dict[str, str]:
    style = _style(config)
    return {"style": style.name, "template": style.template, "end_sym": style.end_sym}


def _style(config: ModelConfig) -> PromptStyle:
    return get_prompt_style(config.prompt_style, config.prompt_template, config.end_sym)


def _form(prompt: Record) -> str:
    template, end = prompt["template"], prompt["end_sym"]
    return f"prompt style '{prompt['style']}' (template '{template}', end symbol '{end}')"


def _alike(stored: Sequence[float] | None, present: Sequence[float] | None) -> bool:
    """Tell whether two samples are of the same weights, perhaps rounded to another type."""
    if stored is None or present is None:
        return True
    left, right = torch.tensor(stored), torch.tensor(present)
    return left.shape == right.shape and torch.allclose(
        left, right, rtol=RELATIVE_TOLERANCE, atol=ABSOLUTE_TOLERANCE
    )
