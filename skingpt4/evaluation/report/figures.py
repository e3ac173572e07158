"""The figures: Fig. 4a, 4b and 4c as the paper draws them, with what it leaves out; confusion.

Every figure can be read without colours: bars carry hatches and numbers, groups their names.
"""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from skingpt4.dermatology import LIKERT
from skingpt4.evaluation.report.analysis import LikertRow
from skingpt4.evaluation.scoring.statistics import percent_text
from skingpt4.evaluation.study.ratings import ITEMS
from skingpt4.evaluation.study.times import NOTE

SIMULATED_COLOUR = "#b00020"

BLUE = "#2166ac"

# From strongly agree to strongly disagree: lightness alone tells them apart, hatches besides.
LIKERT_STYLES: dict[int, tuple[str, str]] = {
    5: ("#08519c", ""),
    4: ("#6baed6", "//"),
    3: ("#f0f0f0", ""),
    2: ("#fdae6b", "\\\\"),
    1: ("#d94801", "xx"),
}

# Parts of a bar below this share are too narrow for their number.
SMALLEST_LABELLED = 0.045

FIG_4A_NOTE = (
    "agree: agree or strongly agree (95 % interval of the rater × case bootstrap)\n"
    "† about the rater: the interval counts each rater once"
)

GOLDEN_RATIO = (1 + 5**0.5) / 2

# How far the points of a strip plot spread sideways, where twelve or more are equal.
STRIP_WIDTH = 0.6


def fig_4a(rows: Sequence[LikertRow], title: str, note: str = "") -> Figure:
    """Draw stacked bars, one for each questionnaire item, of the ratings of one system.

    Args:
        rows: Rows of one kind of raters and one system, by item.
        title: What is rated by whom.
        note: A line in red under the title, such as that the ratings are simulated.
    """
    figure, axes = _new_figure(10, 1.9 + 0.62 * len(rows), title, note)
    places = np.arange(len(rows))
    left = np.zeros(len(rows))
    for level, (colour, hatch) in LIKERT_STYLES.items():
        counts = [row.counts[level - 1] for row in rows]
        # An item that nobody rated has a bar of no length, not a division by zero.
        shares = np.array([k / max(row.agree.n, 1) for k, row in zip(counts, rows, strict=True)])
        bars = axes.barh(
            places, shares, left=left, color=colour, hatch=hatch, edgecolor="white",
            label=LIKERT[level], height=0.72,
        )  # fmt: skip
        texts = [
            percent_text(k, row.agree.n) if share >= SMALLEST_LABELLED else ""
            for k, share, row in zip(counts, shares, rows, strict=True)
        ]
        ink = "white" if level in (5, 1) else "black"
        for text in axes.bar_label(bars, texts, label_type="center", color=ink, fontsize=8):
            # A number on a hatch needs a ground of its own.
            text.set_bbox({"facecolor": colour, "edgecolor": "none", "pad": 0.8})
        left += shares
    labels = []
    for place, row in enumerate(rows):
        missing = f"; {row.missing} missing" if row.missing else ""
        bounds = f"{100 * row.sampled.low:.1f}–{100 * row.sampled.high:.1f}"
        agree = f"agree {row.agree.percent} ({bounds})\n{row.agree.k}/{row.agree.n}{missing}"
        said = agree if row.agree.n else f"not rated{missing}"
        axes.text(1.01, place, said, va="center", fontsize=8)
        mark = " †" if row.rater_level else ""
        labels.append(textwrap.fill(f"{row.item}. {ITEMS[row.item]}{mark}", 34))
    axes.set_yticks(places, labels, fontsize=9)
    axes.invert_yaxis()  # item 1 on top, as in the paper
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel(FIG_4A_NOTE, fontsize=8)
    figure.legend(ncols=5, loc="outside lower center", frameon=False, fontsize=8)
    return figure


