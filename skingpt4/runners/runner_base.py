"""The training loop, on accelerate: step, log, validate, save, stop and resume."""

import logging
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from accelerate.utils import gather_object, set_seed
from tqdm import tqdm

from skingpt4.common.checkpoint import save_tensors
from skingpt4.common.environment import versions
from skingpt4.common.errors import ConfigError, DatasetError
from skingpt4.common.optims import build_optimizer, build_schedule
from skingpt4.common.registry import registry
from skingpt4.common.seeding import rng_state, set_rng_state
from skingpt4.datasets.loaders import MultiIterLoader, TrainLoader
from skingpt4.models.weights import assign
from skingpt4.runners.distributed import (
    StopRequest,
    build_accelerator,
    load_optimizer,
    optimizer_state,
    whole,
)
from skingpt4.runners.logbook import Logbook
from skingpt4.runners.resume import (
    STATE_NAME,
    Progress,
    find_training_state,
    identify_run,
    write_training_state,
)
from skingpt4.runners.train_step import Updater, checkpoint_activations
from skingpt4.runners.validation import Validator

if TYPE_CHECKING:
    from torch import Tensor

    from skingpt4.common.config import Config
    from skingpt4.datasets.builders import Splits
    from skingpt4.models.skin_gpt4 import SkinGPT4
    from skingpt4.tasks.image_text_pretrain import ImageTextPretrainTask

logger = logging.getLogger(__name__)

CHECKPOINT_NAME, BEST_NAME = "checkpoint_last.safetensors", "checkpoint_best.safetensors"


