"""One optimiser step over micro-batches and processes: loss scaling, clipping, no-number losses."""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from accelerate.utils import send_to_device
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from skingpt4.datasets.loaders import Batch
from skingpt4.runners.distributed import whole

if TYPE_CHECKING:
    from skingpt4.tasks.image_text_pretrain import ImageTextPretrainTask


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
    task: "ImageTextPretrainTask"
    max_grad_norm: float | None = None

    def step(self, batches: Sequence[Batch]) -> StepResult:
        """Take one step; one whose loss or gradient is not finite changes nothing."""
        accelerator = self.accelerator
        # Known before any loss, so that each micro-batch can be weighed as it goes by.
        counts = [self.task.count_targets(batch) for batch in batches]
        images = sum(len(batch["labels"]) for batch in batches)
        total, images = (int(n) for n in self._sum(torch.tensor([sum(counts), images])))
        loss = torch.zeros((), device=accelerator.device)
        for number, batch in enumerate(batches):
            weight = counts[number] / total
            # Processes exchange gradients after the last micro-batch alone.
            is_last = number == len(batches) - 1
            with nullcontext() if is_last else accelerator.no_sync(self.model):
                on_device = send_to_device(batch, accelerator.device, non_blocking=True)
                with accelerator.autocast():  # in run.precision
                    mean = self.task.train_step(self.model, on_device)
                # Processes average their gradients, but the weights are shares of a sum over all.
                accelerator.backward(mean * (weight * accelerator.num_processes))
                loss += weight * mean.detach().float()

        # The loss is now that of all processes, so that they decide alike whether to move.
        value, norm, is_overflow = self._sum(loss).item(), math.nan, False
        if math.isfinite(value):
            limit = math.inf if self.max_grad_norm is None else self.max_grad_norm
            trained = [p for p in self.model.parameters() if p.requires_grad]
            norm = whole(accelerator.clip_grad_norm_(trained, limit)).item()
            # With loss scaling the optimiser itself skips a gradient that is no number.
            if math.isfinite(norm) or accelerator.scaler is not None:
                self.optimizer.step()
                is_overflow = self.optimizer.step_was_skipped
        self.optimizer.zero_grad()  # also those of a step not taken
        return StepResult(value, norm, images, is_overflow)

    def _sum(self, values: Tensor) -> Tensor:
        """Add up a number of every process."""
        return self.accelerator.reduce(values.to(self.accelerator.device), "sum")


def checkpoint_activations(llm: PreTrainedModel) -> None:
    """Keep only each layer's input. To be called again after every change of mode.

    The library checkpoints in training mode alone, which a frozen model is never in (its dropout
    would act); the mode of the layers themselves, not of what is in them, is all that it looks at.
    """
    # transformers 5.2x renamed it.
    newest = "activation_checkpointing_enable"
    enable = getattr(llm, newest if hasattr(llm, newest) else "gradient_checkpointing_enable")
    enable({"use_reentrant": False})
    for module in llm.modules():
        if isinstance(module, GradientCheckpointingLayer):
            module.training = True
