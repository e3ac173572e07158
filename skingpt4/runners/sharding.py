"""Whole tensors of a model that may be spread over processes, and back."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.tensor import DTensor

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
