"""Learning rates by step, and the optimiser's parameter groups, as upstream sets them."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from skingpt4.common.registry import registry
from skingpt4.common.schema import RunConfig

# AdamW's first moment decay in upstream; the second comes from ``run.beta2``.
BETA1 = 0.9

Schedule = Callable[[int], float]


@dataclass(frozen=True)
class _Warmup:
    """Linear rise from ``run.warmup_lr`` to ``run.init_lr``, then a decay.

    Upstream counts warm-up steps within the epoch but switches on the total, a sawtooth when
    warm-up outlasts an epoch; ``run.upstream_warmup`` brings that back. Otherwise both count
    the total, and the two agree whenever an epoch is at least as long as the warm-up.
    """

    run: RunConfig
    iters_per_epoch: int

    def warmup(self, step: int) -> float:
        run = self.run
        counted = step % self.iters_per_epoch if run.upstream_warmup else step
        rise = (run.init_lr - run.warmup_lr) * counted / max(run.warmup_steps, 1)
        return min(run.init_lr, run.warmup_lr + rise)


@registry.register_lr_scheduler("linear_warmup_cosine_lr")
class LinearWarmupCosineLR(_Warmup):
    """Warm-up, then half a cosine over the whole run (counted from step 0, as upstream)."""

    def __call__(self, step: int) -> float:
        """Return the learning rate of optimiser step ``step``, counted from 0."""
        run = self.run
        if step < run.warmup_steps:
            return self.warmup(step)
        done = step / (run.max_epoch * self.iters_per_epoch)
        return (run.init_lr - run.min_lr) * 0.5 * (1 + math.cos(math.pi * done)) + run.min_lr


@registry.register_lr_scheduler("linear_warmup_step_lr")
class LinearWarmupStepLR(_Warmup):
    """Warm-up during the first epoch, then ``lr_decay_rate`` to the power of the epoch."""

    def __call__(self, step: int) -> float:
        """Return the learning rate of optimiser step ``step``, counted from 0."""
        run = self.run
        epoch = step // self.iters_per_epoch
        if epoch == 0:
            return self.warmup(step)
        return max(run.min_lr, run.init_lr * run.lr_decay_rate**epoch)


def build_schedule(run: RunConfig, iters_per_epoch: int) -> Schedule:
    """Return the learning rate as a function of the optimiser step."""
    schedule: Schedule = registry.get_lr_scheduler_class(run.lr_sched)(run, iters_per_epoch)
    return schedule


def build_optimizer(model: nn.Module, run: RunConfig) -> torch.optim.AdamW:
    """AdamW over the trainable parameters; no weight decay on biases and 1-d parameters."""
    trainable = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    plain = [p for name, p in trainable if p.ndim < 2 or name.endswith("bias")]
    decayed = [p for name, p in trainable if not (p.ndim < 2 or name.endswith("bias"))]
    groups = [
        {"params": decayed, "weight_decay": run.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=run.init_lr, betas=(BETA1, run.beta2))
