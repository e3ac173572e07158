"""The language model: any Hugging Face causal LM, and its tokenizer."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, cast

import torch
from iopath.common import file_lock
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

from skingpt4.common.downloads import cache_folder, is_hub_id, is_remote, resolve
from skingpt4.common.errors import ConfigError, WeightsError
from skingpt4.models.device import Placement
from skingpt4.models.gguf import dequantise, gguf_config, gguf_tokenizer, is_gguf
from skingpt4.models.random_llm import is_random, load_random_llm, random_config, random_tokenizer

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


@contextmanager
def _explained(what: str, name: str) -> Iterator[None]:
    """Turn what transformers raises for an unusable folder into one sentence."""
    try:
        yield
    except _LOADING_ERRORS as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(
            f"The {what} '{name}' could not be loaded ({reason}); check model.llm_model."
        ) from None


def _check_name(name: str) -> None:
    if not name:
        raise ConfigError("model.llm_model is empty; name a Hugging Face folder or id.")
    if is_gguf(name):
        if not is_remote(name) and not Path(name).is_file():
            raise WeightsError(f"model.llm_model '{name}' is no file; check the path.")
    # A name that looks like a hub's id and is no folder is left to the library to fetch.
    elif not is_hub_id(name) and not Path(name).is_dir():
        raise WeightsError(f"model.llm_model '{name}' is no folder; check the path.")


def _place(name: str, make: bool = False) -> str:
    """Return what transformers opens: the name, or the folder that a GGUF file becomes.

    Args:
        name: Folder, Hugging Face id or GGUF file.
        make: Write the folder, once, in the cache; otherwise the file stands until there is one.
    """
    if not is_gguf(name):
        return resolve(name) if make else name
    path = Path(resolve(name)).resolve()
    state = path.stat()  # a file that has changed becomes another folder
    folder = cache_folder(f"{path} {state.st_size} {state.st_mtime_ns}") / f"{path.stem}-hf"
    if make and not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Of several processes that start together, one makes it and the others wait.
        with file_lock(str(folder)):
            if not folder.is_dir():
                logger.info("Writing the weights of '%s' out as '%s', once", name, folder)
                dequantise(path, folder)
    return str(folder if folder.is_dir() else path)


def load_llm(name: str, placement: Placement, frozen: bool = True) -> PreTrainedModel:
    """Load a causal LM straight into its place, or make a random one there.

    Args:
        name: Folder, Hugging Face id, GGUF file or ``random:<row>``.
        placement: Device, dtype and quantisation.
        frozen: Whether its weights take no gradients.

    Raises:
        ConfigError: If no name is given, there is no such row, or quantisation is not installed.
        WeightsError: If the folder is missing, incomplete or damaged.
    """
    settings: dict[str, Any] = {
        "dtype": placement.llm_dtype,
        "device_map": placement.device_map or {"": placement.device},
        "quantization_config": quantization_config(placement),
    }
    if is_random(name):
        model = load_random_llm(name, placement.device, **settings)
        return model.requires_grad_(False) if frozen else model
    _check_name(name)
    with _explained("language model", name):
        folder = _place(name, make=True)
    config = llm_config(folder)
    with _explained("language model", name):
        model, report = cast(Any, AutoModelForCausalLM).from_pretrained(
            folder,
            config=config,
            trust_remote_code=False,  # a folder's own Python would run here
            output_loading_info=True,
            key_mapping=INSIDE_BLIP2,
            **settings,
        )
    missing = sorted(report["missing_keys"])
    if missing:
        # transformers fills them at random and only warns.
        raise WeightsError(
            f"The weight files of '{name}' lack {len(missing)} tensors ({', '.join(missing[:4])}"
            f"{', …' if len(missing) > 4 else ''}); fetch the folder again."
        )
    return model.requires_grad_(False) if frozen else model


def quantization_config(placement: Placement) -> BitsAndBytesConfig | None:
    """Return how the language model is quantised while it is loaded; None for not at all.

    Raises:
        ConfigError: If bitsandbytes is not installed.
    """
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
        bnb_4bit_compute_dtype=placement.llm_dtype,  # of each product; storage has 4 bits
    )


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
    with _explained("language model", name):
        place = _place(name)
        if is_gguf(place):
            return gguf_config(place)
        config = AutoConfig.from_pretrained(place, trust_remote_code=False)
    return config.get_text_config() if isinstance(config, Blip2Config) else config


def build_meta_llm(name: str) -> PreTrainedModel:
    """Build a causal LM on the meta device: all shapes, no numbers.

    Raises:
        ConfigError: As :func:`llm_config`.
        WeightsError: As :func:`llm_config`.
    """
    config = llm_config(name)
    with _explained("language model", name), torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, trust_remote_code=False)


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """Load the tokenizer beside the LLM, padding on the right as training needs.

    Raises:
        ConfigError: If no name is given.
        WeightsError: If the tokenizer's files are missing or damaged.
    """
    if is_random(name):
        tokenizer = random_tokenizer()
    else:
        _check_name(name)
        with _explained("tokenizer", name):
            place = _place(name)
            if is_gguf(place):
                tokenizer = gguf_tokenizer(place)
            else:
                tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=False)
    # In chat nothing is padded, or the engine pads for itself.
    tokenizer.padding_side = "right"
    # Padding is masked by position, so a real end token is not lost to a padding token like it.
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def context_length(llm: PreTrainedModel) -> int:
    """Return how many tokens the LLM can attend to."""
    text = llm.config.get_text_config()  # Gemma 3 nests it beside a vision tower's
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
