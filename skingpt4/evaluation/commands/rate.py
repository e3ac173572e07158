"""``evaluate.py rate``: the reader study, on a page of this machine or on paper.

python evaluate.py rate                                 serve the page; Ctrl+C ends and exports
python evaluate.py rate --blind --systems "two-step" "step 1 only"
python evaluate.py rate --export                        the page's ratings as ratings.csv
python evaluate.py rate --forms 5 --lay-forms 2         printable forms and tables to fill in
python evaluate.py rate --import form_1.xlsx form_2.csv
"""

import logging
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from skingpt4.common.tables import write_table
from skingpt4.documents.launch import set_switches
from skingpt4.evaluation.cases import case_list_hash
from skingpt4.evaluation.commands.options import Command, add_common_arguments, load_cases
from skingpt4.evaluation.report.inputs import RATINGS_NAME
from skingpt4.evaluation.responses import RESPONSES_NAME, read_responses
from skingpt4.evaluation.study.assignment import Study, is_simulated, pick_systems
from skingpt4.evaluation.study.forms import read_form, write_forms
from skingpt4.evaluation.study.rating_store import KINDS, RatingStore
from skingpt4.evaluation.study.ratings import (
    DIAGNOSES_NAME,
    DIAGNOSIS_COLUMNS,
    RaterKind,
    Rating,
    read_ratings,
    write_ratings,
)

logger = logging.getLogger(__name__)


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    add_common_arguments(parser)
    parser.add_argument("--responses", type=Path, help="default: responses.jsonl in the output")
    parser.add_argument("--store", type=Path, help="default: ratings.sqlite in the output")
    parser.add_argument(
        "--systems", nargs="+", default=[], metavar="NAME", help="side by side; default: the first"
    )
    parser.add_argument("--blind", action="store_true", help="letters in place of systems' names")
    parser.add_argument("--seed", type=int, default=0, help="settles the order (default 0)")
    parser.add_argument(
        "--cases-per-rater", type=int, default=0, metavar="N", help="default: all cases"
    )
    parser.add_argument("--port", type=int, help="default: the first free one from 7860 on")
    # Each of these does its work and ends, in place of serving the page.
    paper = parser.add_mutually_exclusive_group()
    paper.add_argument("--forms", type=int, metavar="N", help="write forms for N dermatologists")
    paper.add_argument(
        "--import", dest="filled", nargs="+", type=Path, metavar="FILE", help="read filled forms"
    )
    paper.add_argument("--export", action="store_true", help="write the page's ratings, and end")
    parser.add_argument(
        "--lay-forms", type=int, default=0, metavar="N", help="with --forms: N more for lay raters"
    )


def main(args: Namespace) -> None:
    """Serve the page, or export, or write or read forms."""
    cases = load_cases(args)
    responses = read_responses(args.responses or args.output / RESPONSES_NAME, cases)
    # In the order of the answers: without --systems the first one is rated.
    known = list(dict.fromkeys(row.system for row in responses.rows))
    systems, ids = pick_systems(args.systems, known), tuple(case.id for case in cases)
    # No form keeps the plan: the same options give the same one when it is read back.
    study = Study(ids, systems, args.seed, args.blind, args.cases_per_rater)
    ratings = args.output / RATINGS_NAME
    if args.filled:
        new = [rating for path in args.filled for rating in read_form(path, study)]
        # A form says what was marked once; two forms that differ need a human to decide.
        _add_ratings(ratings, new, replace=False)
    elif args.forms is not None:
        # Asked for None, since "--forms 0 --lay-forms 2" is a study of lay raters alone.
        kinds: list[RaterKind] = [KINDS[0]] * args.forms + [KINDS[1]] * args.lay_forms
        paths = write_forms(args.output / "forms", study, kinds, cases, responses.rows)
        logger.info("Wrote %d files to %s", len(paths), args.output / "forms")
    else:
        path = args.store or args.output / "ratings.sqlite"
        store = RatingStore(path, study, case_list_hash(cases))
        if not args.export:
            set_switches()
            # Gradio takes seconds to import and reads the switches then; only the page needs it.
            from skingpt4.evaluation.study.rating_page import build_page, serve_page

            serve_page(build_page(store, cases, responses.rows), args.port)
        # The store holds all that a rater clicked, so it stands for what was exported before.
        _add_ratings(ratings, store.ratings(), replace=True)
        diagnoses = pd.DataFrame(store.diagnoses(), columns=list(DIAGNOSIS_COLUMNS))
        write_table(ratings.with_name(DIAGNOSES_NAME), diagnoses)


def _add_ratings(path: Path, new: Sequence[Rating], replace: bool) -> None:
    """Add ratings to a file, which is made if it is not there; no new ones change nothing.

    Args:
        path: The file of ratings.
        new: What is added.
        replace: Whether a rater's new ratings stand for all their old ones. Otherwise old and new
            must agree where they overlap.

    Raises:
        RatingError: If two ratings contradict each other; the file stays as it was.
    """
    if not new:
        logger.info("There are no ratings yet; %s stays as it is", path)
        return
    raters = {rating.rater for rating in new}
    old = read_ratings(path) if path.exists() else []
    # What a script made up stood in for humans; now that one has rated, it goes.
    kept = {row for row in old if not is_simulated([row.rater])}
    if replace:
        kept = {row for row in kept if row.rater not in raters}
    # Sets, so that a form that is imported again adds nothing.
    write_ratings(path, kept | set(new))
    logger.info("%d ratings by %d raters added to %s", len(new), len(raters), path)


COMMANDS = {"rate": Command(add_arguments, main)}
