"""``evaluate.py score``, ``analyse`` and ``report``: what the answers and ratings amount to."""

import json
import logging
import re
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from operator import attrgetter
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from skingpt4.common.files import write_atomically, write_text
from skingpt4.dermatology import CLASS_NAMES
from skingpt4.documents.document import Table
from skingpt4.documents.images import figure_png
from skingpt4.evaluation.cases import CASE_LIST_NAME, case_list_hash, read_cases
from skingpt4.evaluation.commands.options import Command, add_common_arguments, load_cases
from skingpt4.evaluation.report.analysis import bars
from skingpt4.evaluation.report.build import write_report
from skingpt4.evaluation.report.figures import confusion_figure, fig_4a, fig_4b, fig_4c
from skingpt4.evaluation.report.inputs import Evaluation, load_evaluation, load_scores
from skingpt4.evaluation.report.result_tables import (
    agreement_table,
    comparison_table,
    likert_table,
    paired_table,
    time_table,
)
from skingpt4.evaluation.responses import Responses
from skingpt4.evaluation.scoring.accuracy import ConceptScore, is_malignant, read_response
from skingpt4.evaluation.scoring.statistics import wilson
from skingpt4.evaluation.study.ratings import RatingError, read_ratings, write_imrmc
from skingpt4.evaluation.study.times import compare_times, summarise_times
from skingpt4.labeler import VERSION

SCORES_NAME, TABLES_NAME, IMRMC_NAME = "scores.json", "analysis.md", "ratings_item1.imrmc"

FIGURES_FOLDER = "figures"

logger = logging.getLogger(__name__)


def score(args: Namespace) -> None:
    """Score all systems, write everything, and print the tables."""
    write_scores(load_scores(args.output, load_cases(args)), args.output)


def write_scores(evaluation: Evaluation, folder: Path) -> None:
    """Write ``scores.json``, and print tables: all scores, concepts asked for, and three groups."""
    # Written before anything is printed: a pipe that closes early must not cost the file.
    path = folder / SCORES_NAME
    write_text(path, scores_json(evaluation))
    scores, asked = evaluation.scores, evaluation.asked_concepts

    def concepts(own: ConceptScore) -> tuple[str, str, str]:
        # Precision and recall have no interval: the bootstrap is of F1 alone.
        f1 = f"{own.f1:.3f} ({own.low:.3f}–{own.high:.3f})"
        return f1, f"{own.precision:.3f}", f"{own.recall:.3f}"

    overall = tuple(
        (
            name,
            str(wilson(own.hits, own.n)),
            str(wilson(own.mentioned_hits, own.n)),
            *concepts(own.concepts),
            str(wilson(*own.missed_malignancy)),
            *(f"{k}/{own.n}" for k in (own.all_different, own.abstained, own.failed)),
        )
        for name, own in scores.items()
    )
    told = tuple((name, *concepts(own)) for name, own in asked.items())
    named = ("concept F1", "precision", "recall")
    shares = ("right class", "right class mentioned")
    counts = ("missed malignancy", "four different answers", "abstained", "failed")
    tables = [Table("", ("system", *shares, *named, *counts), overall)]
    # A table of its own: what is named when asked for is not comparable with what comes unasked.
    if asked:
        tables.append(Table("", ("system, asked for concepts", *named), told))
    for title, groups in (
        ("class", {name: own.per_class for name, own in scores.items()}),
        ("skin type", {name: own.per_skin_type for name, own in scores.items()}),
        ("photo quality", {name: own.per_quality for name, own in scores.items()}),
    ):
        # A row for each group, a column for each system, which may lack some groups.
        rows = tuple(
            (group, *(str(wilson(*own.get(group, (0, 0)))) for own in groups.values()))
            for group in dict.fromkeys(group for own in groups.values() for group in own)
        )
        tables.append(Table("", (title, *groups), rows))
    sys.stdout.write("\n".join(table.markdown() for table in tables) + f"written: {path}\n")


def scores_json(evaluation: Evaluation) -> str:
    """Return all scores with 95 % intervals of every share, and the words behind each decision."""
    # Without the share itself, since its k and n are among the scores.
    bounds = attrgetter("low", "high")
    systems = {}
    for name, own in evaluation.scores.items():
        shares = {"hits": (own.hits, own.n), "mentioned_hits": (own.mentioned_hits, own.n)}
        shares |= {"missed_malignancy": own.missed_malignancy, "abstained": (own.abstained, own.n)}
        intervals: dict[str, Any] = {share: bounds(wilson(*pair)) for share, pair in shares.items()}
        for group in ("per_class", "per_skin_type", "per_quality"):
            rows: Mapping[str, tuple[int, int]] = getattr(own, group)
            intervals[group] = {member: bounds(wilson(*pair)) for member, pair in rows.items()}
        systems[name] = {**asdict(own), "intervals": intervals}
    # Every decision with the words behind it, so that a reader can check the labeler by hand.
    readings = []
    for row in evaluation.responses.rows:
        diagnosis, concepts = read_response(row)
        reading = {
            "case": row.case,
            "system": row.system,
            "top": diagnosis.top,
            "mentioned": diagnosis.mentioned,
            "concepts": sorted(concepts),  # a set's order changes from run to run
            "abstained": diagnosis.abstained,
            "trace": [asdict(mention) for mention in diagnosis.trace],
        }
        readings.append(reading)
    content = {
        "vocabulary": VERSION,
        "case_list": case_list_hash(evaluation.cases),
        "systems": systems,
        "asked_concepts": {name: asdict(own) for name, own in evaluation.asked_concepts.items()},
        "readings": readings,
    }
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def add_analyse_arguments(parser: ArgumentParser) -> None:
    """Declare the options of ``analyse``."""
    add_common_arguments(parser)
    parser.add_argument(
        "--ratings",
        type=Path,
        help="analyse only this file of ratings (CSV or XLSX), with no cases and no answers",
    )


