"""A run that was stopped, killed or interrupted is the same run: bit for bit, on a CPU."""

import dataclasses
import json
import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch

from skingpt4.common.checkpoint import read_metadata, read_tensors
from skingpt4.common.errors import ConfigError, WeightsError
from skingpt4.runners.resume import check_same_run
from tests.runners.conftest import (
    CHILD_SECONDS,
    LAST,
    build_runner,
    images,
    run_children,
    start_children,
    stop_after,
    write_folder,
)


def folder_of(config):
    return config.run.output_dir


def changed(config, **changes):
    return dataclasses.replace(config, run=dataclasses.replace(config.run, **changes))


def train_in_parts(config, stops):
    """Train, interrupted by SIGTERM during each of these steps."""
    for stop in stops:
        runner = build_runner(changed(config, resume_ckpt_path="auto"))
        stop_after(runner, stop)
        runner.train()
        assert runner.progress.step == stop
    runner = build_runner(changed(config, resume_ckpt_path="auto"))
    runner.train()
    return runner


def assert_same_run(whole, parts):
    ours, theirs = (read_tensors(f"{folder}/{LAST}") for folder in (whole, parts))
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name
    assert records(whole, "log.txt") == records(parts, "log.txt")
    assert records(whole, "steps.jsonl") == records(parts, "steps.jsonl")


def records(folder, name):
    """Read a log without the times."""
    lines = (Path(folder) / name).read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [{k: v for k, v in row.items() if "second" not in k} for row in rows]


@pytest.fixture
def sources(photo_folder, val_folder, shards):
    return {
        "folder": {"skin_align": images(photo_folder, validation=val_folder)},
        "shards": {"laion": images(shards)},
        "mix": {
            "skin_align": images(photo_folder, sample_ratio=2.0),
            "cc_sbu": images(shards, sample_ratio=1.0, batch_size=2),
        },
    }


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["folder", "shards", "mix"])
def test_a_stopped_run_continues_bit_for_bit(make_config, sources, tmp_path, kind, workers):
    """The Q-Former is trained too: its dropout draws from the process's own generator."""
    config = make_config(
        freeze=False, datasets=sources[kind], num_workers=workers, iters_per_epoch=4, log_freq=1,
        accum_grad_iters=2, batch_size_train=3, val_generations=0,
    )  # fmt: skip
    whole, parts = (changed(config, output_dir=str(tmp_path / name)) for name in ("a", "b"))
    build_runner(whole).train()
    train_in_parts(parts, stops=[1, 4, 6])
    assert_same_run(folder_of(whole), folder_of(parts))


@pytest.mark.parametrize("restored", ["set_rng_state", "load_optimizer"])
def test_a_run_without_a_part_of_its_state_is_another_one(
    make_config, tmp_path, monkeypatch, restored
):
    """The control of the test above."""
    config = make_config(freeze=False)
    whole, parts = (changed(config, output_dir=str(tmp_path / name)) for name in ("a", "b"))
    build_runner(whole).train()
    monkeypatch.setattr(f"skingpt4.runners.runner_base.{restored}", lambda *_: None)
    train_in_parts(parts, stops=[4])
    with pytest.raises(AssertionError):
        assert_same_run(folder_of(whole), folder_of(parts))


@pytest.mark.parametrize("kind", ["folder", "shards"])
def test_two_processes_continue_bit_for_bit(make_config, sources, tmp_path, kind):
    config = make_config(datasets=sources[kind], log_freq=1, val_generations=0, num_workers=1)
    whole, parts = (changed(config, output_dir=str(tmp_path / name)) for name in ("a", "b"))

    def train(rank):
        build_runner(whole).train()

    def train_parts(rank):
        runner = build_runner(changed(parts, resume_ckpt_path="auto"))
        if rank == 0:
            stop_after(runner, 2)
        runner.train()
        assert runner.progress.step == 2

    def go_on(rank):
        build_runner(changed(parts, resume_ckpt_path="auto")).train()

    for work in (train, train_parts, go_on):
        run_children(work, count=2)
    assert_same_run(folder_of(whole), folder_of(parts))


def test_a_run_killed_at_any_instant_is_the_same_run(make_config, photo_folder, tmp_path):
    """kill -9 at random instants of a run that saves at each of its 60 steps."""
    data = {"skin_align": images(photo_folder)}
    config = make_config(datasets=data, iters_per_epoch=15, max_epoch=4, save_iters=1, log_freq=1)
    whole, parts = (changed(config, output_dir=str(tmp_path / name)) for name in ("a", "b"))
    run_children(lambda rank: build_runner(whole).train())
    rng, kills = random.Random(0), 0
    for _ in range(8):
        [child] = start_children(
            lambda rank: build_runner(changed(parts, resume_ckpt_path="auto")).train()
        )
        wait_for_a_save(child, tmp_path / "b" / "training_state.pt")
        child.join(rng.uniform(0, 0.1))
        if child.exitcode is None:
            os.kill(child.pid, signal.SIGKILL)
            child.join()
            kills += 1
        assert set(read_tensors(tmp_path / "b" / LAST)) == {"llama_proj.weight", "llama_proj.bias"}
    assert kills >= 4
    run_children(lambda rank: build_runner(changed(parts, resume_ckpt_path="auto")).train())
    assert_same_run(folder_of(whole), folder_of(parts))


