"""``evaluate.py protocol``: everything, on the embedded model and the drawn cases."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

import torch

from skingpt4.evaluation.cases import EvalCase
from skingpt4.evaluation.commands import run_command
from skingpt4.evaluation.commands.options import add_common_arguments, load_cases
from skingpt4.evaluation.commands.run import RESPONSES_NAME
from skingpt4.evaluation.responses import read_responses
from skingpt4.evaluation.study.ratings import write_ratings
from skingpt4.evaluation.study.simulated import simulate_ratings, simulate_times
from skingpt4.evaluation.study.times import write_times

RATINGS_NAME = "ratings.csv"
TIMES_NAME = "times.csv"


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    add_common_arguments(parser)
    parser.add_argument("--limit", type=int, help="only the first cases (for a quick look)")


def main(args: Namespace) -> None:
    """Answer, count, repeat, make up ratings where there are none, analyse, report."""
    # The embedded model's products are too small to share: threads would wait for one another.
    torch.set_num_threads(1)
    shared = ["--output", str(args.output)]
    shared += ["--cases", str(args.cases)] if args.cases else []
    short = ["--limit", str(args.limit)] if args.limit else []
    run_command("run", [*shared, *short, "--ask-concepts"])
    run_command("score", shared)
    run_command("consistency", [*shared, *short])
    fill_in_ratings(args.output, load_cases(args))
    run_command("analyse", shared)
    run_command("report", shared)


def fill_in_ratings(folder: Path, cases: list[EvalCase]) -> None:
    """Write simulated ratings and times, marked as such, where nobody's are there."""
    ratings, times = folder / RATINGS_NAME, folder / TIMES_NAME
    if not ratings.exists():
        responses = read_responses(folder / RESPONSES_NAME)
        made_up = simulate_ratings(cases, responses.rows, list(responses.header["systems"]))
        write_ratings(ratings, made_up)
    if not times.exists():
        write_times(times, simulate_times())
