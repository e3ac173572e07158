"""What a run leaves to read: log.txt, steps.jsonl, curves.png, samples, and trackers.

``log.txt`` has a JSON line an epoch, as upstream's; ``steps.jsonl`` one every ``log_freq`` steps.
A resumed run continues them as if it had never stopped: what lay beyond its state is dropped.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from skingpt4.common.cli import append_json_line
from skingpt4.common.config import Config
from skingpt4.common.environment import describe_environment
from skingpt4.common.files import write_atomically

logger = logging.getLogger(__name__)

SIZE_INCHES = (8.0, 6.0)

DPI = 110

Records = Sequence[Mapping[str, Any]]


def write_curves(path: Path, points: Records, epochs: Records) -> None:
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
    FigureCanvasAgg(figure)
    loss, lr = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    _line(loss, points, "loss", "one step", color="0.75", linewidth=0.8)
    _line(loss, epochs, "train_loss", "training, epoch mean", color="C0", marker="o")
    _line(loss, epochs, "val_loss", "validation", color="C1", marker="s")
    loss.set_ylabel("loss (nats a token)")
    loss.legend()
    _line(lr, points, "lr", "learning rate", color="C2")
    lr.set_ylabel("learning rate")
    lr.set_xlabel("optimiser step")
    write_atomically(path, lambda file: figure.savefig(file, format="png"))


def _line(axes: Any, records: Records, key: str, label: str, **style: Any) -> None:
    shown = [(row["step"], row[key]) for row in records if row.get(key) is not None]
    if shown:
        axes.plot(*zip(*shown, strict=True), label=label, **style)


LOG_NAME = "log.txt"

STEPS_NAME = "steps.jsonl"

CURVES_NAME = "curves.png"

ENVIRONMENT_NAME = "environment.jsonl"

CONFIG_NAME = "config.json"

SAMPLES_FOLDER = "samples"

PROJECT = "skingpt4"

Record = Mapping[str, Any]


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

    def open(self, step: int, history: Sequence[Record]) -> None:
        """Begin, or go on after ``step``: write down the environment and the config.

        Args:
            step: Optimiser steps taken before.
            history: Records of the epochs done.
        """
        if not self.accelerator.is_main_process:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / STEPS_NAME
        self.points = [row for row in _read_lines(path) if row["step"] <= step] if step else []
        _write_lines(path, self.points)
        _write_lines(self.folder / LOG_NAME, history)
        environment = describe_environment(self.accelerator.num_processes)
        append_json_line(self.folder / ENVIRONMENT_NAME, {"from_step": step, **environment})
        text = json.dumps(self.config.to_dict(), indent=1)
        write_atomically(self.folder / CONFIG_NAME, lambda file: _write_text(file, text))
        self._open_trackers(step)

    def point(self, step: int, values: Record) -> None:
        """Add a point to the curves."""
        if self.accelerator.is_main_process:
            self.points.append({"step": step, **values})
            append_json_line(self.folder / STEPS_NAME, self.points[-1])
            self.accelerator.log(dict(values), step=step)

    def epoch(self, history: Sequence[Record], samples: Sequence[Record]) -> None:
        """Write the records of all epochs, and what the model said after the last."""
        if not self.accelerator.is_main_process:
            return
        _write_lines(self.folder / LOG_NAME, history)
        last = dict(history[-1])
        if samples:
            name = f"epoch_{last['epoch'] + 1:03d}.jsonl"
            _write_lines(self.folder / SAMPLES_FOLDER / name, samples)
        write_curves(self.folder / CURVES_NAME, self.points, history)
        self.accelerator.log(last, step=last["step"])

    def close(self) -> None:
        """Let the trackers finish."""
        for tracker in self.accelerator.trackers:
            tracker.finish()

    def _open_trackers(self, step: int) -> None:
        name = self.config.run.job_name or self.folder.name
        self.accelerator.init_trackers(
            PROJECT,
            init_kwargs={
                "tensorboard": {"purge_step": step},
                "wandb": {"name": name, "config": self.config.to_dict()},
            },
        )


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the records of a JSON-lines file; a last line that a kill cut short is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1]]


def _write_lines(path: Path, records: Sequence[Record]) -> None:
    text = "".join(json.dumps(dict(record), ensure_ascii=False) + "\n" for record in records)
    write_atomically(path, lambda file: _write_text(file, text))


def _write_text(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")
