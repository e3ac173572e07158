"""The training loop on a folder of generated photos."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image

from skingpt4.common.checkpoint import read_metadata, read_tensors
from skingpt4.common.config import Config
from skingpt4.common.errors import ConfigError, WeightsError
from skingpt4.common.schema import BuildInfo, DatasetConfig, RunConfig
from skingpt4.runners import RunnerBase
from skingpt4.tasks import ImageTextPretrainTask


@pytest.fixture(scope="module")
def photo_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    (folder / "image").mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for number in range(8):
        pixels = rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "image" / f"{number}.jpg")
        rows.append({"image_id": str(number), "caption": "This could be psoriasis."})
    (folder / "filter_cap.json").write_text(json.dumps({"annotations": rows}), encoding="utf-8")
    return folder


@pytest.fixture
def make_runner(model_config, photo_folder, tmp_path):
    def make(freeze=True, **changes):
        run = RunConfig(
            init_lr=1e-2,
            min_lr=1e-3,
            max_epoch=2,
            iters_per_epoch=3,
            num_workers=0,
            batch_size_train=4,
            output_dir=str(tmp_path / "out"),
            device="cpu",
        )
        processor = {"train": {"name": "blip2_image_train", "image_size": 28}}
        photos = DatasetConfig(
            build_info=BuildInfo(storage=str(photo_folder)), vis_processor=processor
        )
        model = dataclasses.replace(
            model_config, freeze_vit=freeze, freeze_qformer=freeze, freeze_llm=freeze
        )
        config = Config(
            model=model, datasets={"skin_align": photos}, run=dataclasses.replace(run, **changes)
        )
        task = ImageTextPretrainTask()
        torch.manual_seed(0)
        built = task.build_model(config)
        return RunnerBase(config, task, built, task.build_datasets(config))

    return make


def snapshot(runner):
    return {name: value.clone() for name, value in runner.model.state_dict().items()}


def changed(before, after):
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_training_moves_the_projection_alone_and_lowers_the_loss(make_runner, tmp_path):
    runner = make_runner(max_epoch=8)
    before = snapshot(runner)
    path = runner.train()
    assert changed(before, snapshot(runner)) == {"llama_proj.weight", "llama_proj.bias"}
    saved = read_tensors(path)
    assert saved.keys() == {"llama_proj.weight", "llama_proj.bias"}
    assert torch.equal(saved["llama_proj.bias"], runner.model.llama_proj.bias)
    record = read_metadata(path)
    assert (record["epoch"], record["step"]) == (7, 24)
    assert record["config"]["run"]["init_lr"] == 1e-2
    assert record["llm"]["width"] == 32
    assert record["qformer"]["shape"] == "test"
    assert record["prompt"]["end_sym"] == "###"
    lines = (tmp_path / "out" / "log.txt").read_text(encoding="utf-8").splitlines()
    losses = [json.loads(line)["train_loss"] for line in lines]
    assert len(losses) == 8
    assert losses[-1] < losses[0] - 0.5


def test_the_foundation_step_moves_every_part(make_runner):
    runner = make_runner(freeze=False, max_epoch=1)
    before = snapshot(runner)
    runner.train()
    moved = changed(before, snapshot(runner))
    for part in (
        "visual_encoder.",
        "ln_vision.",
        "Qformer.",
        "query_tokens",
        "llama_proj.",
        "llm_",
    ):
        assert any(name.startswith(part) for name in moved), part


def test_accumulated_micro_batches_equal_one_batch(make_runner, photo_folder):
    """Two batches of four with accumulation move the projection as one batch of eight."""
    photos = torch.randn(8, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    dialogue = [[("Why?", "This could be psoriasis.")]] * 8

    def step(runner, batches):
        runner._set_lr(0)
        runner._step(iter(batches))
        return runner.model.llama_proj.weight.detach().clone()

    whole = step(make_runner(), [{"image": photos, "dialogue": dialogue}])
    halves = [
        {"image": photos[:4], "dialogue": dialogue[:4]},
        {"image": photos[4:], "dialogue": dialogue[4:]},
    ]
    accumulated = step(make_runner(accum_grad_iters=2), halves)
    torch.testing.assert_close(accumulated, whole, rtol=1e-4, atol=1e-5)


def test_eight_steps_equal_plain_adamw(make_runner):
    """Optimiser, schedule and weight decay: the projection ends where a plain loop brings it."""
    photos = torch.randn(4, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    batch = {"image": photos, "dialogue": [[("Why?", "This could be psoriasis.")]] * 4}
    runner, plain = make_runner(), make_runner().model
    weight, bias = plain.llama_proj.weight, plain.llama_proj.bias
    optimizer = torch.optim.AdamW(
        [{"params": [weight], "weight_decay": 0.05}, {"params": [bias], "weight_decay": 0.0}],
        betas=(0.9, 0.999),
    )
    runner.model.train()
    for number in range(8):
        for group in optimizer.param_groups:
            group["lr"] = runner._set_lr(number)
        runner._step(iter([batch]))
        optimizer.zero_grad()
        plain.train()(batch)["loss"].backward()
        optimizer.step()
    assert (runner.model.llama_proj.weight - weight).abs().max() <= 2e-8


def test_a_stopped_run_goes_on(make_runner, tmp_path):
    make_runner(max_epoch=1).train()
    resumed = make_runner(max_epoch=3, resume_ckpt_path=str(tmp_path / "out"))
    assert resumed.start_epoch == 1
    saved = read_tensors(tmp_path / "out" / "checkpoint_last.safetensors")
    assert torch.equal(resumed.model.llama_proj.weight, saved["llama_proj.weight"])
    assert resumed.optimizer.state_dict()["state"][0]["step"] == 3
    resumed.train()
    assert read_metadata(tmp_path / "out" / "checkpoint_last.safetensors")["epoch"] == 2


def test_resume_says_what_is_wrong(make_runner, tmp_path):
    with pytest.raises(WeightsError, match="does not exist"):
        make_runner(resume_ckpt_path=str(tmp_path / "absent" / "checkpoint_last.safetensors"))
    make_runner(max_epoch=1).train()
    with pytest.raises(
        ConfigError, match=r"has finished epoch 1 and run\.max_epoch is 1; raise it"
    ):
        make_runner(max_epoch=1, resume_ckpt_path=str(tmp_path / "out"))


def test_an_epoch_is_one_pass_unless_told(make_runner):
    assert make_runner(iters_per_epoch=None).iters_per_epoch == 2
    assert make_runner(iters_per_epoch=None, accum_grad_iters=2).iters_per_epoch == 1
