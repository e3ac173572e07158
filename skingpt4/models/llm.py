"""The language model: any Hugging Face causal LM, and its tokenizer."""

import logging
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, cast

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    Blip2Config,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import is_bitsandbytes_available

from skingpt4.common.downloads import is_hub_id, is_remote, resolve
from skingpt4.common.errors import ConfigError, WeightsError
from skingpt4.models.device import Placement
from skingpt4.models.gguf import gguf_config, gguf_tokenizer, is_gguf
from skingpt4.models.random_llm import is_random, load_random_llm, random_config, random_tokenizer

__all__ = [
    "build_meta_llm",
    "context_length",
    "key_value_heads",
    "is_random",
    "llm_config",
    "load_llm",
    "load_tokenizer",
]

logger = logging.getLogger(__name__)

# Where a config names no length, prompts are kept within this many tokens (Llama-2's length).
DEFAULT_CONTEXT = 4096

# How a BLIP-2 folder, as ``weights/export_hf.py`` writes, names its language model's tensors.
INSIDE_BLIP2 = {r"^language_model\.": ""}

# What transformers raises for a folder that is damaged, incomplete or of an unknown kind.
_LOADING_ERRORS = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    RuntimeError,
    ImportError,
    SafetensorError,
    UnpicklingError,
)


def load_llm(name: str, placement: Placement, frozen: bool = True) -> PreTrainedModel:
    """Load a causal LM straight into its place, or make a random one there.

    Args:
        name: Folder, Hugging Face id, or ``random:<row>``.
        placement: Device, dtype and quantisation.
        frozen: Whether its weights take no gradients.

    Raises:
        ConfigError: If no name is given, there is no such row, or quantisation is not installed.
        WeightsError: If the folder is missing, incomplete or damaged.
    """
    settings = _settings(placement)
    if is_random(name):
        model = load_random_llm(name, placement.device, **settings)
    else:
        model = _read_llm(name, settings)
    return model.requires_grad_(False) if frozen else model


def llm_config(name: str) -> PretrainedConfig:
    """Return the configuration of a causal LM: of a folder, of the one in a BLIP-2 folder, or GGUF.

    No weights are read or fetched.

    Raises:
        ConfigError: If no name is given or there is no such row.
        WeightsError: If the folder is missing or its configuration damaged.
    """
    if is_random(name):
        return random_config(name)
    _check_name(name)
    try:
        config = _read_config(name)
    except _LOADING_ERRORS as error:
        raise WeightsError(_unusable("language model", name, error)) from None
    return config.get_text_config() if isinstance(config, Blip2Config) else config


def _read_config(name: str) -> PretrainedConfig:
    if is_gguf(name):
        return gguf_config(resolve(name))
    return AutoConfig.from_pretrained(name, trust_remote_code=False)


def build_meta_llm(name: str) -> PreTrainedModel:
    """Build a causal LM on the meta device: all shapes, no numbers.

    Raises:
        ConfigError: As :func:`llm_config`.
        WeightsError: As :func:`llm_config`.
    """
    config = llm_config(name)
    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except _LOADING_ERRORS as error:
        raise WeightsError(_unusable("language model", name, error)) from None


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """Load the tokenizer beside the LLM, padding on the right as training needs.

    A tokenizer without a padding token pads with its end token; padding is masked by position,
    so no real end token is lost.

    Raises:
        ConfigError: If no name is given.
        WeightsError: If the tokenizer's files are missing or damaged.
    """
    tokenizer = random_tokenizer() if is_random(name) else _read_tokenizer(name)
    tokenizer.padding_side = "right"
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def context_length(llm: PreTrainedModel) -> int:
    """Return how many tokens the LLM can attend to."""
    text = llm.config.get_text_config()
    return int(getattr(text, "max_position_embeddings", None) or DEFAULT_CONTEXT)


def key_value_heads(config: PretrainedConfig) -> int:
    """Return how many key-value heads a layer has: fewer than attention heads where grouped."""
    # Old Falcons share one among all queries, or have one for each.
    if config.model_type == "falcon" and not config.new_decoder_architecture:
        return 1 if config.multi_query else int(config.num_attention_heads)
    for name in ("num_key_value_heads", "num_kv_heads"):
        if getattr(config, name, None):
            return int(getattr(config, name))
    return int(config.num_attention_heads)


def _settings(placement: Placement) -> dict[str, Any]:
    """Return what ``from_pretrained`` needs to know about the place."""
    return {
        "dtype": placement.llm_dtype,
        "device_map": placement.device_map or {"": placement.device},
        "quantization_config": _quantization(placement),
    }


def _quantization(placement: Placement) -> BitsAndBytesConfig | None:
    if not placement.quantization:
        return None
    if not is_bitsandbytes_available():
        raise ConfigError(
            f"model.quantization '{placement.quantization}' needs bitsandbytes, which is not "
            "installed; run: pip install 'skingpt4[quant]'."
        )
    if placement.device.type == "cpu":
        logger.warning(
            "%s is no fast way on a CPU: a GGUF file with model.engine=llama_cpp is several times "
            "faster",
            placement.quantization,
        )
        # Which would write a line for every product of every token.
        logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
    if placement.quantization == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=placement.llm_dtype,
    )


def _read_llm(name: str, settings: dict[str, Any]) -> PreTrainedModel:
    _check_name(name)
    folder = resolve(name)
    config = llm_config(folder)
    try:
        model, report = cast(Any, AutoModelForCausalLM).from_pretrained(
            folder,
            config=config,
            trust_remote_code=False,
            output_loading_info=True,
            key_mapping=INSIDE_BLIP2,
            **settings,
        )
    except _LOADING_ERRORS as error:
        raise WeightsError(_unusable("language model", name, error)) from None
    missing = sorted(report["missing_keys"])
    if missing:
        # transformers fills them at random and only warns.
        raise WeightsError(
            f"The weight files of '{name}' lack {len(missing)} tensors ({', '.join(missing[:4])}"
            f"{', …' if len(missing) > 4 else ''}); fetch the folder again."
        )
    return cast(PreTrainedModel, model)


def _read_tokenizer(name: str) -> PreTrainedTokenizerBase:
    _check_name(name)
    try:
        if is_gguf(name):
            return gguf_tokenizer(resolve(name))
        return AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except _LOADING_ERRORS as error:
        raise WeightsError(_unusable("tokenizer", name, error)) from None


def _check_name(name: str) -> None:
    if not name:
        raise ConfigError("model.llm_model is empty; name a Hugging Face folder or id.")
    if is_gguf(name):
        if not is_remote(name) and not Path(name).is_file():
            raise WeightsError(f"model.llm_model '{name}' is no file; check the path.")
    elif not is_hub_id(name) and not Path(name).is_dir():
        raise WeightsError(f"model.llm_model '{name}' is no folder; check the path.")


def _unusable(what: str, name: str, error: Exception) -> str:
    reason = " ".join(str(error).split())[:200]
    return f"The {what} '{name}' could not be loaded ({reason}); check model.llm_model."
