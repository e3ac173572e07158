"""``evaluate.py analyse``: the tables and figures of ratings, times, consistency and scores."""

import logging
import re
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

from matplotlib.figure import Figure

from skingpt4.common.files import write_atomically
from skingpt4.dermatology import CLASS_NAMES
from skingpt4.documents.document import Table
from skingpt4.documents.images import figure_png
from skingpt4.evaluation.commands.options import add_common_arguments
from skingpt4.evaluation.report.analysis import Analysis, analyse, bars
from skingpt4.evaluation.report.figures import confusion_figure, fig_4a, fig_4b, fig_4c
from skingpt4.evaluation.report.inputs import Evaluation, load_evaluation
from skingpt4.evaluation.report.tables import (
    agreement_table,
    comparison_table,
    likert_table,
    paired_table,
    time_table,
    to_markdown,
)
from skingpt4.evaluation.responses import Responses
from skingpt4.evaluation.scoring.accuracy import is_malignant
from skingpt4.evaluation.scoring.comparisons import compare_systems
from skingpt4.evaluation.study.ratings import Rating, RatingError, read_ratings, write_imrmc
from skingpt4.evaluation.study.times import compare_times, response_times, summarise_times

TABLES_NAME = "analysis.md"
IMRMC_NAME = "ratings_item1.imrmc"
FIGURES = "figures"

logger = logging.getLogger(__name__)

NamedFigure = tuple[str, Figure]
"""A figure with its file's name, without ending."""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    add_common_arguments(parser)
    parser.add_argument(
        "--ratings",
        type=Path,
        help="analyse only this file of ratings (CSV or XLSX), with no cases and no answers",
    )


def main(args: Namespace) -> None:
    """Write tables and figures of all that the output folder holds, and print the tables."""
    if args.ratings:
        evaluation = Evaluation([], Responses({}, []), {}, ratings=read_ratings(args.ratings))
    else:
        evaluation = load_evaluation(args.output, args.cases)
    analysis = analyse(evaluation.ratings)
    text = "\n\n".join([*evaluation.notices, to_markdown(tables(evaluation, analysis))])
    path = args.output / TABLES_NAME
    write_atomically(path, lambda part: cast(None, part.write_text(text, encoding="utf-8")))
    written = [path, *_draw(figures(evaluation, analysis), args.output / FIGURES)]
    written += _export(evaluation, args.output / IMRMC_NAME)
    sys.stdout.write(text + "".join(f"\nwritten: {path}" for path in written) + "\n")


def tables(evaluation: Evaluation, analysis: Analysis) -> Iterator[Table]:
    """Yield the tables of systems, ratings and times, as far as there are any."""
    pairs = compare_systems(evaluation.cases, evaluation.responses.rows)
    if pairs:
        yield paired_table(pairs)
    if evaluation.ratings:
        yield likert_table(analysis.likert)
        yield agreement_table(analysis.agreement)
    own, entered = response_times(evaluation.responses.rows), evaluation.times
    if own or entered:
        yield time_table(summarise_times({**own, **entered}))
    if own and entered:
        yield comparison_table(compare_times(entered, own))


def figures(evaluation: Evaluation, analysis: Analysis) -> Iterator[NamedFigure]:
    """Yield Fig. 4a, 4b, 4c and the confusion matrices, as far as there is anything to draw."""
    for title, rows in bars(analysis.likert):
        name = f"fig_4a_{_slug(rows[0].system)}_{rows[0].rater_kind}"
        yield name, fig_4a(rows, title, evaluation.rating_mark)
    times = {**response_times(evaluation.responses.rows), **evaluation.times}
    if times:
        yield "fig_4b", fig_4b(times, "Response times", evaluation.time_mark)
    shares = {
        name: [image.counts[0] / len(image.tops) for image in one.images]
        for name, one in evaluation.consistency.items()
    }
    if shares:
        yield "fig_4c", fig_4c(shares, "Repeated diagnoses of the same image")
    for name, score in evaluation.scores.items():
        yield f"confusion_{_slug(name)}", confusion_figure(score.confusion, CLASS_NAMES, name)


def _slug(name: str) -> str:
    return re.sub(r"\W+", "_", name.lower()).strip("_") or "all"


def _draw(figures: Iterator[NamedFigure], folder: Path) -> Iterator[Path]:
    for name, figure in figures:
        path, data = folder / f"{name}.png", figure_png(figure)
        write_atomically(path, lambda part, data=data: part.write_bytes(data))  # type: ignore[misc]
        yield path


def _export(evaluation: Evaluation, path: Path) -> list[Path]:
    """Write the ratings of item 1 for iMRMC, where there are cases of both truths."""
    ratings: Sequence[Rating] = evaluation.ratings
    truth = {case.id: is_malignant(case) for case in evaluation.cases}
    if not ratings or not truth:
        return []
    try:
        write_imrmc(path, ratings, truth, item=1, meaning="malignant")
    except RatingError as error:
        logger.warning("No file for iMRMC: %s", error)
        return []
    return [path]
