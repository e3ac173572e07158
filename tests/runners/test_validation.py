"""Validation: its loss, the best checkpoint, answers; and nothing of the training moved."""

import json

import pytest
import torch

from skingpt4.common.checkpoint import read_metadata, read_tensors
from skingpt4.common.errors import ConfigError
from tests.runners.conftest import build_runner, images, run_children


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def with_validation(photo_folder, val_folder):
    return {"skin_align": images(photo_folder, validation=val_folder)}


def test_best_and_last(make_runner, with_validation, tmp_path):
    runner = make_runner(datasets=with_validation, max_epoch=3, val_generations=0)
    losses = iter([2.0, 1.0, 3.0])
    object.__setattr__(runner.validator, "loss", lambda model: next(losses))
    runner.train()
    assert [row["val_loss"] for row in lines(tmp_path / "out" / "log.txt")] == [2.0, 1.0, 3.0]
    assert read_metadata(tmp_path / "out" / "checkpoint_best.safetensors")["epoch"] == 1
    assert read_metadata(tmp_path / "out" / "checkpoint_last.safetensors")["epoch"] == 2
    again = make_runner(
        datasets=with_validation,
        max_epoch=4,
        resume_ckpt_path=str(tmp_path / "out"),
        resume_changed=True,
    )
    assert again.progress.best_loss == 1.0


def test_the_loss_weighs_every_token_alike_and_repeats(make_runner, with_validation):
    runner = make_runner(datasets=with_validation, batch_size_eval=2)
    model, dataset = runner.model, runner.validator.datasets["skin_align"]
    encoder = model.dialogue_encoder
    encoder.prompts = encoder.prompts[:1]
    total = count = 0
    with torch.no_grad():
        for row in range(len(dataset)):
            sample = dataset[row]
            tokens = len(encoder.answer_ids(sample["text_input"] + model.end_sym))
            batch = {"image": sample["image"][None], "dialogue": [sample["dialogue"]]}
            total += model(batch)["loss"].item() * tokens
            count += tokens
    assert runner.validator.loss(model) == pytest.approx(total / count, rel=1e-5)
    assert runner.validator.loss(model) == runner.validator.loss(model)


def test_validation_moves_nothing_of_the_training(make_runner, with_validation, photo_folder):
    """The Q-Former's dropout would show a generator that validation has drawn from."""
    plain = make_runner(freeze=False, datasets={"skin_align": images(photo_folder)}).train()
    without = read_tensors(plain)
    runner = make_runner(freeze=False, datasets=with_validation)
    validated = read_tensors(runner.train())
    assert all(torch.equal(without[name], validated[name]) for name in without)
    assert len(runner.progress.history) == 2


def test_two_processes_validate_as_one(make_config, with_validation, tmp_path):
    config = make_config(datasets=with_validation, max_epoch=1)
    config.run.init_lr = config.run.min_lr = config.run.warmup_lr = 1e-12
    # Batches are others where there are two processes, and each draws a prompt.
    config.model.prompt_path = str(tmp_path / "prompt.txt")
    (tmp_path / "prompt.txt").write_text("<Img><ImageHere></Img> What is it?", encoding="utf-8")
    build_runner(config).train()
    [one] = lines(tmp_path / "out" / "log.txt")
    config.run.output_dir = str(tmp_path / "two")
    run_children(lambda rank: build_runner(config).train(), count=2)
    [two] = lines(tmp_path / "two" / "log.txt")
    assert one["val_loss"] == pytest.approx(two["val_loss"], rel=1e-5)


def test_answers_of_each_epoch(make_runner, with_validation, tmp_path):
    make_runner(datasets=with_validation, val_generations=2).train()
    names = sorted(path.name for path in (tmp_path / "out" / "samples").iterdir())
    assert names == ["epoch_001.jsonl", "epoch_002.jsonl"]
    rows = lines(tmp_path / "out" / "samples" / names[0])
    assert len(rows) == 2
    assert rows[0]["wanted"] == "This could be psoriasis."
    assert rows[0]["question"] == "What's wrong with my skin?"
    assert isinstance(rows[0]["said"], str)


def test_shards_are_validated_for_a_number_of_batches(make_runner, photo_folder, shards):
    data = {"laion": images(shards, validation=shards)}
    with pytest.raises(ConfigError, match=r"datasets\.laion have no end; set run\.valid_iters"):
        make_runner(datasets=data)
    runner = make_runner(datasets=data, valid_iters=2, max_epoch=1)
    runner.train()
    assert runner.progress.best_loss < 100
