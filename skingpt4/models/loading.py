"""Filling a model from its files, step by step.

:func:`load` takes all steps; ``--check`` takes those that read no weights, one by one, and collects
their errors:

1. :func:`~skingpt4.models.weights.open_sources` resolves names and opens files.
2. :func:`check_keys` accounts for every key of a file by name and shape.
3. :func:`check_record` compares what a checkpoint was trained with.
4. :func:`load` reads, draws at random what no file fills, and compares once more.
"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from skingpt4.common.checkpoint import TensorSource
from skingpt4.common.errors import WeightsError
from skingpt4.models.compatibility import LLM, describe_parts, differences, sample, unverifiable
from skingpt4.models.device import Placement
from skingpt4.models.external_llm import IN_PROCESS, is_external, load_embeddings, read_embeddings
from skingpt4.models.key_maps import LLM_PREFIX, PROJECTION_PREFIX, translate
from skingpt4.models.llm import load_llm
from skingpt4.models.qformer import build_qformer, build_query_tokens
from skingpt4.models.random_llm import is_random
from skingpt4.models.vision import (
    AbsentTower,
    Float32LayerNorm,
    build_vision_tower,
    fill_buffers,
    telling_weight,
)
from skingpt4.models.weights import CHECKPOINT, VISION, Findings, lay, open_sources

if TYPE_CHECKING:
    from skingpt4.models.skin_gpt4 import SkinGPT4

logger = logging.getLogger(__name__)

# What a reader calls the parts.
PART_NAMES = {
    "visual_encoder": "vision tower",
    "ln_vision": "vision norm",
    "Qformer": "Q-Former",
    "query_tokens": "query tokens",
    "llama_proj": "projection",
    "llm_model": "language model",
}


def load(
    model: "SkinGPT4", placement: Placement, with_tower: bool = True, with_llm: bool = True
) -> None:
    """Fill a model that is on the meta device.

    Every file is compared with the model before the first weight is read. What no file fills is
    drawn at random and noted in ``model.untrained``. A language model that another program runs
    stays on the meta device, but for its token embeddings.

    Args:
        model: Its shapes alone.
        placement: Where its parts go, and in which numbers.
        with_tower: Load the vision tower; without it, photos must come as features.
        with_llm: Load the language model; without it, photos can be encoded and no more.

    Raises:
        ConfigError: If a part has no file named.
        WeightsError: If a file is missing, damaged or does not fit.
    """
    config, device = model.config, placement.device
    # Nothing is read before all that can be refused is refused: a large model takes minutes.
    sources = open_sources(config)
    checkpoint = sources.get(CHECKPOINT)
    if checkpoint is not None:
        check_record(model, checkpoint)
    for key, source in sources.items():
        check_keys(model, key, source)
    if is_external(config):
        load_embeddings(model.llm_model, config.llm_model, placement)
    elif with_llm:
        model.llm_model = load_llm(config.llm_model, placement, config.freeze_llm)
    values = None
    if not with_tower and (file := sources.pop(VISION, None)):
        # One tensor tells which tower it is; the others are not read.
        weight = lay(model, VISION, file).value(telling_weight(model.visual_encoder.trunk))
        values = None if weight is None else sample(weight)
    # The checkpoint comes first, then the parts' own files give what is left.
    for key, source in sources.items():
        lay(model, key, source).fill(device)
    if not with_tower:
        model.visual_encoder = cast(Any, AbsentTower(values))
    draw_missing(model, device)
    # Now that there are numbers, the Q-Former's and the language model's own are compared too.
    if checkpoint is not None and with_llm:
        check_record(model, checkpoint)
        if unknown := unverifiable(checkpoint.record):
            path, parts = checkpoint.path, ", ".join(unknown)
            logger.info("%s does not say with which %s it was trained", path, parts)
    if model.untrained:
        logger.warning("Drawn at random: %s", ", ".join(model.untrained))


def check_keys(model: "SkinGPT4", key: str, source: TensorSource) -> Findings:
    """Account for every key of a file by name and shape; reads no tensor.

    Args:
        model: May be on the meta device.
        key: That of the config which names the file.
        source: The file, opened.

    Raises:
        WeightsError: Listing what the file lacks, what is unknown in it or of another shape.
    """
    engine = model.config.engine
    own = [p.key for p in translate(source).pieces if p.target.startswith(LLM_PREFIX)]
    # Another program runs the language model as its folder holds it.
    if key == CHECKPOINT and own and is_external(model.config):
        raise WeightsError(
            f"The checkpoint '{source.path}' holds {len(own)} tensors of the language model, "
            f"which the engine '{engine}' would not see; set model.engine={IN_PROCESS}, or write "
            "them into the language model's folder."
        )
    return lay(model, key, source).check()


def check_record(model: "SkinGPT4", checkpoint: TensorSource) -> None:
    """Refuse a checkpoint of another language model, Q-Former or prompt form.

    Of a language model that is not loaded, a few token embeddings are looked up in its folder.

    Args:
        model: May be on the meta device.
        checkpoint: Opened.

    Raises:
        WeightsError: Naming what the checkpoint was trained with and what the config has.
    """
    name, record, embeddings = model.config.llm_model, checkpoint.record, None
    table = cast(nn.Embedding, model.llm_model.get_input_embeddings()).weight  # [vocabulary, D]
    # Where the checkpoint brings language model tensors of its own, the folder's tell nothing.
    is_replaced = any(key.startswith(LLM_PREFIX) for key in checkpoint)
    if LLM in record and table.is_meta and not is_replaced and Path(name).is_dir():
        embeddings = read_embeddings(model.llm_model, name)
    # The projection's weight [D, Dq] tells the language model's width where there is no record.
    shapes = {piece.target: checkpoint.shapes[piece.key] for piece in translate(checkpoint).pieces}
    projection = shapes.get(f"{PROJECTION_PREFIX}weight", ())
    sentences = differences(
        record,
        describe_parts(model, embeddings),
        model.config,
        checkpoint.path,
        projection[0] if len(projection) == 2 else None,
    )
    if sentences:
        raise WeightsError(" ".join(sentences))


def draw_missing(model: "SkinGPT4", device: torch.device) -> None:
    """Draw at random what no file has filled, and note in ``model.untrained`` which parts it is.

    Args:
        model: Filled as far as there are files.
        device: Where the vision side stands.
    """
    config, projection = model.config, model.llama_proj
    norm_width = model.ln_vision.normalized_shape[0]
    model.untrained = [PART_NAMES["llm_model"]] if is_random(config.llm_model) else []
    # Drawing is a part of building, so a part that lacks a tensor is built once more, as the model
    # does, and given what files hold.
    builders = {
        "visual_encoder": lambda: build_vision_tower(
            config.vit_model,
            model.photo["image_size"],
            config.drop_path_rate,
            model.vit_dtype,
            config.use_grad_checkpoint,
        ),
        "ln_vision": lambda: Float32LayerNorm(norm_width),
        "Qformer": lambda: build_qformer(config.qformer, norm_width),
        "query_tokens": lambda: build_query_tokens(config.num_query_token, model.Qformer),
        "llama_proj": lambda: nn.Linear(projection.in_features, projection.out_features),
    }
    state = model.state_dict()
    for name, build in builders.items():
        own = {k: v for k, v in state.items() if k.split(".")[0] == name}
        filled = {k: v for k, v in own.items() if not v.is_meta}
        if len(filled) == len(own):
            continue
        with torch.device(device):  # drawn where it stays: a tower takes long on a CPU
            setattr(model, name, build())
        model.load_state_dict(filled, strict=False, assign=True)
        # Without a Q-Former the vision norm has no file: it stays as made, as upstream's does.
        if config.has_qformer or name != "ln_vision":
            model.untrained.append(PART_NAMES[name])
    fill_buffers(model.visual_encoder, device)
