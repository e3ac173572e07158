"""What a run leaves to read: log.txt, steps.jsonl, curves.png, samples, and trackers.

``log.txt`` has a JSON line an epoch, as upstream's; ``steps.jsonl`` one every ``log_freq`` steps.
A resumed run continues them as if it had never stopped: what lay beyond its state is dropped.
"""

import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from skingpt4.common.config import Config
from skingpt4.common.environment import describe_environment, git_state
from skingpt4.common.files import (
    json_line,
    read_json_lines,
    write_atomically,
    write_json_lines,
    write_text,
)

logger = logging.getLogger(__name__)

LOG_NAME, STEPS_NAME, CURVES_NAME = "log.txt", "steps.jsonl", "curves.png"
ENVIRONMENT_NAME, CONFIG_NAME, SAMPLES_FOLDER = "environment.jsonl", "config.json", "samples"
PROJECT = "skingpt4"

# What distributed launchers and torch's own switches set; nothing else of the environment is kept.
VARIABLES = ("WORLD_SIZE", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "PYTORCH_CUDA_ALLOC_CONF")

SIZE_INCHES, DPI = (8.0, 6.0), 110

Rows = Sequence[Mapping[str, Any]]


def write_curves(path: Path, points: Rows, epochs: Rows) -> None:
    """Draw training and validation loss, and the learning rate, over the optimiser steps.

    Args:
        path: PNG file to write.
        points: ``step``, ``loss`` and ``lr`` of single steps.
        epochs: Records of ``log.txt``, with ``step``, ``train_loss`` and perhaps ``val_loss``.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        logger.info("matplotlib is not installed: no curves; pip install 'skingpt4[train]'")
        return
    figure = Figure(SIZE_INCHES, dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)  # no window system, and no global state as pyplot has
    loss, lr = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    for axes, rows, key, label, style in (
        (loss, points, "loss", "one step", {"color": "0.75", "linewidth": 0.8}),
        (loss, epochs, "train_loss", "training, epoch mean", {"color": "C0", "marker": "o"}),
        (loss, epochs, "val_loss", "validation", {"color": "C1", "marker": "s"}),
        (lr, points, "lr", "learning rate", {"color": "C2"}),
    ):
        shown = [(row["step"], row[key]) for row in rows if row.get(key) is not None]
        if shown:
            axes.plot(*zip(*shown, strict=True), label=label, **style)
    loss.set_ylabel("loss (nats a token)")
    loss.legend()
    lr.set_ylabel("learning rate")
    lr.set_xlabel("optimiser step")
    write_atomically(path, lambda file: figure.savefig(file, format="png"))


class Logbook:
    """Writes in the main process alone; the others' calls do nothing.

    Args:
        config: The settled run.
        accelerator: Knows the main process and the trackers.
    """

    def __init__(self, config: Config, accelerator: Accelerator) -> None:
        self.config, self.accelerator = config, accelerator
        self.folder = Path(config.run.output_dir)
        self.points: list[dict[str, Any]] = []

    def open(self, step: int, history: Rows) -> None:
        """Begin, or go on after ``step``: write down the environment and the config.

        Args:
            step: Optimiser steps taken before.
            history: Records of the epochs done.
        """
        if not self.accelerator.is_main_process:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / STEPS_NAME
        # Points beyond the state that is continued were written by steps that are taken again.
        old = read_json_lines(path) if step and path.exists() else []
        self.points = [row for row in old if row["step"] <= step]
        write_json_lines(path, self.points)  # a new run in an old folder empties both
        write_json_lines(self.folder / LOG_NAME, history)
        self._append(
            ENVIRONMENT_NAME,
            {
                "from_step": step,
                "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                **describe_environment(self.accelerator.num_processes),
                "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
                "git": git_state(),
                "arguments": sys.argv[1:],
            },
        )
        config = self.config.to_dict()
        write_text(self.folder / CONFIG_NAME, json.dumps(config, indent=1))
        wandb = {"name": self.config.run.job_name or self.folder.name, "config": config}
        self.accelerator.init_trackers(
            PROJECT, init_kwargs={"tensorboard": {"purge_step": step}, "wandb": wandb}
        )

    def point(self, step: int, values: Mapping[str, Any]) -> None:
        """Add a point to the curves."""
        if self.accelerator.is_main_process:
            self.points.append({"step": step, **values})
            self._append(STEPS_NAME, self.points[-1])
            self.accelerator.log(dict(values), step=step)

    def epoch(self, history: Rows, samples: Rows) -> None:
        """Write the records of all epochs, and what the model said after the last."""
        if not self.accelerator.is_main_process:
            return
        write_json_lines(self.folder / LOG_NAME, history)
        last = dict(history[-1])
        if samples:
            name = f"epoch_{last['epoch'] + 1:03d}.jsonl"
            write_json_lines(self.folder / SAMPLES_FOLDER / name, samples)
        write_curves(self.folder / CURVES_NAME, self.points, history)
        self.accelerator.log(last, step=last["step"])

    def close(self) -> None:
        """Let the trackers finish."""
        for tracker in self.accelerator.trackers:
            tracker.finish()

    def _append(self, name: str, row: Mapping[str, Any]) -> None:
        with (self.folder / name).open("a", encoding="utf-8") as file:
            file.write(json_line(row))