def wait_for_a_save(child, path):
    before = path.stat().st_mtime_ns if path.exists() else 0
    deadline = time.monotonic() + CHILD_SECONDS
    while child.is_alive() and time.monotonic() < deadline:
        if path.exists() and path.stat().st_mtime_ns != before:
            return
        child.join(0.005)


def test_a_kill_between_two_renames_leaves_the_previous_state(make_runner, tmp_path):
    make_runner(max_epoch=2).train()
    (tmp_path / "out" / "training_state.pt").unlink()
    runner = make_runner(max_epoch=2, resume_ckpt_path="auto")
    assert runner.progress.step == 3
    runner.train()
    assert [row["epoch"] for row in records(tmp_path / "out", "log.txt")] == [0, 1]


def test_a_damaged_state_gives_way_to_the_previous_one(make_runner, tmp_path):
    make_runner(max_epoch=2).train()
    state = tmp_path / "out" / "training_state.pt"
    state.write_bytes(state.read_bytes()[:1000])
    assert make_runner(max_epoch=2, resume_ckpt_path=str(state)).progress.step == 3


def test_another_config_is_refused_with_its_difference(make_runner, tmp_path):
    make_runner(max_epoch=1).train()
    with pytest.raises(ConfigError) as caught:
        make_runner(max_epoch=3, init_lr=2e-2, resume_ckpt_path=str(tmp_path / "out"))
    assert "run.init_lr was 0.01 and is 0.02" in str(caught.value)
    assert "run.max_epoch was 1 and is 3" in str(caught.value)
    with pytest.raises(ConfigError, match="processes was 1 and is 2"):
        check_same_run({"processes": 1}, {"processes": 2}, tmp_path)


def test_what_changes_no_number_may_change(make_runner, tmp_path):
    make_runner(max_epoch=2, iters_per_epoch=1).train()
    runner = make_runner(
        max_epoch=2,
        iters_per_epoch=1,
        num_workers=1,
        save_iters=5,
        output_dir=str(tmp_path / "other"),
        resume_ckpt_path="auto",
    )
    assert runner.progress.step == 0


def test_another_data_set_is_refused_with_its_difference(make_runner, tmp_path):
    data = {"skin_align": images(write_folder(tmp_path / "photos", 8))}
    make_runner(max_epoch=2, datasets=data, iters_per_epoch=1).train()
    photo = tmp_path / "photos" / "image" / "3.jpg"
    photo.write_bytes(photo.read_bytes() + b"0")
    with pytest.raises(ConfigError, match=r"data\.skin_align\.images was '\w+' and is '\w+'"):
        make_runner(datasets=data, iters_per_epoch=1, resume_ckpt_path=str(tmp_path / "out"))
    again = {"resume_ckpt_path": str(tmp_path / "out"), "resume_changed": True, "max_epoch": 3}
    runner = make_runner(datasets=data, iters_per_epoch=1, **again)
    assert runner.progress.step == 2


def test_auto_begins_a_run_and_leaves_a_finished_one_as_it_is(make_runner, tmp_path):
    make_runner(max_epoch=1, resume_ckpt_path="auto").train()
    before = (tmp_path / "out" / LAST).read_bytes()
    make_runner(max_epoch=1, resume_ckpt_path="auto").train()
    assert (tmp_path / "out" / LAST).read_bytes() == before


def test_resume_says_what_is_wrong(make_runner, tmp_path):
    with pytest.raises(WeightsError, match=r"cannot be read .* There is no run to continue"):
        make_runner(resume_ckpt_path=str(tmp_path / "absent" / LAST))
    make_runner(max_epoch=1).train()
    with pytest.raises(ConfigError, match="has finished all its 3 steps; to train on, raise"):
        make_runner(max_epoch=1, resume_ckpt_path=str(tmp_path / "out"))


def test_a_longer_run_goes_on_where_asked_to(make_runner, tmp_path):
    make_runner(max_epoch=1).train()
    runner = make_runner(max_epoch=2, resume_ckpt_path=str(tmp_path / "out"), resume_changed=True)
    saved = read_tensors(tmp_path / "out" / LAST)
    assert torch.equal(runner.model.llama_proj.weight, saved["llama_proj.weight"])
    assert runner.optimizer.state_dict()["state"][0]["step"] == 3
    runner.train()
    assert read_metadata(tmp_path / "out" / LAST)["step"] == 6


def test_a_new_run_in_an_old_folder_begins_its_logs_anew(make_runner, tmp_path):
    for _ in range(2):
        make_runner(max_epoch=2).train()
    assert [row["epoch"] for row in records(tmp_path / "out", "log.txt")] == [0, 1]
