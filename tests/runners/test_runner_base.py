"""The training loop on a folder of generated photos."""

import json
import math

import pytest
import torch

from skingpt4.common.checkpoint import read_metadata, read_tensors
from skingpt4.common.errors import ConfigError, DatasetError
from tests.runners.conftest import build_runner, encoded, images, run_children, write_folder


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
    answers = ["This could be psoriasis.", "Acne.", "A mole.", "This is a photo of a plaque."]
    dialogue = [[("Why?", answer)] for answer in answers * 2]
    dialogue[7] = [("Why?", "This answer is longer than all the others, and so has more tokens.")]

    def step(runner, batches):
        for group in runner.optimizer.param_groups:
            group["lr"] = runner.schedule(0)
        runner.updater.step([encoded(runner, batch) for batch in batches])
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
        for group in [*optimizer.param_groups, *runner.optimizer.param_groups]:
            group["lr"] = runner.schedule(number)
        runner.updater.step([encoded(runner, batch)])
        optimizer.zero_grad()
        plain.train()(batch)["loss"].backward()
        optimizer.step()
    assert (runner.model.llama_proj.weight - weight).abs().max() <= 2e-8


def test_an_epoch_is_one_pass_unless_told(make_runner):
    assert make_runner(iters_per_epoch=None).iters_per_epoch == 2
    assert make_runner(iters_per_epoch=None, accum_grad_iters=2).iters_per_epoch == 1


def test_two_processes_equal_one_with_twice_the_batch(make_config, tmp_path):
    """Over gloo, from the files on: order, weights of tokens, gradients, schedule."""
    config = make_config(iters_per_epoch=4, batch_size_train=2, max_grad_norm=0.5)
    config.run.output_dir = str(tmp_path / "two")
    run_children(lambda rank: build_runner(config).train(), count=2)
    one = make_config(iters_per_epoch=4, batch_size_train=4, max_grad_norm=0.5)
    one.model.prompt_path = config.model.prompt_path
    path = build_runner(one).train()
    ours, theirs = read_tensors(path), read_tensors(tmp_path / "two" / path.name)
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-4, atol=1e-6)
    logs = [(folder / "log.txt").read_text() for folder in (path.parent, tmp_path / "two")]
    losses = [[json.loads(line)["train_loss"] for line in log.splitlines()] for log in logs]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def poison(runner, steps):
    """Make the loss of these steps not a number."""
    forward = runner.model.forward

    def poisoned(samples):
        output = forward(samples)
        return {"loss": output["loss"] * (math.nan if runner.progress.step in steps else 1.0)}

    runner.model.forward = poisoned


def test_a_loss_that_is_no_number_changes_nothing_and_is_counted(make_runner, tmp_path, caplog):
    runner = make_runner(max_epoch=1, iters_per_epoch=4)
    poison(runner, steps=[1, 2])
    runner.train()
    assert "Step 2 skipped" in caplog.text
    assert all(torch.isfinite(p).all() for p in runner.model.llama_proj.parameters())
    assert runner.optimizer.state_dict()["state"][0]["step"] == 2
    record = json.loads((tmp_path / "out" / "log.txt").read_text())
    assert record["skipped_nonfinite"] == 2
    assert math.isfinite(record["train_loss"])


def test_losses_that_stay_no_number_end_the_run_and_name_the_batch(make_runner):
    runner = make_runner(iters_per_epoch=8)
    poison(runner, steps=range(2, 8))
    with pytest.raises(DatasetError, match=r"The last 3 steps .* of skin_align: \d, \d, \d, \d;"):
        runner.train()
    assert runner.progress.step == 5


def test_clipping_bounds_the_gradient(make_runner):
    photos = torch.randn(4, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    batch = {"image": photos, "dialogue": [[("Why?", "This could be psoriasis.")]] * 4}
    runner = make_runner(max_grad_norm=0.01)
    norms = []

    def measure(optimizer, *_):
        grads = [p.grad.flatten() for group in optimizer.param_groups for p in group["params"]]
        norms.append(torch.cat(grads).norm())

    runner.optimizer.optimizer.register_step_pre_hook(measure)
    result = runner.updater.step([encoded(runner, batch)])
    assert result.grad_norm > 0.1
    assert norms[0] == pytest.approx(0.01, rel=1e-3)


def test_unusable_photos_are_passed_over_counted_and_limited(make_runner, tmp_path):
    folder = write_folder(tmp_path / "photos", 20)
    (folder / "image" / "7.jpg").write_bytes(b"no photo")
    data = {"skin_align": images(folder)}
    make_runner(datasets=data, max_epoch=1, iters_per_epoch=5).train()
    assert json.loads((tmp_path / "out" / "log.txt").read_text())["rejected"] >= 1
    for number in range(0, 20, 2):
        (folder / "image" / f"{number}.jpg").write_bytes(b"no photo")
    with pytest.raises(DatasetError, match=r"Data set 'skin_align': \d+ of the \d+ samples drawn"):
        make_runner(datasets=data, max_epoch=1, iters_per_epoch=50).train()
    for number in range(20):
        (folder / "image" / f"{number}.jpg").write_bytes(b"no photo")
    with pytest.raises(DatasetError, match="10 samples in a row could not be used; the last"):
        make_runner(datasets=data, max_epoch=1).train()


def test_precisions(make_runner):
    with pytest.raises(ConfigError, match="fp16, which needs a GPU; set it to bf16 or fp32"):
        make_runner(precision="fp16")
    with pytest.raises(ConfigError, match="'half', but must be one of: fp32, fp16, bf16"):
        make_runner(precision="half")
    assert make_runner(amp=True).accelerator.mixed_precision == "no"
    runner = make_runner(precision="bf16", max_epoch=4)
    runner.train()
    losses = [row["train_loss"] for row in runner.progress.history]
    assert losses[-1] < losses[0]


def test_recomputed_activations_change_no_gradient(make_runner):
    photos = torch.randn(4, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    batch = {"image": photos, "dialogue": [[("Why?", "This could be psoriasis.")]] * 4}
    weights, calls = [], []
    for recomputes in (False, True):
        runner = make_runner(checkpoint_llm=recomputes)
        layer = runner.model.llm_model.model.layers[0].mlp
        layer.register_forward_pre_hook(lambda *_, mode=recomputes: calls.append(mode))
        runner.set_training()
        assert not layer.training
        runner.updater.step([encoded(runner, batch)])
        weights.append(runner.model.llama_proj.weight.detach().clone())
    assert calls == [False, True, True]
    assert torch.equal(*weights)


def test_sharding_without_a_gpu_is_refused(make_runner):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ConfigError, match=r"run\.fsdp spreads parameters over GPUs"):
        make_runner(fsdp=True)
