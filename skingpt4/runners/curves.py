"""Loss and learning rate over the steps of a run, as a picture."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from skingpt4.common.checkpoint import write_atomically

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
