"""The language model: any Hugging Face causal LM, and its tokenizer."""

from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from skingpt4.common.errors import ConfigError, WeightsError

# Where a config names no length, prompts are kept within this many tokens (Llama-2's length).
DEFAULT_CONTEXT = 4096


def load_llm(name: str, frozen: bool = True) -> PreTrainedModel:
    """Load a causal LM: half precision where there is a GPU and it stays frozen, else float32.

    Raises:
        ConfigError: If no name is given.
        WeightsError: If the folder is missing, incomplete or damaged.
    """
    _check_folder(name)
    half = frozen and torch.cuda.is_available()
    try:
        model = AutoModelForCausalLM.from_pretrained(
            name, dtype=torch.float16 if half else torch.float32
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise WeightsError(_unusable("language model", name, error)) from None
    return model


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """Load the tokenizer beside the LLM, padding on the right as training needs.

    A tokenizer without a padding token pads with its end token; padding is masked by position,
    so no real end token is lost.

    Raises:
        ConfigError: If no name is given.
        WeightsError: If the tokenizer's files are missing or damaged.
    """
    _check_folder(name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise WeightsError(_unusable("tokenizer", name, error)) from None
    tokenizer.padding_side = "right"
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def context_length(llm: PreTrainedModel) -> int:
    """Return how many tokens the LLM can attend to."""
    return int(getattr(llm.config, "max_position_embeddings", None) or DEFAULT_CONTEXT)


def _check_folder(name: str) -> None:
    if not name:
        raise ConfigError("model.llm_model is empty; name a Hugging Face folder or id.")
    local = name.startswith((".", "/", "~")) or name.count("/") != 1
    if local and not Path(name).is_dir():
        raise WeightsError(f"model.llm_model '{name}' is no folder; check the path.")


def _unusable(what: str, name: str, error: Exception) -> str:
    reason = " ".join(str(error).split())[:200]
    return f"The {what} '{name}' could not be loaded ({reason}); check model.llm_model."
