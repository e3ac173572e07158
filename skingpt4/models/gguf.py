"""What a GGUF file says of the language model in it, without reading its weights.

Files of ours (``weights/export_gguf.py``) carry the folder's configuration and tokenizer as they
were, so both programs take the same tokens. transformers reads other files in its own way, unless
a tokenizer's files lie beside the GGUF.
"""

import json
import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np
from transformers import AutoConfig, AutoTokenizer, PretrainedConfig, PreTrainedTokenizerBase

from skingpt4.common.errors import ConfigError

ENDING = ".gguf"

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
        ConfigError: If the package ``gguf`` is not installed.
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
        ConfigError: If the package ``gguf`` is not installed.
        ValueError: If its kind is unknown to transformers.
    """
    place = Path(path)
    own = _read(path)[0].get(TOKENIZER_KEY)
    if own is not None:
        # AutoTokenizer reads folders only. A name's last part alone is used: none leads elsewhere.
        with tempfile.TemporaryDirectory() as folder:
            for name, text in json.loads(own).items():
                (Path(folder) / Path(name).name).write_text(text, encoding="utf-8")
            return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
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


def _read(path: str) -> tuple[dict[str, str], np.ndarray | None]:
    """Return what a file says under our own keys, and its embeddings if they are exact.

    Raises:
        ConfigError: If the package ``gguf`` is not installed.
        ValueError: If the file is no GGUF.
    """
    return _read_version(path, Path(path).stat().st_mtime_ns)


# Reading a large vocabulary takes seconds, so a file is read once, as long as it has not changed.
@lru_cache(maxsize=4)
def _read_version(path: str, changed: int) -> tuple[dict[str, str], np.ndarray | None]:
    try:
        from gguf import GGUFReader
    except ImportError:
        raise ConfigError(
            f"Reading '{path}' needs the package gguf, which is not installed; run: "
            "pip install 'skingpt4[llama_cpp]'."
        ) from None
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