def fig_4b(groups: Mapping[str, Sequence[float]], title: str, note: str = "") -> Figure:
    """Draw box plots of response times in seconds, on a logarithmic scale.

    Seconds of computing and minutes of waiting for a person do not fit one linear axis. Boxes are
    quartiles, whiskers reach 1.5 quartile ranges, points are single answers.

    Args:
        groups: Seconds by the name of the system or group.
        title: What is compared.
        note: A line in red under the title.
    """
    figure, axes = _new_figure(max(5.0, 1.7 * len(groups) + 2), 4.8, title, note)
    # Outliers are drawn below with all other points, so the boxes leave them out.
    axes.boxplot(
        list(groups.values()), widths=0.5, showfliers=False, medianprops={"color": "black"}
    )
    for place, seconds in enumerate(groups.values(), start=1):
        # Multiples of the golden ratio, less their whole parts, fill the width evenly.
        sideways = (np.arange(len(seconds)) * GOLDEN_RATIO) % 1 - 0.5
        axes.plot(place + 0.3 * sideways, seconds, "o", color=BLUE, alpha=0.5, ms=3)
    axes.set_yscale("log")  # seconds and half hours side by side
    axes.set_ylabel("seconds (logarithmic)")
    axes.set_xlabel(textwrap.fill(NOTE, 30 + 15 * len(groups)), fontsize=8)
    labels = [f"{textwrap.fill(name, 18)}\n(n = {len(s)})" for name, s in groups.items()]
    axes.set_xticks(range(1, len(groups) + 1), labels, fontsize=9)
    axes.grid(axis="y", alpha=0.3)
    return figure


def fig_4c(groups: Mapping[str, Sequence[float]], title: str, note: str = "") -> Figure:
    """Draw a strip plot: for each image, the share of its diagnoses that are the commonest one.

    Args:
        groups: Shares from 0 to 1, one for each image, by the name of the system or class.
        title: What was drawn how often.
        note: A line in red under the title.
    """
    figure, axes = _new_figure(max(5.0, 1.5 * len(groups) + 2), 4.8, title, note)
    for place, shares in enumerate(groups.values(), start=1):
        # Equal values are set evenly apart, in their order, so that no point hides another.
        sideways = np.zeros(len(shares))
        rounded = np.round(np.asarray(shares, dtype=float), 3)
        for value in np.unique(rounded):
            same = np.flatnonzero(rounded == value)
            if len(same) > 1:
                half = STRIP_WIDTH * min(1, len(same) / 12) / 2
                sideways[same] = np.linspace(-half, half, len(same))
        axes.plot(place + sideways, shares, "o", color=BLUE, alpha=0.6, ms=4)
        mean = float(np.mean(shares))
        axes.plot([place - 0.38, place + 0.38], [mean, mean], color="black")
        axes.text(place, 1.045, f"mean {100 * mean:.2f} %", ha="center", fontsize=8)
    axes.set_ylim(0, 1.1)  # room for the means above 100 %
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_ylabel("diagnoses that agree with the commonest")
    labels = [textwrap.fill(name, 18) + f"\n({len(s)} images)" for name, s in groups.items()]
    axes.set_xticks(range(1, len(groups) + 1), labels, fontsize=9)
    axes.grid(axis="y", alpha=0.3)
    return figure


def confusion_figure(
    matrix: Sequence[Sequence[int]] | np.ndarray, names: Sequence[str], title: str
) -> Figure:
    """Draw a confusion matrix with its counts.

    Args:
        matrix: ``[16, 15]``: what was said (the 15 classes, then none) by what is true.
        names: The 15 class names.
        title: Whose answers.
    """
    counts = np.asarray(matrix)  # [16, 15]
    # The classes' names end with examples in brackets, which would not fit an axis.
    short = [name.partition(" (")[0] for name in names]
    figure, axes = _new_figure(11, 9.5, title, "")
    axes.imshow(counts, cmap="Blues", vmin=0)
    for said, true in np.argwhere(counts):
        value = counts[said, true]
        # Dark cells need light figures.
        ink = "white" if value > counts.max() / 2 else "black"
        axes.text(true, said, str(value), ha="center", va="center", color=ink, fontsize=8)
    axes.set_xticks(range(len(short)), short, rotation=45, ha="right", fontsize=8)
    axes.set_yticks(range(len(short) + 1), [*short, "no class named"], fontsize=8)
    axes.set_xlabel("true class")
    axes.set_ylabel("class of the answer")
    return figure


def _new_figure(width: float, height: float, title: str, note: str) -> tuple[Figure, Axes]:
    """Return a figure that belongs to no global state, with one set of axes and its headings."""
    # Not pyplot: it keeps every figure, and a server or a report of hundreds would hold them all.
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    # About eleven characters fit into an inch; the title moves up for as many lines.
    lines = textwrap.wrap(note, round(width * 11))
    axes.set_title(title, fontsize=11, pad=8 + 12 * len(lines))
    if lines:
        axes.text(
            0.5, 1.01, "\n".join(lines), transform=axes.transAxes, ha="center", va="bottom",
            color=SIMULATED_COLOUR, fontsize=8,
        )  # fmt: skip
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes
