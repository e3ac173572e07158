"""A language model that another program runs: here are its shapes and its token embeddings alone.

``model.engine`` names that program. llama.cpp embeds text itself, so of a GGUF file not even the
embeddings are read; a vLLM server receives prompts that are embedded here.
"""

import logging
from typing import cast

from torch import Tensor, nn
from transformers import PreTrainedModel

from skingpt4.common.checkpoint import TensorSource, open_tensors
from skingpt4.common.downloads import resolve
from skingpt4.common.errors import ConfigError, WeightsError
from skingpt4.common.schema import ModelConfig
from skingpt4.models.device import Placement
from skingpt4.models.gguf import is_gguf
from skingpt4.models.key_maps import LLM_PREFIX, translate
from skingpt4.models.llm import build_meta_llm, is_random

logger = logging.getLogger(__name__)

IN_PROCESS = "transformers"

GGUF_ENGINE = "llama_cpp"

# How the files of a folder may name a tensor otherwise than the model does: inside a BLIP-2
# folder, or without the name of the model's base.
BLIP2_PREFIX = "language_model."


def is_elsewhere(config: ModelConfig) -> bool:
    """Tell whether the language model is run by another program than this one."""
    return config.engine != IN_PROCESS


def check_engine(config: ModelConfig) -> None:
    """Compare ``model.engine`` with the keys it depends on.

    Raises:
        ConfigError: If they contradict each other.
    """
    engine, name = config.engine, config.llm_model
    if is_gguf(name) != (engine == GGUF_ENGINE):
        raise ConfigError(
            f"model.llm_model '{name}' and model.engine '{engine}' do not go together: "
            f"{GGUF_ENGINE}, and no other engine, runs a .gguf file; change one of them "
            "(weights/export_gguf.py writes a folder as .gguf)."
        )
    if not is_elsewhere(config):
        return
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


def check_checkpoint(checkpoint: TensorSource | None, config: ModelConfig) -> None:
    """Refuse a checkpoint that changes the language model, which the other program would not see.

    Raises:
        WeightsError: If the checkpoint holds language model tensors.
    """
    pieces = translate(checkpoint).pieces if checkpoint is not None else []
    own = [piece.key for piece in pieces if piece.target.startswith(LLM_PREFIX)]
    if own and checkpoint is not None:
        raise WeightsError(
            f"The checkpoint '{checkpoint.path}' holds {len(own)} tensors of the language model, "
            f"which the engine '{config.engine}' would not see; set model.engine={IN_PROCESS}, or "
            "write them into the language model's folder."
        )


def load_elsewhere(config: ModelConfig, placement: Placement) -> PreTrainedModel:
    """Build the language model without weights, but for its token embeddings.

    Args:
        config: The settled ``model`` section.
        placement: Device and type of the embeddings.

    Returns:
        The model on the meta device; of a Hugging Face folder the input embeddings are real.

    Raises:
        WeightsError: If the folder or file is missing, incomplete or damaged.
    """
    name = config.llm_model
    llm = build_meta_llm(name)
    if not is_gguf(name):
        rows = read_embeddings(llm, name).to(placement.device, placement.llm_dtype)
        _set_embeddings(llm, rows)
        logger.info("Of '%s' only the token embeddings are loaded %s", name, list(rows.shape))
    return llm.requires_grad_(False).eval()


def read_embeddings(llm: PreTrainedModel, name: str) -> Tensor:
    """Map the token embeddings ``[vocabulary, D]`` out of a folder, reading nothing else.

    Args:
        llm: The folder's model on the meta device.
        name: The folder or Hugging Face id.

    Raises:
        WeightsError: If the folder has none, or of another shape than its configuration says.
    """
    source = open_tensors(resolve(name))
    table = _table(llm).weight
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


def _set_embeddings(llm: PreTrainedModel, rows: Tensor) -> None:
    """Give the embedding its rows; what it multiplies them with (Gemma 3) is made anew."""
    table = _table(llm)
    if next(table.buffers(), None) is not None:
        table.to_empty(device=rows.device)
        llm._init_weights(table)
    table.weight = nn.Parameter(rows, requires_grad=False)


def has_embeddings(llm: PreTrainedModel) -> bool:
    """Tell whether token embeddings are loaded."""
    return not _table(llm).weight.is_meta


def _table(llm: PreTrainedModel) -> nn.Embedding:
    return cast(nn.Embedding, llm.get_input_embeddings())
