"""One optimiser step over micro-batches and processes: loss scaling, clipping, no-number losses."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from accelerate.utils import send_to_device
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from skingpt4.datasets.loaders import Batch
from skingpt4.runners.distributed import whole
from skingpt4.tasks.base_task import BaseTask


@dataclass(frozen=True)
class StepResult:
    """What one optimiser step came to.

    Attributes:
        loss: Mean over the answer tokens of all micro-batches and processes; may be not finite.
        grad_norm: Of all trained parameters, before clipping; nan where the loss is not finite.
        images: Samples seen, over all processes.
        is_overflow: The scaled gradients were too large for fp16: no update, a smaller scale.
    """

    loss: float
    grad_norm: float
    images: int
    is_overflow: bool = False

    @property
    def is_finite(self) -> bool:
        """Tell whether the step could be taken, or was skipped by the loss scaling alone."""
        return math.isfinite(self.loss) and (self.is_overflow or math.isfinite(self.grad_norm))


@dataclass(frozen=True)
class Updater:
    """Takes optimiser steps in which every answer token weighs alike.

    The mean of micro-batches' means, or of processes', would weigh the tokens of short answers
    more; then accumulation or a second GPU would train something else than one large batch.

    Attributes:
        accelerator: Scales losses, shares work among processes.
        model: As prepared.
        optimizer: As prepared.
        task: Knows what a batch's loss is.
        max_grad_norm: Longer gradients are cut to it; None for none.
    """

    accelerator: Accelerator
    model: nn.Module
    optimizer: AcceleratedOptimizer
    task: BaseTask
    max_grad_norm: float | None = None

    def step(self, batches: Sequence[Batch]) -> StepResult:
        """Take one step; one whose loss or gradient is not finite changes nothing."""
        model = self.accelerator.unwrap_model(self.model)
        counts = [self.task.count_targets(model, batch) for batch in batches]
        images = sum(len(batch["dialogue"]) for batch in batches)
        total, images = (int(n) for n in self._sum(torch.tensor([sum(counts), images])))
        loss = torch.zeros((), device=self.accelerator.device)
        for number, batch in enumerate(batches):
            weight = counts[number] / total
            with self._gathering(is_last=number == len(batches) - 1):
                loss += weight * self._backward(batch, weight)
        return self._update(self._sum(loss).item(), images)

    def _backward(self, batch: Batch, weight: float) -> Tensor:
        """Add a micro-batch's gradient; return its mean loss."""
        on_device = send_to_device(batch, self.accelerator.device, non_blocking=True)
        with self.accelerator.autocast():
            mean = self.task.train_step(self.model, on_device)
        # Processes average their gradients, but the weights are shares of a sum over all.
        self.accelerator.backward(mean * (weight * self.accelerator.num_processes))
        return mean.detach().float()

    def _update(self, loss: float, images: int) -> StepResult:
        """Move the parameters unless the loss, or without loss scaling the gradient, is no number.

        The loss is that of all processes: they decide alike.
        """
        norm, is_overflow = math.nan, False
        if math.isfinite(loss):
            norm = self._clip()
            if math.isfinite(norm) or self.accelerator.scaler is not None:
                self.optimizer.step()
                is_overflow = self.optimizer.step_was_skipped
        self.optimizer.zero_grad()
        return StepResult(loss, norm, images, is_overflow)

    def _clip(self) -> float:
        limit = math.inf if self.max_grad_norm is None else self.max_grad_norm
        trained = [p for p in self.model.parameters() if p.requires_grad]
        return whole(self.accelerator.clip_grad_norm_(trained, limit)).item()

    def _sum(self, values: Tensor) -> Tensor:
        """Add up a number of every process."""
        return self.accelerator.reduce(values.to(self.accelerator.device), "sum")

    @contextmanager
    def _gathering(self, is_last: bool) -> Iterator[None]:
        """Let processes exchange gradients after the last micro-batch alone."""
        if is_last:
            yield
        else:
            with self.accelerator.no_sync(self.model):
                yield


def recompute_activations(llm: PreTrainedModel) -> None:
    """Keep only each layer's input. To be called again after every change of mode.

    The library recomputes in training mode alone, which a frozen model is never in (its dropout
    would act); the mode of the layers themselves, not of what is in them, is all that it looks at.
    """
    # transformers 5.2x renamed it.
    newest = "activation_checkpointing_enable"
    enable = getattr(llm, newest if hasattr(llm, newest) else "gradient_checkpointing_enable")
    enable({"use_reentrant": False})
    for module in llm.modules():
        if isinstance(module, GradientCheckpointingLayer):
            module.training = True
