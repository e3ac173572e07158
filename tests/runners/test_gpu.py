"""Half precision with loss scaling, where there is a GPU."""

import pytest
import torch

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


@needs_gpu
def test_fp16_trains_with_scaled_losses_and_counts_overflows(make_runner, tmp_path):
    """The scale begins at 2 ** 16 and is halved by each overflow; 2 ** 40 must overflow."""
    runner = make_runner(device="cuda", precision="fp16", max_epoch=8, iters_per_epoch=4)
    runner.accelerator.scaler.load_state_dict(
        runner.accelerator.scaler.state_dict() | {"scale": 2.0**40}
    )
    before = runner.model.llama_proj.weight.detach().clone()
    runner.train()
    assert runner.progress.overflows > 0
    assert runner.progress.nonfinite == 0
    assert not torch.equal(before, runner.model.llama_proj.weight)
    assert torch.isfinite(runner.model.llama_proj.weight).all()
    again = make_runner(
        device="cuda", precision="fp16", max_epoch=9, iters_per_epoch=4,
        resume_ckpt_path=str(tmp_path / "out"), resume_changed=True,
    )  # fmt: skip
    scale = runner.accelerator.scaler.get_scale()
    assert again.accelerator.scaler.get_scale() == scale < 2.0**40


@needs_gpu
@pytest.mark.parametrize("precision", ["fp16", "bf16", "fp32"])
def test_every_precision_lowers_the_loss(make_runner, precision):
    runner = make_runner(device="cuda", precision=precision, max_epoch=8)
    runner.train()
    losses = [row["train_loss"] for row in runner.progress.history]
    assert losses[-1] < losses[0] - 0.3
