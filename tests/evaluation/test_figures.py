"""Figures hold the numbers that they were given, and can be read without colours."""

import numpy as np
import pytest

from skingpt4.dermatology import CLASS_NAMES
from skingpt4.documents.images import figure_png
from skingpt4.evaluation.report.analysis import LikertRow
from skingpt4.evaluation.report.figures import confusion_figure, fig_4a, fig_4b, fig_4c
from skingpt4.evaluation.scoring.statistics import Interval, wilson

NOTE = "SIMULATED"


def make_row(item, counts, missing=0):
    agree = wilson(counts[3] + counts[4], sum(counts))
    return LikertRow(
        "dermatologist",
        "s",
        item,
        item >= 6,
        counts,
        missing,
        5,
        32,
        agree,
        Interval(0.8, 0.7, 0.9),
    )


def texts(figure):
    (axes,) = figure.axes
    return [text.get_text() for text in axes.texts]


def all_texts(figure):
    (axes,) = figure.axes
    labels = [*axes.get_xticklabels(), *axes.get_yticklabels(), axes.xaxis.label]
    return " ".join([axes.get_title(), *texts(figure), *(label.get_text() for label in labels)])


def test_fig_4a_stacks_the_shares_of_each_level():
    figure = fig_4a([make_row(1, (10, 11, 10, 9, 120)), make_row(6, (0, 0, 5, 0, 5), 3)], "Title")
    (axes,) = figure.axes
    levels = list(axes.containers)
    assert [container.get_label() for container in levels] == [
        "strongly agree",
        "agree",
        "neutral",
        "disagree",
        "strongly disagree",
    ]
    widths = [[bar.get_width() for bar in container] for container in levels]
    assert [160 * row[0] for row in widths] == pytest.approx([120, 9, 10, 11, 10])
    assert np.sum(widths, axis=0) == pytest.approx([1, 1])
    starts = [[bar.get_x() for bar in container] for container in levels]
    assert starts[1] == pytest.approx([120 / 160, 0.5])


def test_fig_4a_says_percentages_counts_missing_and_rater_level():
    rows = [make_row(1, (10, 11, 10, 9, 120)), make_row(6, (0, 0, 5, 0, 5), 3)]
    rows.append(make_row(7, (0, 0, 0, 0, 0), 8))
    said = all_texts(fig_4a(rows, "Title", NOTE))
    for part in (
        "75.00",
        "5.63",
        "agree 80.63 % (70.0–90.0)\n129/160",
        "5/10; 3 missing",
        "not rated",
    ):
        assert part in said
    assert [label for label in said.splitlines() if label.startswith("† about the rater")]
    assert said.count("†") == 3
    assert NOTE in said


def test_levels_differ_without_colour():
    (axes,) = fig_4a([make_row(1, (10, 10, 10, 10, 10))], "Title").axes
    looks = set()
    for container in axes.containers:
        (bar,) = container
        red, green, blue, _ = bar.get_facecolor()
        # Lightness as the eye sees it (Rec. 709), in steps that a photocopy keeps.
        looks.add((round((0.21 * red + 0.72 * green + 0.07 * blue) * 5), bar.get_hatch()))
    assert len(looks) == 5


def test_fig_4b_draws_every_time_on_a_logarithmic_scale():
    groups = {"s": [1.0, 2.0, 3.0], "clinic": [600.0, 900.0]}
    figure = fig_4b(groups, "Times", NOTE)
    (axes,) = figure.axes
    assert axes.get_yscale() == "log"
    points = [line.get_ydata() for line in axes.lines if line.get_marker() == "o"]
    assert [list(own) for own in points] == list(groups.values())
    medians = [line.get_ydata()[0] for line in axes.lines if line.get_color() == "black"]
    assert {2.0, 750.0} <= set(medians)
    assert "s\n(n = 3)" in all_texts(figure)
    assert "human queueing" in all_texts(figure)
    assert NOTE in all_texts(figure)


def test_fig_4c_draws_every_image_and_the_mean():
    figure = fig_4c({"s": [1.0] * 40 + [0.5] * 5}, "Consistency")
    (axes,) = figure.axes
    points, mean = axes.lines
    assert sorted(points.get_ydata()) == [0.5] * 5 + [1.0] * 40
    places = set(zip(points.get_xdata().round(6), points.get_ydata(), strict=True))
    assert len(places) == 45  # no point hides another
    assert mean.get_ydata()[0] == pytest.approx(42.5 / 45)
    assert "mean 94.44 %" in texts(figure)


def test_confusion_writes_its_counts():
    matrix = np.zeros((16, 15), dtype=int)
    matrix[0, 0], matrix[15, 3] = 9, 2
    figure = confusion_figure(matrix, CLASS_NAMES, "two-step")
    assert sorted(texts(figure)) == ["2", "9"]
    assert "no class named" in all_texts(figure)
    assert (figure.axes[0].images[0].get_array() == matrix).all()


def test_the_same_figure_has_the_same_bytes():
    def draw():
        return figure_png(fig_4a([make_row(1, (10, 11, 10, 9, 120))], "Title"))

    assert draw() == draw()
    assert draw().startswith(b"\x89PNG")
