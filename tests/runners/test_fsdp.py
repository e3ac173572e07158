"""A model spread over two processes trains, saves and resumes as a whole one does.

accelerate offers FSDP on accelerators alone. Its own code runs on a CPU too, over gloo: here the
one condition that keeps it from there is lifted.
"""

import pytest
import torch
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType

from skingpt4.common.checkpoint import read_metadata, read_tensors
from skingpt4.common.errors import ConfigError
from skingpt4.runners import distributed as setup
from tests.runners.conftest import LAST, build_runner, run_children, stop_after

begin_state = AcceleratorState.__init__


def begin_spread_state(self, *args, **kwargs):
    begin_state(self, *args, **kwargs)
    if kwargs.get("fsdp_plugin") is not None:
        self.distributed_type = DistributedType.FSDP
        self.fsdp_plugin = kwargs["fsdp_plugin"]


@pytest.fixture
def train_spread(monkeypatch):
    """Train in two processes that share one copy of the parameters, perhaps to a SIGTERM."""

    def train(config, stop=None):
        monkeypatch.setattr(AcceleratorState, "__init__", begin_spread_state)
        monkeypatch.setattr(setup, "is_fsdp_possible", lambda: True)

        def work(rank):
            runner = build_runner(config)
            spread = runner.model.llm_model.model.layers[0].mlp.up_proj.weight
            assert spread.to_local().numel() * 2 == spread.numel()
            if stop and rank == 0:
                stop_after(runner, stop)
            runner.train()

        run_children(work, count=2)
        monkeypatch.undo()

    return train


def test_a_spread_model_trains_and_resumes_as_a_whole_one(make_config, train_spread, tmp_path):
    def config(name, **changes):
        run = {"max_grad_norm": 0.5, "accum_grad_iters": 2, "resume_ckpt_path": "auto"}
        return make_config(output_dir=str(tmp_path / name), **run, **changes)

    build_runner(config("whole", batch_size_train=4)).train()
    train_spread(config("spread", batch_size_train=2, fsdp=True))
    train_spread(config("parts", batch_size_train=2, fsdp=True), stop=2)
    train_spread(config("parts", batch_size_train=2, fsdp=True))
    paths = [tmp_path / name / LAST for name in ("whole", "spread", "parts")]
    whole, spread, parts = (read_tensors(path) for path in paths)
    assert read_metadata(paths[0])["llm"] == read_metadata(paths[1])["llm"]
    for name in whole:
        torch.testing.assert_close(spread[name], whole[name], rtol=1e-4, atol=1e-6)
        assert torch.equal(spread[name], parts[name])


def test_only_a_frozen_model_is_spread(make_runner, monkeypatch):
    monkeypatch.setattr(setup, "is_fsdp_possible", lambda: True)
    with pytest.raises(ConfigError, match="trains the projection alone"):
        make_runner(freeze=False, fsdp=True)
