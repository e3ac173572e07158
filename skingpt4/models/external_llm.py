"""A language model that another program runs: here are its shapes and its token embeddings alone.

``model.engine`` names that program. llama.cpp embeds text itself, so of a GGUF file not even the
embeddings are read; a vLLM server receives prompts that are embedded here.
"""

import logging
from typing import cast

from torch import Tensor, nn
from transformers import PreTrainedModel

from skingpt4.common.checkpoint import open_tensors
from skingpt4.common.downloads import resolve
from skingpt4.common.errors import ConfigError, WeightsError
from skingpt4.common.schema import ModelConfig
from skingpt4.models.device import Placement
from skingpt4.models.gguf import GGUF_ENGINE, is_gguf
from skingpt4.models.random_llm import is_random

logger = logging.getLogger(__name__)

IN_PROCESS = "transformers"

# How the files of a folder may name a tensor otherwise than the model does: inside a BLIP-2
# folder, or without the name of the model's base.
BLIP2_PREFIX = "language_model."


def is_external(config: ModelConfig) -> bool:
    """Tell whether another program than this one runs the language model."""
    return config.engine != IN_PROCESS


def check_engine(config: ModelConfig) -> None:
    """Compare ``model.engine`` with the keys it depends on.

    Raises:
        ConfigError: If they contradict each other.
    """
    engine, name = config.engine, config.llm_model
    if not is_external(config):
        return
    # llama.cpp reads nothing but GGUF, which no server reads.
    if is_gguf(name) != (engine == GGUF_ENGINE):
        raise ConfigError(
            f"model.llm_model '{name}' and model.engine '{engine}' do not go together: "
            f"{GGUF_ENGINE} runs a .gguf file and nothing else, and {IN_PROCESS} reads one too; "
            "change one of them (weights/export_gguf.py writes a folder as .gguf)."
        )
    if is_random(name):
        raise ConfigError(
            f"model.llm_model '{name}' exists in this process only; name the folder that the "
            f"engine '{engine}' has loaded, or set model.engine={IN_PROCESS}."
        )
    if not config.freeze_llm:
        raise ConfigError(
            f"model.freeze_llm is False, but the engine '{engine}' runs the language model as its "
            f"folder holds it; set model.engine={IN_PROCESS} to train it."
        )


def load_embeddings(llm: PreTrainedModel, name: str, placement: Placement) -> None:
    """Give a model on the meta device its token embeddings, and nothing else.

    A GGUF file's are not read: llama.cpp embeds text itself.

    Args:
        llm: The folder's or file's model on the meta device.
        name: The folder, file or Hugging Face id.
        placement: Device and type of the embeddings.

    Raises:
        WeightsError: If the folder is missing, incomplete or damaged.
    """
    if not is_gguf(name):
        rows = read_embeddings(llm, name).to(placement.device, placement.llm_dtype)
        table = cast(nn.Embedding, llm.get_input_embeddings())
        # Gemma 3 multiplies the rows by a number that is kept in a buffer: it has to be made too.
        if next(table.buffers(), None) is not None:
            table.to_empty(device=rows.device)
            llm._init_weights(table)
        table.weight = nn.Parameter(rows, requires_grad=False)
        logger.info("Of '%s' only the token embeddings are loaded %s", name, list(rows.shape))
    llm.requires_grad_(False).eval()  # the other program trains nothing


def read_embeddings(llm: PreTrainedModel, name: str) -> Tensor:
    """Map the token embeddings ``[vocabulary, D]`` out of a folder, reading nothing else.

    Args:
        llm: The folder's model on the meta device.
        name: The folder or Hugging Face id.

    Raises:
        WeightsError: If the folder has none, or of another shape than its configuration says.
    """
    source = open_tensors(resolve(name))
    table = cast(nn.Embedding, llm.get_input_embeddings()).weight  # [vocabulary, D], on meta
    own = next(key for key, value in llm.named_parameters() if value is table)
    names = (own, BLIP2_PREFIX + own, own.removeprefix(f"{llm.base_model_prefix}."))
    found = next((key for key in names if key in source.shapes), None)
    if found is None or source.shapes[found] != tuple(table.shape):
        has = f"has them as {list(source.shapes[found])}" if found else "has none"
        raise WeightsError(
            f"The token embeddings of '{name}' should be '{own}' {list(table.shape)}, but the "
            f"folder {has}; fetch it again."
        )
    return source[found]