@registry.register_runner("runner_base")
class RunnerBase:
    """Trains a model on a mixture of data sets.

    Args:
        config: The whole settled run.
        task: Knows what one step is.
        model: Its trainable parameters are what is trained and saved.
        datasets: By name and split, as the task builds them.

    Raises:
        ConfigError: If the config contradicts itself or the run to be continued.
        WeightsError: If the state to continue from cannot be read or does not fit.
    """

    def __init__(
        self, config: "Config", task: "ImageTextPretrainTask", model: "SkinGPT4", datasets: "Splits"
    ) -> None:
        run = config.run
        self.config, self.run = config, run
        self.output_dir = Path(run.output_dir)
        self.accelerator = build_accelerator(config, model)
        self.loader = self._build_loader(datasets, model)
        self.validator = Validator(config, task, self.accelerator, datasets)
        passes = [loader.batches_a_pass for loader in self.loader.loaders.values()]
        if run.iters_per_epoch is None and None in passes:
            raise ConfigError("WebDataset shards have no length; set run.iters_per_epoch.")
        one_pass = sum(filter(None, passes)) // run.accum_grad_iters
        self.iters_per_epoch = run.iters_per_epoch or max(1, one_pass)
        self.total_steps = run.max_epoch * self.iters_per_epoch
        self.schedule = build_schedule(run, self.iters_per_epoch)
        self.logbook = Logbook(config, self.accelerator)
        self.progress = Progress()

        # The tensors of a continued run go in before the model is spread over processes.
        self.identity = identify_run(config, datasets, self.accelerator.num_processes)
        state = find_training_state(run, self.identity, self.total_steps)
        if state is not None:
            assign(model, state["tensors"], STATE_NAME, required=tuple(_trainable(model)))
        # Of a model that is spread later no process alone could tell; its parts are frozen.
        self._parts = model.record() if run.fsdp else None
        self.model, self.optimizer = self.accelerator.prepare(model, build_optimizer(model, run))
        self.updater = Updater(
            self.accelerator, self.model, self.optimizer, task, run.max_grad_norm
        )
        # Dropout of each process is its own.
        set_seed(run.seed)
        torch.manual_seed(run.seed + self.accelerator.process_index)
        if state is None:
            return
        load_optimizer(self.model, self.optimizer.optimizer, state["optimizer"], run.fsdp)
        if self.accelerator.scaler is not None and state["scaler"]:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.progress = Progress(**state["progress"])
        # With resume_changed there may be more processes than there were.
        own = state["ranks"][self.accelerator.process_index % len(state["ranks"])]
        self.loader.load_state_dict(own["data"])
        set_rng_state(own["rng"])
        logger.info("Resumed after step %d of %d", self.progress.step, self.total_steps)

    def train(self) -> Path:
        """Take the steps that are left, or until asked to stop; return the last checkpoint."""
        progress, is_stopped = self.progress, False
        self.logbook.open(progress.step, progress.history)
        try:
            with StopRequest(self.accelerator) as stop:
                while progress.step < self.total_steps and not is_stopped:
                    self.set_training()
                    epoch, done = divmod(progress.step, self.iters_per_epoch)
                    with tqdm(
                        total=self.iters_per_epoch,
                        initial=done,
                        desc=f"epoch {epoch + 1}/{self.run.max_epoch}",
                        disable=not self.accelerator.is_main_process,
                    ) as bar:
                        for left in range(self.iters_per_epoch - done - 1, -1, -1):
                            bar.set_postfix(self._take_step(), refresh=False)
                            bar.update()
                            is_stopped = stop.is_asked()
                            # The last step of an epoch is saved by its end, once validated.
                            if left and (is_stopped or self._is_due(self.run.save_iters)):
                                self.save()
                            if is_stopped:
                                break
                    if not left:
                        self._end_epoch(epoch)
            if is_stopped:
                logger.info(
                    "Stopped after step %d of %d; run.resume_ckpt_path=auto goes on from there",
                    progress.step,
                    self.total_steps,
                )
        finally:
            self.loader.close()
            self.logbook.close()
        return self.output_dir / CHECKPOINT_NAME

    def _take_step(self) -> dict[str, str]:
        """Take one optimiser step with the next batches; return what the progress bar shows.

        Raises:
            DatasetError: If too many steps in a row had no finite loss.
        """
        run, progress = self.run, self.progress
        started = time.monotonic()
        lr = self.schedule(progress.step)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        # The time spent waiting for data counts: it is what num_workers is chosen by.
        batches = [next(self.loader) for _ in range(run.accum_grad_iters)]
        result = self.updater.step(batches)
        progress.add(result, time.monotonic() - started)
        # One such step may be bad luck; several in a row do not heal by themselves.
        if not result.is_finite:
            logger.warning("Step %d skipped: no finite loss or gradient", progress.step)
        if progress.nonfinite_in_a_row >= run.max_nonfinite:
            names = [f"{batch['dataset']}: {', '.join(batch['name'])}" for batch in batches]
            raise DatasetError(
                f"The last {progress.nonfinite_in_a_row} steps had no finite loss or gradient, the "
                f"last with the batch of {'; '.join(names)}; look at these samples, or lower "
                "run.init_lr, or set run.precision to bf16 or fp32."
            )
        speed = round(progress.images_per_second, 2)
        if self._is_due(run.log_freq) or self._is_due(self.iters_per_epoch):
            point = {"loss": result.loss, "lr": lr, "grad_norm": result.grad_norm}
            self.logbook.point(progress.step, point | {"images_per_second": speed})
        loss = progress.mean_loss or result.loss
        return {"loss": f"{loss:.3f}", "lr": f"{lr:.1e}", "images": f"{speed:.1f}/s"}

    def _end_epoch(self, epoch: int) -> None:
        """Validate, save, and write the epoch down."""
        progress = self.progress
        val_loss = self.validator.loss(self.model)  # infinite without a validation split
        is_best = val_loss < progress.best_loss
        if is_best:
            progress.best_loss = val_loss
        record = {
            "epoch": epoch,
            "step": progress.step,
            "train_loss": progress.mean_loss and round(progress.mean_loss, 5),
            "train_lr": self.optimizer.param_groups[0]["lr"],
            "seconds": round(progress.seconds, 1),
            "images_per_second": round(progress.images_per_second, 2),
            "skipped_nonfinite": progress.nonfinite,
            "skipped_overflow": progress.overflows,
            "rejected": sum(loader.rejected for loader in self.loader.loaders.values()),
        }
        # Closed before it is saved: a run resumed from here begins with the next epoch.
        progress.history.append(
            record | ({"val_loss": round(val_loss, 5)} if self.validator else {})
        )
        # The next epoch counts from nothing.
        progress.loss_sum, progress.finite_steps = 0.0, 0
        progress.images, progress.seconds = 0, 0.0
        self.save(is_best)
        self.logbook.epoch(progress.history, self.validator.generate(self.model))

    def save(self, is_best: bool = False) -> None:
        """Write the checkpoint and the state that a resumed run needs."""
        # Every process has parts of the tensors, and a state of its own.
        model = self.accelerator.unwrap_model(self.model)
        tensors = {name: whole(p.detach()).cpu() for name, p in _trainable(model).items()}
        optimizer = optimizer_state(self.model, self.optimizer.optimizer, self.run.fsdp)
        ranks = gather_object([{"rng": rng_state(), "data": self.loader.state_dict()}])
        if self.accelerator.is_main_process:
            metadata = {
                **(self._parts or model.record()),
                "config": self.config.to_dict(),
                "epoch": (self.progress.step - 1) // self.iters_per_epoch,
                "step": self.progress.step,
                "versions": versions(),
            }
            # The state last: after a kill between the two, a resumed run takes the steps since the
            # last state again and comes to the same checkpoint.
            for name in [CHECKPOINT_NAME, *([BEST_NAME] if is_best else [])]:
                save_tensors(self.output_dir / name, tensors, metadata)
            scaler = self.accelerator.scaler
            state = {
                "tensors": tensors,
                "optimizer": optimizer,
                "scaler": scaler and scaler.state_dict(),
                "progress": asdict(self.progress),
                "ranks": ranks,
                "identity": self.identity,
            }
            write_training_state(self.output_dir, state)
            logger.info("Saved step %d in %s", self.progress.step, self.output_dir)
        # Otherwise another process could end, and the launcher with it, before all is written.
        self.accelerator.wait_for_everyone()

    def _build_loader(self, datasets: "Splits", model: "SkinGPT4") -> MultiIterLoader:
        """Mix the training splits; each process draws its own part of every data set."""
        # All processes draw the same prompt for their part of a step, as for one large batch.
        encode = model.dialogue_encoder.with_seed(self.run.seed)
        loaders, ratios = {}, []
        for name, splits in datasets.items():
            cfg = self.config.datasets[name]
            for split in self.run.train_splits:
                loaders[name] = TrainLoader(
                    splits[split],
                    batch_size=cfg.batch_size or self.run.batch_size_train,
                    num_workers=self.run.num_workers,
                    seed=self.run.seed,
                    rank=self.accelerator.process_index,
                    world=self.accelerator.num_processes,
                    reject_share=self.run.reject_share,
                    group_by_length=self.run.group_by_length,
                    encode=encode,
                )
                ratios.append(cfg.sample_ratio)
        return MultiIterLoader(loaders, ratios, seed=self.run.seed)

    def set_training(self) -> None:
        """Put the model in training mode, in which its frozen parts stay as they are."""
        self.model.train()
        if self.run.checkpoint_llm:
            checkpoint_activations(self.accelerator.unwrap_model(self.model).llm_model)

    def _is_due(self, every: int | None) -> bool:
        return bool(every) and self.progress.step % every == 0  # type: ignore[operator]


def _trainable(model: "SkinGPT4") -> dict[str, "Tensor"]:
    """Return what training changes, by name."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}
