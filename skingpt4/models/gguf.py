"""What a GGUF file says of the language model in it, and the folder that it becomes here.

Files of ours (``weights/export_gguf.py``) carry the folder's configuration and tokenizer as they
were, so both programs take the same tokens. transformers reads other files in its own way, unless
a tokenizer's files lie beside the GGUF.

llama.cpp runs a file as it is. For this process its weights are written out once, in a folder
beside it, or in the cache where that cannot be written.
"""

import json
import logging
import os
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
import transformers
from gguf import GGUFReader
from iopath.common import file_lock
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedTokenizerBase,
)

from skingpt4.common.downloads import cache_folder

logger = logging.getLogger(__name__)

ENDING = ".gguf"

# What the folder that a file became is called after the file's own name, and what in it tells of
# the file: its size and time, and what it says of its embeddings.
FOLDER_SUFFIX = "-hf"
SOURCE_NAME = "gguf_source.json"

# Our own metadata, JSON each: the configuration, the tokenizer's files by name, and some values of
# the token embeddings as they were before they were quantised.
CONFIG_KEY = "skingpt4.config"
TOKENIZER_KEY = "skingpt4.tokenizer"
EMBEDDINGS_KEY = "skingpt4.embeddings"

# GGUF's name of the token embeddings, and its types that keep their values.
EMBEDDINGS_NAME = "token_embd.weight"
EXACT_TYPES = ("F32", "F16")

# What matrices are written out as; quantised ones, of two or three digits, in half precision.
DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16}


def is_gguf(name: str) -> bool:
    """Tell whether ``model.llm_model`` names a GGUF file."""
    return name.endswith(ENDING)


def gguf_config(path: str) -> PretrainedConfig:
    """Return the configuration that a GGUF file's metadata describes.

    Raises:
        ValueError: If the file is no GGUF, or of an architecture unknown to transformers.
    """
    if (folder := _made_folder(path)) is not None:
        return AutoConfig.from_pretrained(folder)
    own = _read(path).own.get(CONFIG_KEY)
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
    if (folder := _made_folder(path)) is not None:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    own = _read(path).own.get(TOKENIZER_KEY)
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
    # A folder's record spares reading the file's vocabulary, which takes seconds.
    if (folder := _made_folder(path)) is not None:
        record = json.loads((folder / SOURCE_NAME).read_text(encoding="utf-8"))
        if not record["exact"]:
            return cast("list[float] | None", record["embeddings"])
    own, rows, _ = _read(path)
    return json.loads(own[EMBEDDINGS_KEY]) if EMBEDDINGS_KEY in own else rows


def dequantised_folder(path: str) -> Path:
    """Return the Hugging Face folder of a GGUF file's model, made on the first call.

    A file of another size or time makes it anew.

    Raises:
        ValueError: If the file is no GGUF, or of an architecture unknown to transformers.
    """
    if (made := _made_folder(path)) is not None:
        return made
    place = Path(path)
    writable = os.access(place.parent, os.W_OK)
    folder = _folders(path)[0 if writable else 1]
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Of several processes that start together, one makes it and the others wait.
    with file_lock(str(folder)):
        if _made_folder(path) is None:
            logger.info("Writing the weights of '%s' out as '%s', once", path, folder)
            _dequantise(place, folder)
    return folder


def _dequantise(place: Path, folder: Path) -> None:
    """Write a file's model, configuration and tokenizer as a Hugging Face folder."""
    path, types = str(place), _read(str(place)).types
    # As exact as the least exact matrix: F32 where all are.
    dtype = DTYPES.get(types[0], torch.float16) if len(types) == 1 else torch.float16
    # Newer versions would keep the weights in their blocks where a kernel multiplies those.
    packing = getattr(transformers, "GgufConfig", None)
    settings: dict[str, Any] = {"quantization_config": packing(dequantize=True)} if packing else {}
    config, tokenizer = gguf_config(path), gguf_tokenizer(path)
    read = cast(Any, AutoModelForCausalLM).from_pretrained(
        place.parent, gguf_file=place.name, config=config, dtype=dtype, **settings
    )
    # In a model of its own: what was read from blocks refuses to be saved.
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    model.load_state_dict(read.state_dict(), assign=True)
    # Under a name of its own until it is whole, then moved.
    shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        unfinished = Path(temporary) / folder.name
        model.save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)
        own, rows, _ = _read(path)
        record = {**_source(path), "exact": rows is not None}
        record["embeddings"] = json.loads(own.get(EMBEDDINGS_KEY, "null"))
        (unfinished / SOURCE_NAME).write_text(json.dumps(record), encoding="utf-8")
        unfinished.rename(folder)


def _source(path: str) -> dict[str, Any]:
    """Return what tells a file from the one that a folder was made of."""
    state = Path(path).stat()
    return {"bytes": state.st_size, "changed": state.st_mtime_ns}


def _folders(path: str) -> tuple[Path, Path]:
    """Return where the folder of a file may lie: beside it, and in the cache."""
    name = Path(path).name.removesuffix(ENDING) + FOLDER_SUFFIX
    return Path(path).parent / name, cache_folder(str(Path(path).resolve())) / name


def _made_folder(path: str) -> Path | None:
    """Return the folder that this file has become; None if there is none yet."""
    for folder in _folders(path):
        source = folder / SOURCE_NAME
        if source.is_file():
            record = json.loads(source.read_text(encoding="utf-8"))
            if all(record.get(key) == value for key, value in _source(path).items()):
                return folder
    return None


class _Contents(NamedTuple):
    """What is read of a file.

    Attributes:
        own: What it says under our own keys.
        rows: Its token embeddings ``[vocabulary, D]``, mapped, if they are exact.
        types: GGUF's types of its matrices, each once.
    """

    own: dict[str, str]
    rows: np.ndarray | None
    types: list[str]


def _read(path: str) -> _Contents:
    """Read a file's own metadata and what kinds of numbers it holds.

    Raises:
        ValueError: If the file is no GGUF.
    """
    return _read_version(path, Path(path).stat().st_mtime_ns)


# Reading a large vocabulary takes seconds, so a file is read once, as long as it has not changed.
@lru_cache(maxsize=4)
def _read_version(path: str, changed: int) -> _Contents:
    try:
        reader = GGUFReader(path)
    except Exception as error:  # a damaged file raises nearly anything
        raise ValueError(f"it is damaged or no GGUF file: {error}") from None
    keys = (CONFIG_KEY, TOKENIZER_KEY, EMBEDDINGS_KEY)
    own = {key: str(reader.fields[key].contents()) for key in keys if key in reader.fields}
    matrices = [tensor for tensor in reader.tensors if len(tensor.shape) > 1]
    exact = [
        tensor.data
        for tensor in matrices
        if tensor.name == EMBEDDINGS_NAME and tensor.tensor_type.name in EXACT_TYPES
    ]
    types = sorted({tensor.tensor_type.name for tensor in matrices})
    return _Contents(own, exact[0] if exact else None, types)
