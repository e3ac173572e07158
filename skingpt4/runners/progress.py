"""How far a run has come: what its state keeps beside tensors and positions."""

import math
from dataclasses import dataclass, field
from typing import Any

from skingpt4.runners.update import StepResult


@dataclass
class Progress:
    """Counters of a run, all over from its first step.

    Attributes:
        step: Optimiser steps done.
        loss_sum: Of this epoch's finite steps.
        finite_steps: Of this epoch.
        images: Samples seen in this epoch, over all processes.
        seconds: Time this epoch took, that before a stop included.
        nonfinite: Steps skipped because a loss or gradient was not finite.
        nonfinite_in_a_row: Of these, the latest without one between.
        overflows: Steps skipped by the loss scaling.
        best_loss: Lowest validation loss; infinite before the first.
        history: A record an epoch, the lines of ``log.txt``.
    """

    step: int = 0
    loss_sum: float = 0.0
    finite_steps: int = 0
    images: int = 0
    seconds: float = 0.0
    nonfinite: int = 0
    nonfinite_in_a_row: int = 0
    overflows: int = 0
    best_loss: float = math.inf
    history: list[dict[str, Any]] = field(default_factory=list)

    def add(self, result: StepResult, seconds: float) -> None:
        """Count one step."""
        self.step += 1
        self.images += result.images
        self.seconds += seconds
        self.overflows += result.is_overflow
        if result.is_finite:
            self.loss_sum += result.loss
            self.finite_steps += 1
            self.nonfinite_in_a_row = 0
        else:
            self.nonfinite += 1
            self.nonfinite_in_a_row += 1

    @property
    def mean_loss(self) -> float | None:
        """Mean of this epoch's finite losses; None before the first."""
        return self.loss_sum / self.finite_steps if self.finite_steps else None

    @property
    def images_per_second(self) -> float:
        """Samples per second of this epoch, over all processes."""
        return self.images / self.seconds if self.seconds else 0.0

    def close_epoch(self, record: dict[str, Any]) -> None:
        """File the record of an epoch and begin the next."""
        self.history.append(record)
        self.loss_sum, self.finite_steps, self.images, self.seconds = 0.0, 0, 0, 0.0
