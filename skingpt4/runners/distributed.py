"""The accelerator of a run: precision, how processes share the work, trackers."""

import logging
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import (
    DistributedDataParallelKwargs,
    FullyShardedDataParallelPlugin,
    ProjectConfiguration,
)
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.tensor import DTensor

from skingpt4.common.config import Config
from skingpt4.common.errors import ConfigError
from skingpt4.common.schema import RunConfig
from skingpt4.models import SkinGPT4

logger = logging.getLogger(__name__)

# accelerate's words for ours.
PRECISIONS = {"fp32": "no", "fp16": "fp16", "bf16": "bf16"}

TENSORBOARD, WANDB = "tensorboard", "wandb"


def build_accelerator(config: Config, model: SkinGPT4) -> Accelerator:
    """Build what launches, distributes and rounds as the config says.

    Raises:
        ConfigError: If the precision or sharding is not possible here, or a package is missing.
    """
    run = config.run
    # A batch of text alone leaves the projection without a gradient.
    text_only = any(data.data_type == "text" for data in config.datasets.values())
    folder = Path(run.output_dir)
    return Accelerator(
        cpu=run.device == "cpu",
        mixed_precision=PRECISIONS[_precision(run)],
        fsdp_plugin=_fsdp_plugin(model) if run.fsdp else None,
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=text_only)],
        log_with=_trackers(run) or None,
        project_config=ProjectConfiguration(str(folder), str(folder / TENSORBOARD)),
    )


def _precision(run: RunConfig) -> str:
    on_gpu = run.device != "cpu" and torch.cuda.is_available()
    if not run.precision:
        return "fp16" if run.amp and on_gpu else "fp32"
    if run.precision not in PRECISIONS:
        known = ", ".join(PRECISIONS)
        raise ConfigError(f"run.precision is '{run.precision}', but must be one of: {known}.")
    if run.precision == "fp16" and not on_gpu:
        raise ConfigError("run.precision is fp16, which needs a GPU; set it to bf16 or fp32.")
    return run.precision


def _fsdp_plugin(model: SkinGPT4) -> FullyShardedDataParallelPlugin:
    """Shard parameter by parameter, in units of the parts' own layers; gather them when used."""
    if not is_fsdp_possible():
        raise ConfigError("run.fsdp spreads parameters over GPUs, and there is none; set it False.")
    if not (model.config.freeze_vit and model.config.freeze_qformer and model.config.freeze_llm):
        raise ConfigError("run.fsdp trains the projection alone; set model.freeze_* to True.")
    blocks = getattr(model.visual_encoder, "blocks", [])  # absent where features are cached
    layers = {type(block).__name__ for block in blocks} | set(
        model.llm_model._no_split_modules or ()
    )
    return FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy="transformer_based_wrap",
        transformer_cls_names_to_wrap=sorted(layers),
        reshard_after_forward=True,
        state_dict_type="FULL_STATE_DICT",
        cpu_ram_efficient_loading=False,
    )


def is_fsdp_possible() -> bool:
    """Tell whether there are devices that accelerate spreads parameters over."""
    return torch.cuda.is_available()


def _trackers(run: RunConfig) -> list[Any]:
    names: list[Any] = []
    if run.tensorboard and find_spec(TENSORBOARD):
        names.append(TENSORBOARD)
    if run.wandb_log:
        if find_spec(WANDB):
            names.append(WANDB)
        else:  # MiniGPT-4's own files ask for it
            logger.warning("run.wandb_log is True, but wandb is not installed: pip install wandb")
    return names


_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor with all its parts; every process must call this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def optimizer_state(
    model: nn.Module, optimizer: torch.optim.Optimizer, is_spread: bool
) -> dict[str, Any]:
    """Return an optimiser's whole state; every process must call this."""
    if not is_spread:
        return optimizer.state_dict()
    return get_optimizer_state_dict(model, optimizer, options=_WHOLE)


def load_optimizer(
    model: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any], is_spread: bool
) -> None:
    """Put back what :func:`optimizer_state` returned; each process keeps its part."""
    if is_spread:
        set_optimizer_state_dict(model, optimizer, state, options=_WHOLE)
    else:
        optimizer.load_state_dict(state)
