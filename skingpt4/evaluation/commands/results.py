"""``evaluate.py score``, ``analyse`` and ``report``: what the answers and ratings amount to."""

import json
import logging
import re
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from skingpt4.common.files import write_atomically, write_text
from skingpt4.documents.document import Table
from skingpt4.documents.images import figure_png
from skingpt4.evaluation.cases import CLASS_NAMES, case_list_hash, read_cases
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
from skingpt4.evaluation.scoring.classes import is_malignant, read_response
from skingpt4.evaluation.scoring.statistics import wilson
from skingpt4.evaluation.study.ratings import RatingError, read_ratings, write_imrmc
from skingpt4.evaluation.study.times import compare_times, summarise_times
from skingpt4.labeler import VERSION

SCORES_NAME, TABLES_NAME, IMRMC_NAME = "scores.json", "analysis.md", "ratings_item1.imrmc"

FIGURES = "figures"

logger = logging.getLogger(__name__)


def score(args: Namespace) -> None:
    """Score all systems, write everything, and print the tables."""
    write_scores(load_scores(args.output, load_cases(args)), args.output)


def write_scores(evaluation: Evaluation, folder: Path) -> None:
    """Write ``scores.json``, and print the tables: all, concepts asked for, and by three groups."""
    write_text(folder / SCORES_NAME, scores_json(evaluation))
    scores, asked = evaluation.scores, evaluation.asked_concepts
    rows, told = [], []
    for name, own in scores.items():
        shares = [str(wilson(k, own.n)) for k in (own.hits, own.mentioned_hits)]
        counts = [f"{k}/{own.n}" for k in (own.all_different, own.abstained, own.failed)]
        missed = str(wilson(*own.missed_malignancy))
        rows.append([name, *shares, own.concepts, missed, *counts])
    told = [[name, own] for name, own in asked.items()]
    for row in (*rows, *told):
        place = next(i for i, cell in enumerate(row) if not isinstance(cell, str))
        one: Any = row[place]
        f1 = f"{one.f1:.3f} ({one.low:.3f}–{one.high:.3f})"
        row[place : place + 1] = [f1, f"{one.precision:.3f}", f"{one.recall:.3f}"]
    sys.stdout.write("")


COMMANDS: dict[str, Command] = {}
