"""``evaluate.py protocol``: everything, on the embedded model and the drawn cases."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from skingpt4.conversation.engines import Decoding
from skingpt4.evaluation.cases import EvalCase
from skingpt4.evaluation.commands.ask import (
    BATCH_SIZE,
    MAX_NEW_TOKENS,
    TOP_P,
    concept_systems,
    consistency_table,
    repeated_systems,
)
from skingpt4.evaluation.commands.options import Command, add_common_arguments, load_cases
from skingpt4.evaluation.commands.results import write_analysis, write_scores
from skingpt4.evaluation.inference import answer_all, join_processes
from skingpt4.evaluation.report.build import write_report
from skingpt4.evaluation.report.inputs import RATINGS_NAME, TIMES_NAME, load_evaluation
from skingpt4.evaluation.responses import (
    CONCEPTS_NAME,
    CONSISTENCY_NAME,
    RESPONSES_NAME,
    read_responses,
)
from skingpt4.evaluation.scoring.repeatability import DRAWS, choose_images
from skingpt4.evaluation.study.ratings import write_ratings
from skingpt4.evaluation.study.simulated import simulate_ratings, simulate_times
from skingpt4.evaluation.study.times import write_times
from skingpt4.evaluation.systems import BUILTIN_CHECKPOINTS, skingpt4_system


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    add_common_arguments(parser)
    parser.add_argument("--limit", type=int, help="only the first cases (for a quick look)")


def main(args: Namespace) -> None:
    """Answer, count, repeat, make up ratings where there are none, analyse, report."""
    # The embedded model's products are too small to share: threads would wait for one another.
    torch.set_num_threads(1)
    folder, state = args.output, join_processes()
    with state.main_process_first():
        cases = load_cases(args)
    # The whole list goes into the header all the same, so that a later run without a limit goes on.
    asked = cases[: args.limit]
    # Greedy, so that the same machine gives the same answers when it is asked again.
    greedy = Decoding(max_new_tokens=MAX_NEW_TOKENS, temperature=0.0, top_p=TOP_P, seed=0)
    systems = [
        skingpt4_system(one, greedy, partial(one.load, state.device)) for one in BUILTIN_CHECKPOINTS
    ]
    answer_all(folder / RESPONSES_NAME, cases, systems, BATCH_SIZE, state, asked)
    systems = concept_systems(BUILTIN_CHECKPOINTS, greedy, state)
    answer_all(folder / CONCEPTS_NAME, cases, systems, BATCH_SIZE, state, asked)
    # Only the full model is asked again and again, as in the paper.
    sampled = replace(greedy, temperature=1.0)
    systems = repeated_systems(BUILTIN_CHECKPOINTS[:1], sampled, DRAWS, state)
    images = choose_images(cases)[: args.limit]
    # The batch size counts conversations, of which each image takes as many as there are draws.
    path = folder / CONSISTENCY_NAME
    answer_all(path, cases, systems, max(1, BATCH_SIZE // DRAWS), state, images)
    if not state.is_main_process:  # all answers are in one place; the rest takes one process
        return
    fill_in_ratings(folder, cases)
    # Read once: scores, tables, figures and report are all made from these.
    evaluation = load_evaluation(folder, cases)
    write_scores(evaluation, folder)
    sys.stdout.write(f"{consistency_table(path)}written: {path}\n")
    write_analysis(evaluation, folder)
    for path in write_report(evaluation, folder):
        sys.stdout.write(f"written: {path}\n")


def fill_in_ratings(folder: Path, cases: Sequence[EvalCase]) -> None:
    """Write simulated ratings and times, marked as such, where nobody's are there."""
    # Never over a file that is there: it may hold what people said.
    ratings, times = folder / RATINGS_NAME, folder / TIMES_NAME
    if not ratings.exists():
        responses = read_responses(folder / RESPONSES_NAME)
        made_up = simulate_ratings(cases, responses.rows, list(responses.systems))
        write_ratings(ratings, made_up)
    if not times.exists():
        write_times(times, simulate_times())


COMMANDS = {"protocol": Command(add_arguments, main)}
