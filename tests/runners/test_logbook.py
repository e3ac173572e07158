"""What a run leaves to read."""

import json
from importlib.util import find_spec

import pytest
from PIL import Image

from skingpt4.common.environment import git_state


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_logs_curves_environment_and_config(make_runner, tmp_path):
    make_runner(max_epoch=2, log_freq=2).train()
    out = tmp_path / "out"
    assert [row["step"] for row in lines(out / "steps.jsonl")] == [2, 3, 4, 6]
    assert {"loss", "lr", "grad_norm", "images_per_second"} <= set(lines(out / "steps.jsonl")[0])
    epochs = lines(out / "log.txt")
    assert [row["epoch"] for row in epochs] == [0, 1]
    assert {"train_loss", "train_lr", "seconds", "rejected"} <= set(epochs[0])
    with Image.open(out / "curves.png") as curves:
        assert curves.size[0] > 600
        assert len(set(curves.convert("RGB").getdata())) > 50
    [environment] = lines(out / "environment.jsonl")
    assert environment["packages"]["torch"]
    assert environment["processes"] == 1
    assert json.loads((out / "config.json").read_text())["run"]["max_epoch"] == 2


def test_tensorboard_gets_the_curves(make_runner, tmp_path):
    if not find_spec("tensorboard"):
        pytest.skip("tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    make_runner(max_epoch=1, log_freq=1, tensorboard=True).train()
    events = EventAccumulator(str(tmp_path / "out" / "tensorboard" / "skingpt4")).Reload()
    assert [event.step for event in events.Scalars("loss")] == [1, 2, 3]
    assert len(events.Scalars("train_loss")) == 1


def test_wandb_that_is_not_installed_stops_no_run(make_runner, caplog):
    if find_spec("wandb"):
        pytest.skip("wandb is installed")
    make_runner(wandb_log=True)
    assert "pip install wandb" in caplog.text


def test_the_commit_is_recorded():
    state = git_state()
    assert state == {} or (len(state["commit"]) == 40 and isinstance(state["changed"], list))
