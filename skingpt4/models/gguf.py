"""What a GGUF file says of the language model in it, and the folder that it becomes here.

Files of ours (``weights/export_gguf.py``) carry the folder's configuration and tokenizer as they
were, so both programs take the same tokens. transformers reads other files in its own way, unless
a tokenizer's files lie beside the GGUF.

llama.cpp runs a file as it is. For this process its weights are written out once, in the cache.
"""

import json
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import transformers
from gguf import GGUFReader
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedTokenizerBase,
)

ENDING = ".gguf"

# The engine that reads such a file as it is.
GGUF_ENGINE = "llama_cpp"

# Our own metadata, JSON each: the configuration, the tokenizer's files by name, and some values of
# the token embeddings as they were before they were quantised.
CONFIG_KEY = "skingpt4.config"
TOKENIZER_KEY = "skingpt4.tokenizer"
EMBEDDINGS_KEY = "skingpt4.embeddings"

# GGUF's name of the token embeddings, and its types that keep their values.
EMBEDDINGS_NAME = "token_embd.weight"
EXACT_TYPES = ("F32", "F16")


def is_gguf(name: str) -> bool:
    """Tell whether ``model.llm_model`` names a GGUF file."""
    return name.endswith(ENDING)


def gguf_config(path: str) -> PretrainedConfig:
    """Return the configuration that a GGUF file's metadata describes.

    Raises:
        ValueError: If the file is no GGUF, or of an architecture unknown to transformers.
    """
    own = _read(path)[0].get(CONFIG_KEY)
    if own is None:
        place = Path(path)
        # transformers works it out from the architecture's own metadata.
        return AutoConfig.from_pretrained(place.parent, gguf_file=place.name)
    settings = json.loads(own)
    return AutoConfig.for_model(settings.pop("model_type"), **settings)


def gguf_tokenizer(path: str) -> PreTrainedTokenizerBase:
    """Return the tokenizer in a GGUF file, or the one whose files lie beside it.

    Raises:
        ValueError: If its kind is unknown to transformers.
    """
    place = Path(path)
    own = _read(path)[0].get(TOKENIZER_KEY)
    if own is not None:
        # AutoTokenizer reads folders only. A name's last part alone is used: none leads elsewhere.
        with tempfile.TemporaryDirectory() as temporary:
            for name, text in json.loads(own).items():
                (Path(temporary) / Path(name).name).write_text(text, encoding="utf-8")
            return AutoTokenizer.from_pretrained(temporary, trust_remote_code=False)
    if (place.parent / "tokenizer_config.json").is_file():
        return AutoTokenizer.from_pretrained(place.parent, trust_remote_code=False)
    return AutoTokenizer.from_pretrained(place.parent, gguf_file=place.name)


def gguf_embeddings(path: str) -> list[float] | np.ndarray | None:
    """Return what a GGUF file tells of its token embeddings, from which models are told apart.

    Returns:
        Of files of ours, the sample that was taken before quantising; of files of others, rows
        ``[vocabulary, D]`` that are not quantised, mapped into memory; None where there are none.
    """
    own, rows = _read(path)
    return json.loads(own[EMBEDDINGS_KEY]) if EMBEDDINGS_KEY in own else rows


def dequantise(file: Path, folder: Path) -> None:
    """Write a GGUF file's model, configuration and tokenizer as a Hugging Face folder.

    Raises:
        ValueError: If the file is no GGUF, or of an architecture unknown to transformers.
    """
    path, rows = str(file), _read(str(file))[1]
    # Quantised numbers have two or three digits: half precision keeps them.
    dtype = torch.float32 if rows is not None and rows.dtype == np.float32 else torch.float16
    # Newer versions would keep the weights in their blocks where a kernel multiplies those.
    packing = getattr(transformers, "GgufConfig", None)
    settings: dict[str, Any] = {"quantization_config": packing(dequantize=True)} if packing else {}
    config, tokenizer = gguf_config(path), gguf_tokenizer(path)
    read = cast(Any, AutoModelForCausalLM).from_pretrained(
        file.parent, gguf_file=file.name, config=config, dtype=dtype, **settings
    )
    # In a model of its own: what was read from blocks refuses to be saved.
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    model.load_state_dict(read.state_dict(), assign=True)
    # Under a name of its own until it is whole, then moved.
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        unfinished = Path(temporary) / folder.name
        model.save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)
        unfinished.rename(folder)


def _read(path: str) -> tuple[dict[str, str], np.ndarray | None]:
    """Return what a file says under our own keys, and its embeddings if they are exact.

    Raises:
        ValueError: If the file is no GGUF.
    """
    return _read_version(path, Path(path).stat().st_mtime_ns)


# Reading a large vocabulary takes seconds, so a file is read once, as long as it has not changed.
@lru_cache(maxsize=4)
def _read_version(path: str, changed: int) -> tuple[dict[str, str], np.ndarray | None]:
    try:
        reader = GGUFReader(path)
    except Exception as error:  # a damaged file raises nearly anything
        raise ValueError(f"it is damaged or no GGUF file: {error}") from None
    keys = (CONFIG_KEY, TOKENIZER_KEY, EMBEDDINGS_KEY)
    own = {key: str(reader.fields[key].contents()) for key in keys if key in reader.fields}
    exact = [
        tensor.data
        for tensor in reader.tensors
        if tensor.name == EMBEDDINGS_NAME and tensor.tensor_type.name in EXACT_TYPES
    ]
    return own, exact[0] if exact else None
