"""Learning rates against upstream's formulas, written out."""

import math

import pytest
import torch
from torch import nn

from skingpt4.common.optims import build_optimizer, build_schedule
from skingpt4.common.registry import UnknownNameError
from skingpt4.common.schema import RunConfig

RUN = {"init_lr": 1e-4, "min_lr": 1e-5, "warmup_lr": 1e-6, "max_epoch": 4}


def upstream_cosine(epoch, step, iters, warmup, counts_within_epoch):
    total = epoch * iters + step
    if total < warmup:
        counted = step if counts_within_epoch else total
        return min(1e-4, 1e-6 + (1e-4 - 1e-6) * counted / max(warmup, 1))
    return (1e-4 - 1e-5) * 0.5 * (1 + math.cos(math.pi * total / (4 * iters))) + 1e-5


@pytest.mark.parametrize(("warmup", "sawtooth"), [(0, False), (30, False), (70, True), (70, False)])
def test_cosine(warmup, sawtooth):
    run = RunConfig(**RUN, warmup_steps=warmup, upstream_warmup=sawtooth)
    schedule = build_schedule(run, iters_per_epoch=50)
    for epoch in range(4):
        for step in range(50):
            expected = upstream_cosine(epoch, step, 50, warmup, sawtooth)
            assert schedule(epoch * 50 + step) == pytest.approx(expected, rel=1e-12)


def test_both_ways_of_counting_agree_when_warm_up_fits_an_epoch():
    plain = build_schedule(RunConfig(**RUN, warmup_steps=50), 50)
    saw = build_schedule(RunConfig(**RUN, warmup_steps=50, upstream_warmup=True), 50)
    assert [plain(step) for step in range(200)] == [saw(step) for step in range(200)]


def test_step_decay():
    run = RunConfig(**RUN, lr_sched="linear_warmup_step_lr", warmup_steps=10, lr_decay_rate=0.5)
    schedule = build_schedule(run, iters_per_epoch=20)
    assert schedule(0) == 1e-6
    assert schedule(5) == pytest.approx(1e-6 + (1e-4 - 1e-6) / 2)
    assert schedule(15) == 1e-4
    assert [schedule(20), schedule(40), schedule(79)] == pytest.approx([5e-5, 2.5e-5, 1.25e-5])
    run.min_lr = 4e-5
    assert build_schedule(run, iters_per_epoch=20)(79) == 4e-5


def test_unknown_schedule_lists_the_known():
    with pytest.raises(UnknownNameError, match="linear_warmup_cosine_lr, linear_warmup_step_lr"):
        build_schedule(RunConfig(lr_sched="none_such"), 10)


def test_weight_decay_spares_biases_and_vectors():
    model = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))
    model[0].weight.requires_grad_(True)
    optimizer = build_optimizer(model, RunConfig(weight_decay=0.05))
    decayed, plain = optimizer.param_groups
    assert [p.shape for p in decayed["params"]] == [torch.Size([2, 3])]
    assert len(plain["params"]) == 3
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.05, 0.0)
    assert decayed["betas"] == (0.9, 0.999)
