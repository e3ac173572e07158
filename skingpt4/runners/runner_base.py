"""The training loop, on accelerate: accumulate, log, save, resume."""

import logging
import time
from collections.abc import Iterator, Mapping, Sized
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor, nn
from torch.utils.data import Dataset
from tqdm import tqdm

from skingpt4.common.checkpoint import load_state, read_tensors, save_state, save_tensors
from skingpt4.common.config import Config
from skingpt4.common.errors import ConfigError
from skingpt4.common.logger import append_json_line
from skingpt4.common.optims import build_optimizer, build_schedule
from skingpt4.common.registry import registry
from skingpt4.datasets.loaders import MultiIterLoader, build_loader
from skingpt4.models import SkinGPT4
from skingpt4.models.weights import assign
from skingpt4.tasks.base_task import BaseTask

logger = logging.getLogger(__name__)

CHECKPOINT_NAME = "checkpoint_last.safetensors"
STATE_NAME = "training_state.pt"
LOG_NAME = "log.txt"
RECORDED_PACKAGES = ("torch", "torchvision", "transformers", "timm", "accelerate")

Splits = Mapping[str, Mapping[str, Dataset[Any]]]
Batches = Iterator[Mapping[str, Any]]


@registry.register_runner("runner_base")
class RunnerBase:
    """Trains a model on a mixture of data sets.

    Args:
        config: The whole settled run.
        task: Knows what one step is.
        model: Its trainable parameters are what is trained and saved.
        datasets: By name and split, as the task builds them.
    """

    def __init__(self, config: Config, task: BaseTask, model: nn.Module, datasets: Splits) -> None:
        run = config.run
        self.config, self.run, self.task = config, run, task
        self.output_dir = Path(run.output_dir)
        set_seed(run.seed)
        self.accelerator = Accelerator(
            cpu=run.device == "cpu",
            mixed_precision="fp16" if run.amp and torch.cuda.is_available() else "no",
            gradient_accumulation_steps=run.accum_grad_iters,
        )
        self.model, self.optimizer = self.accelerator.prepare(model, build_optimizer(model, run))
        self.loader = self._mix(datasets)
        self.iters_per_epoch = run.iters_per_epoch or self._one_pass()
        self.schedule = build_schedule(run, self.iters_per_epoch)
        self.start_epoch = 0
        if run.resume_ckpt_path:
            self.resume(Path(run.resume_ckpt_path))

    def train(self) -> Path:
        """Run every epoch that is left; return the last checkpoint's path."""
        batches = iter(self.loader)
        for epoch in range(self.start_epoch, self.run.max_epoch):
            started = time.monotonic()
            loss, lr = self.train_epoch(epoch, batches)
            self._log(epoch, loss, lr, time.monotonic() - started)
            self.save(epoch)
        return self.output_dir / CHECKPOINT_NAME

    def train_epoch(self, epoch: int, batches: Batches) -> tuple[float, float]:
        """Take one epoch's optimiser steps; return the mean loss and the last learning rate."""
        self.model.train()
        total, lr = 0.0, 0.0
        bar = tqdm(
            range(self.iters_per_epoch),
            desc=f"epoch {epoch + 1}/{self.run.max_epoch}",
            disable=not self.accelerator.is_main_process,
        )
        for number in bar:
            lr = self._set_lr(epoch * self.iters_per_epoch + number)
            total += self._step(batches)
            bar.set_postfix(loss=f"{total / (number + 1):.3f}", lr=f"{lr:.1e}", refresh=False)
        return total / self.iters_per_epoch, lr

    def _step(self, batches: Batches) -> float:
        """Take one optimiser step over ``accum_grad_iters`` micro-batches; return its loss."""
        total = 0.0
        for _ in range(self.run.accum_grad_iters):
            with self.accelerator.accumulate(self.model):
                with self.accelerator.autocast():
                    loss = self.task.train_step(self.model, next(batches))
                self.accelerator.backward(loss)
                if self.accelerator.sync_gradients and self.run.max_grad_norm is not None:
                    self.accelerator.clip_grad_norm_(
                        self.model.parameters(), self.run.max_grad_norm
                    )
                self.optimizer.step()
                self.optimizer.zero_grad()
            total += loss.item()
        return total / self.run.accum_grad_iters

    def _set_lr(self, step: int) -> float:
        lr = self.schedule(step)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        return lr

    def trainable_tensors(self) -> dict[str, Tensor]:
        """Return what training changes, by name."""
        model = self.accelerator.unwrap_model(self.model)
        return {name: p for name, p in model.named_parameters() if p.requires_grad}

    def save(self, epoch: int) -> None:
        """Write the checkpoint and the state that a resumed run needs."""
        if not self.accelerator.is_main_process:
            return
        model = cast(SkinGPT4, self.accelerator.unwrap_model(self.model))
        record = {
            **model.record(),
            "config": self.config.to_dict(),
            "epoch": epoch,
            "step": (epoch + 1) * self.iters_per_epoch,
            "versions": {name: version(name) for name in RECORDED_PACKAGES},
        }
        save_tensors(self.output_dir / CHECKPOINT_NAME, self.trainable_tensors(), record)
        state = {"epoch": epoch, "optimizer": self.optimizer.state_dict()}
        save_state(self.output_dir / STATE_NAME, state)
        logger.info("Saved epoch %d in %s", epoch + 1, self.output_dir)

    def resume(self, folder: Path) -> None:
        """Go on after the last epoch saved in ``folder`` (or beside the checkpoint named).

        Raises:
            ConfigError: If that run had already reached ``run.max_epoch``.
            WeightsError: If its files are missing, damaged or of another model.
        """
        folder = folder if folder.is_dir() else folder.parent
        tensors = read_tensors(folder / CHECKPOINT_NAME)
        model = self.accelerator.unwrap_model(self.model)
        assign(model, tensors, folder / CHECKPOINT_NAME, required=tuple(self.trainable_tensors()))
        state = load_state(folder / STATE_NAME)
        self.optimizer.load_state_dict(state["optimizer"])
        self.start_epoch = state["epoch"] + 1
        if self.start_epoch >= self.run.max_epoch:
            raise ConfigError(
                f"The run in '{folder}' has finished epoch {self.start_epoch} and run.max_epoch "
                f"is {self.run.max_epoch}; raise it to train on."
            )
        set_seed(self.run.seed + self.start_epoch)

    def _mix(self, datasets: Splits) -> MultiIterLoader:
        loaders, ratios = [], []
        for name, splits in datasets.items():
            cfg = self.config.datasets[name]
            for split in self.run.train_splits:
                loader = build_loader(
                    splits[split],
                    batch_size=cfg.batch_size or self.run.batch_size_train,
                    num_workers=self.run.num_workers,
                    shuffle=True,
                    seed=self.run.seed,
                    drop_last=True,
                )
                loaders.append(self.accelerator.prepare(loader))
                ratios.append(cfg.sample_ratio)
        return MultiIterLoader(loaders, ratios, seed=self.run.seed)

    def _one_pass(self) -> int:
        try:
            batches = sum(len(cast(Sized, loader)) for loader in self.loader.loaders)
        except TypeError:
            raise ConfigError(
                "WebDataset shards have no length; set run.iters_per_epoch."
            ) from None
        return max(1, batches // self.run.accum_grad_iters)

    def _log(self, epoch: int, loss: float, lr: float, seconds: float) -> None:
        if self.accelerator.is_main_process:
            self.output_dir.mkdir(parents=True, exist_ok=True)
            record = {
                "epoch": epoch,
                "train_loss": round(loss, 5),
                "train_lr": lr,
                "seconds": round(seconds, 1),
            }
            append_json_line(self.output_dir / LOG_NAME, record)
