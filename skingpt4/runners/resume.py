"""What a resumed run needs, in one file, so that no instant leaves half of it; and whose it is.

The file holds the trained tensors too: a checkpoint and a state written one after the other could
belong to different steps.
"""

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skingpt4.common.checkpoint import load_state, save_state
from skingpt4.common.errors import ConfigError, WeightsError
from skingpt4.runners.train_step import StepResult

STATE_NAME = "training_state.pt"

PREVIOUS_NAME = "training_state.previous.pt"

NEXT_NAME = "training_state.next.pt"

NO_MATTER = {
    "run": (
        "output_dir",
        "resume_ckpt_path",
        "resume_changed",
        "num_workers",
        "batch_size_eval",
        "cache_dir",
        "log_freq",
        "save_iters",
        "valid_iters",
        "val_generations",
        "reject_share",
        "max_nonfinite",
        "tensorboard",
        "wandb_log",
        "job_name",
        "evaluate",
        "world_size",
        "dist_url",
        "distributed",
    ),
    "model": ("engine", "engine_url", "allow_public_engine", "allow_untrained", "notice"),
}
"""What may change between two parts of a run: no number of the training depends on it."""

SHOWN = 6

Tree = Mapping[str, Any]


def write_training_state(folder: Path, state: dict[str, Any]) -> None:
    """Put a state in the place of the last one, which is kept as the previous one."""
    fresh, current = folder / NEXT_NAME, folder / STATE_NAME
    save_state(fresh, state)
    if current.exists():
        current.replace(folder / PREVIOUS_NAME)
    fresh.replace(current)
    _sync_folder(folder)


def has_training_state(folder: Path) -> bool:
    """Tell whether there is a run to continue."""
    return any((folder / name).exists() for name in (STATE_NAME, PREVIOUS_NAME))


def read_training_state(folder: Path) -> dict[str, Any]:
    """Read the last state, or the previous one if the last is missing or damaged.

    Raises:
        WeightsError: If neither can be read.
    """
    try:
        return load_state(folder / STATE_NAME)
    except WeightsError as error:
        if not (folder / PREVIOUS_NAME).exists():
            raise WeightsError(f"{error} There is no run to continue in '{folder}'.") from None
    return load_state(folder / PREVIOUS_NAME)


def check_same_run(saved: Tree, present: Tree, folder: Path) -> None:
    """Refuse to continue a run with another config or data set.

    Args:
        saved: What the saved run was: ``config``, ``data`` and ``processes``.
        present: What this one is.
        folder: Where the saved run lies.

    Raises:
        ConfigError: If they differ; the sentence says in what.
    """
    differences = list(_differences(saved, present, ""))
    if differences:
        more = f" and {len(differences) - SHOWN} more" if len(differences) > SHOWN else ""
        raise ConfigError(
            f"The run in '{folder}' cannot be continued as it was: "
            f"{'; '.join(differences[:SHOWN])}{more}. Restore that, start anew in another "
            "run.output_dir, or set run.resume_changed=True to go on all the same."
        )


def comparable(config: Tree) -> dict[str, Any]:
    """Return a config without what no number of the training depends on."""
    return {
        section: {
            key: value for key, value in values.items() if key not in NO_MATTER.get(section, ())
        }
        for section, values in config.items()
    }


def _differences(saved: Any, present: Any, name: str) -> Iterator[str]:
    """Yield a phrase for each leaf that differs; keys that one version lacks are not compared."""
    if isinstance(saved, Mapping) and isinstance(present, Mapping):
        both = saved.keys() & present.keys() if name.startswith("config") else {**saved, **present}
        for key in sorted(both):
            inner = f"{name}.{key}" if name else str(key)
            yield from _differences(saved.get(key), present.get(key), inner)
    elif saved != present:
        yield f"{name.removeprefix('config.')} was {saved!r} and is {present!r}"


def _sync_folder(folder: Path) -> None:
    """Make renames outlast a power cut; where a folder cannot be opened there is nothing to do."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@dataclass
class Progress:
    """Counters of a run, all over from its first step.

    Attributes:
        step: Optimiser steps done.
        loss_sum: Of this epoch's finite steps.
        finite_steps: Of this epoch.
        images: Samples seen in this epoch, over all processes.
        seconds: Time this epoch took, that before a stop included.
        nonfinite: Steps skipped because a loss or gradient was not finite.
        nonfinite_in_a_row: Of these, the latest without one between.
        overflows: Steps skipped by the loss scaling.
        best_loss: Lowest validation loss; infinite before the first.
        history: A record an epoch, the lines of ``log.txt``.
    """

    step: int = 0
    loss_sum: float = 0.0
    finite_steps: int = 0
    images: int = 0
    seconds: float = 0.0
    nonfinite: int = 0
    nonfinite_in_a_row: int = 0
    overflows: int = 0
    best_loss: float = math.inf
    history: list[dict[str, Any]] = field(default_factory=list)

    def add(self, result: StepResult, seconds: float) -> None:
        """Count one step."""
        self.step += 1
        self.images += result.images
        self.seconds += seconds
        self.overflows += result.is_overflow
        if result.is_finite:
            self.loss_sum += result.loss
            self.finite_steps += 1
            self.nonfinite_in_a_row = 0
        else:
            self.nonfinite += 1
            self.nonfinite_in_a_row += 1

    @property
    def mean_loss(self) -> float | None:
        """Mean of this epoch's finite losses; None before the first."""
        return self.loss_sum / self.finite_steps if self.finite_steps else None

    @property
    def images_per_second(self) -> float:
        """Samples per second of this epoch, over all processes."""
        return self.images / self.seconds if self.seconds else 0.0

    def close_epoch(self, record: dict[str, Any]) -> None:
        """File the record of an epoch and begin the next."""
        self.history.append(record)
        self.loss_sum, self.finite_steps, self.images, self.seconds = 0.0, 0, 0, 0.0
