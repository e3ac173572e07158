"""Class and concept counts of a data set as bars."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from skingpt4.common.checkpoint import write_atomically

Counts = Sequence[tuple[str, int]]

WIDTH, ROW_HEIGHT = 9.0, 0.22
"""Inches of the figure, and of each bar's row."""

LONGEST_NAME = 40
"""Characters of a name that fit beside the bars."""


def plot_balance(counts: Mapping[str, Counts], path: Path) -> bool:
    """Draw one panel of bars for each kind of count.

    Args:
        counts: By panel's title, names with their numbers of photos.
        path: PNG file to write.

    Returns:
        Whether it was drawn; False where matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    rows = [len(table) for table in counts.values()]
    height = ROW_HEIGHT * sum(rows) + len(rows)
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots(len(rows), squeeze=False, height_ratios=rows)[:, 0]
    for axis, (title, table) in zip(axes, counts.items(), strict=True):
        bars = axis.barh([_short(name) for name, _ in table], [n for _, n in table])
        axis.bar_label(bars, padding=2, fontsize=8)
        axis.margins(x=0.08, y=0.01)
        axis.invert_yaxis()
        axis.set(title=title, xlabel="photos")
        axis.tick_params(labelsize=8)
    canvas = FigureCanvasAgg(figure)
    write_atomically(path, lambda file: canvas.print_png(str(file)))
    return True


def _short(name: str) -> str:
    """Leave out what the paper adds to a class's name in brackets."""
    return name.partition(" (")[0][:LONGEST_NAME]
