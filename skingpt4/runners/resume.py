"""What a resumed run needs, in one file, so that no instant leaves half of it; and whose it is.

The file holds the trained tensors too: a checkpoint and a state written one after the other could
belong to different steps.
"""

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skingpt4.common.checkpoint import load_state, save_state
from skingpt4.common.errors import ConfigError, WeightsError

if TYPE_CHECKING:
    from skingpt4.common.config import Config
    from skingpt4.common.schema import RunConfig
    from skingpt4.datasets.builders import Splits
    from skingpt4.runners.train_step import StepResult

STATE_NAME = "training_state.pt"
PREVIOUS_NAME = "training_state.previous.pt"
NEXT_NAME = "training_state.next.pt"

# Value of ``run.resume_ckpt_path``: go on if there is a state in ``run.output_dir``.
AUTO = "auto"

# What may change between two parts of a run: no number of the training depends on it.
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

# Differences that an error lists.
SHOWN = 6


def write_training_state(folder: Path, state: dict[str, Any]) -> None:
    """Put a state in the place of the last one, which is kept as the previous one."""
    # Three names: at each instant one whole state lies under a name that is looked for.
    fresh, current = folder / NEXT_NAME, folder / STATE_NAME
    save_state(fresh, state)
    if current.exists():
        current.replace(folder / PREVIOUS_NAME)
    fresh.replace(current)
    # Makes the renames outlast a power cut; other systems cannot open a folder.
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def find_training_state(
    run: "RunConfig", identity: Mapping[str, Any], total_steps: int
) -> dict[str, Any] | None:
    """Return the state of the run to be continued, if one is.

    Args:
        run: Says which.
        identity: Of the present run.
        total_steps: Of the present run.

    Raises:
        ConfigError: If it is another run's, or has no step left although it was named.
        WeightsError: If neither the last nor the previous state can be read.
    """
    path, folder = run.resume_ckpt_path, Path(run.output_dir)
    if not path:
        return None
    if path != AUTO:
        folder = Path(path) if Path(path).is_dir() else Path(path).parent
    elif not any((folder / name).exists() for name in (STATE_NAME, PREVIOUS_NAME)):
        return None
    try:
        state = load_state(folder / STATE_NAME)
    except WeightsError as error:
        # A kill between two renames leaves the previous state alone.
        if not (folder / PREVIOUS_NAME).exists():
            raise WeightsError(f"{error} There is no run to continue in '{folder}'.") from None
        state = load_state(folder / PREVIOUS_NAME)
    if not run.resume_changed:
        check_same_run(state["identity"], identity, folder)
    step = state["progress"]["step"]
    if step >= total_steps and path != AUTO:
        raise ConfigError(
            f"The run in '{folder}' has finished all its {step} steps; to train on, raise "
            "run.max_epoch and set run.resume_changed=True."
        )
    return state


def identify_run(config: "Config", datasets: "Splits", processes: int) -> dict[str, Any]:
    """Return what makes a run the one it is: all that a number of the training depends on."""
    settings = {
        section: {
            key: value for key, value in values.items() if key not in NO_MATTER.get(section, ())
        }
        for section, values in config.to_dict().items()
    }
    data = {
        name: splits[split].identity()  # type: ignore[attr-defined]
        for name, splits in datasets.items()
        for split in config.run.train_splits
    }
    return {"config": settings, "data": data, "processes": processes}


def check_same_run(saved: Mapping[str, Any], present: Mapping[str, Any], folder: Path) -> None:
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
            f"{'; '.join(differences[:SHOWN])}{more}. Restore that, start again in another "
            "run.output_dir, or set run.resume_changed=True to go on all the same."
        )


def _differences(saved: Any, present: Any, name: str) -> Iterator[str]:
    """Yield a phrase for each leaf that differs; keys that one version lacks are not compared."""
    if isinstance(saved, Mapping) and isinstance(present, Mapping):
        # A newer version has keys that the saved config lacks; they had their defaults then.
        both = saved.keys() & present.keys() if name.startswith("config") else {**saved, **present}
        for key in sorted(both):
            inner = f"{name}.{key}" if name else str(key)
            yield from _differences(saved.get(key), present.get(key), inner)
    elif saved != present:
        yield f"{name.removeprefix('config.')} was {saved!r} and is {present!r}"


@dataclass
class Progress:
    """Counters of a run, over all its parts from its first step on."""

    step: int = 0  # optimiser steps done
    loss_sum: float = 0.0  # of this epoch's finite steps
    finite_steps: int = 0  # of this epoch
    images: int = 0  # samples seen in this epoch, over all processes
    seconds: float = 0.0  # this epoch took, the time before a stop included
    nonfinite: int = 0  # steps skipped because a loss or gradient was not finite
    nonfinite_in_a_row: int = 0  # of these, the latest without a finite one between
    overflows: int = 0  # steps skipped by the loss scaling
    best_loss: float = math.inf  # lowest validation loss
    history: list[dict[str, Any]] = field(default_factory=list)  # the lines of log.txt

    def add(self, result: "StepResult", seconds: float) -> None:
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