def analyse(args: Namespace) -> None:
    """Write tables and figures of all that the output folder holds, and print the tables."""
    if args.ratings:
        # Without cases there are no scores, no pairs and no truth: those parts are left out.
        nothing = Responses({}, [])
        evaluation = Evaluation([], nothing, {}, ratings=read_ratings(args.ratings))
    else:
        evaluation = load_written(args)
    write_analysis(evaluation, args.output)


def load_written(args: Namespace) -> Evaluation:
    """Read the evaluation folder, and say so where ``scores.json`` beside it tells otherwise."""
    # Not load_cases: where the folder has no list, drawing one would only hide a wrong path.
    cases = read_cases(args.cases or args.output / CASE_LIST_NAME)
    evaluation = load_evaluation(args.output, cases)
    # Compared whole, since answers, cases and vocabulary all show in the text.
    path = args.output / SCORES_NAME
    if path.exists() and path.read_text(encoding="utf-8") != scores_json(evaluation):
        logger.warning(
            "%s is of other answers or an earlier vocabulary than these tables; make it again with "
            "'evaluate.py score'.",
            path,
        )
    return evaluation


def write_analysis(evaluation: Evaluation, folder: Path) -> None:
    """Write ``analysis.md``, the figures and a file for iMRMC, and print the tables."""
    # Nothing is written for what is missing: an empty table would look like a result.
    tables = []
    if evaluation.pairs:
        tables.append(paired_table(evaluation.pairs))
    if evaluation.ratings:
        tables.append(likert_table(evaluation.analysis.likert))
        tables.append(agreement_table(evaluation.analysis.agreement))
    own, entered = evaluation.own_times, evaluation.times
    if own or entered:
        tables.append(time_table(summarise_times({**own, **entered})))
    # A test takes two sides; one alone is only summarised.
    if own and entered:
        tables.append(comparison_table(compare_times(entered, own)))
    text = "\n".join(table.markdown() for table in tables)
    # Warnings first: who copies the top of the file copies them along.
    text = "\n\n".join([*evaluation.notices, text])
    written = [folder / TABLES_NAME]
    write_text(written[0], text)
    for name, figure in _figures(evaluation):
        path = folder / FIGURES_FOLDER / f"{name}.png"
        data = figure_png(figure)
        write_atomically(path, lambda part, data=data: part.write_bytes(data))  # type: ignore[misc]
        written.append(path)
    # iMRMC compares readers over two truths; of all items only the first is about the diagnosis.
    truth = {case.id: is_malignant(case) for case in evaluation.cases}
    if evaluation.ratings and truth:
        path = folder / IMRMC_NAME
        try:
            write_imrmc(path, evaluation.ratings, truth, item=1, meaning="malignant")
            written.append(path)
        except RatingError as error:  # such as cases of one truth only: the rest still stands
            logger.warning("No file for iMRMC: %s", error)
    sys.stdout.write(text + "".join(f"\nwritten: {path}" for path in written) + "\n")


def _figures(evaluation: Evaluation) -> Iterator[tuple[str, Figure]]:
    """Yield Fig. 4a, 4b, 4c and the confusion matrices with their files' names, without ending."""

    def slug(name: str) -> str:
        # Names may hold what no file name may; that of items asked of no system is empty.
        return re.sub(r"\W+", "_", name.lower()).strip("_") or "all"

    for title, rows in bars(evaluation.analysis.likert):
        name = f"fig_4a_{slug(rows[0].system)}_{rows[0].rater_kind}"
        yield name, fig_4a(rows, title, evaluation.rating_mark)
    # An entered group stands behind the systems, in the order of the table.
    times = {**evaluation.own_times, **evaluation.times}
    if times:
        yield "fig_4b", fig_4b(times, "Response times", evaluation.time_mark)
    if evaluation.modal_shares:
        yield "fig_4c", fig_4c(evaluation.modal_shares, "Repeated diagnoses of the same image")
    for name, own in evaluation.scores.items():
        yield f"confusion_{slug(name)}", confusion_figure(own.confusion, CLASS_NAMES, name)


def report(args: Namespace) -> None:
    """Write the report of the output folder."""
    for path in write_report(load_written(args), args.output):
        sys.stdout.write(f"written: {path}\n")


COMMANDS = {
    "score": Command(add_common_arguments, score),
    "analyse": Command(add_analyse_arguments, analyse),
    "report": Command(add_common_arguments, report),
}
