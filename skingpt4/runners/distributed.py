"""A run over processes: precision, how they share the work, trackers, sharded states, stopping."""

import logging
import signal
import threading
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
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
from skingpt4.models.skin_gpt4 import SkinGPT4

logger = logging.getLogger(__name__)

TENSORBOARD, WANDB = "tensorboard", "wandb"
SIGNALS = (signal.SIGTERM, signal.SIGINT)


def build_accelerator(config: Config, model: SkinGPT4) -> Accelerator:
    """Build what launches, distributes and rounds as the config says.

    Raises:
        ConfigError: If the precision or sharding is not possible here.
    """
    run, folder = config.run, Path(config.run.output_dir)
    on_gpu = run.device != "cpu" and torch.cuda.is_available()
    # Upstream's amp on a machine without a GPU means nothing; precision: fp16 there is a mistake.
    precision = run.precision or ("fp16" if run.amp and on_gpu else "fp32")
    if precision == "fp16" and not on_gpu:
        raise ConfigError("run.precision is fp16, which needs a GPU; set it to bf16 or fp32.")

    fsdp = None
    if run.fsdp:
        if not is_fsdp_possible():
            raise ConfigError(
                "run.fsdp spreads parameters over GPUs, and there is none; set it False."
            )
        # Parameter by parameter, in units of the parts' own layers, gathered when they are used.
        blocks = getattr(model.visual_encoder, "blocks", [])  # absent where features are cached
        layers = {type(block).__name__ for block in blocks}
        fsdp = FullyShardedDataParallelPlugin(
            fsdp_version=2,
            auto_wrap_policy="transformer_based_wrap",
            transformer_cls_names_to_wrap=sorted(
                layers | set(model.llm_model._no_split_modules or ())
            ),
            reshard_after_forward=True,
            state_dict_type="FULL_STATE_DICT",
            # Every process has built the whole model itself, so none waits for another's weights.
            cpu_ram_efficient_loading=False,
        )

    trackers: list[Any] = [TENSORBOARD] if run.tensorboard and find_spec(TENSORBOARD) else []
    if run.wandb_log and find_spec(WANDB):
        trackers.append(WANDB)
    elif run.wandb_log:  # MiniGPT-4's own files ask for it
        logger.warning("run.wandb_log is True, but wandb is not installed: pip install wandb")
    # A batch of text alone leaves the projection without a gradient.
    text_only = any(data.data_type == "text" for data in config.datasets.values())
    return Accelerator(
        cpu=run.device == "cpu",
        mixed_precision="no" if precision == "fp32" else precision,
        fsdp_plugin=fsdp,
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=text_only)],
        log_with=trackers or None,
        project_config=ProjectConfiguration(str(folder), str(folder / TENSORBOARD)),
    )


def is_fsdp_possible() -> bool:
    """Tell whether there are devices that accelerate spreads parameters over."""
    return torch.cuda.is_available()


# Gathered whole, on the CPU: the file is the same for any number of processes.
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


class StopRequest:
    """Within it, the first SIGTERM or SIGINT asks for a stop; the second ends the process at once.

    Args:
        accelerator: Knows the other processes: a signal to one stops all after the same step.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self._is_asked = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopRequest":
        # Handlers can be set in the main thread only; elsewhere signals are the caller's affair.
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._ask) for number in SIGNALS}
        return self

    def __exit__(self, *_exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _ask(self, number: int, _frame: FrameType | None) -> None:
        self._is_asked = True
        self.__exit__()  # a second signal does what it does to any process
        logger.info("%s: saving after this step", signal.Signals(number).name)

    def is_asked(self) -> bool:
        """Tell whether any process was asked; all must call this, and all get the same answer."""
        if self.accelerator.num_processes == 1:
            return self._is_asked
        flag = torch.tensor(int(self._is_asked), device=self.accelerator.device)
        return bool(self.accelerator.reduce(flag, "sum").item())
