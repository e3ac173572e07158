"""Options that several subcommands share."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from skingpt4.evaluation.cases import EvalCase, builtin_cases, read_cases

DEFAULT_OUTPUT = Path("output/evaluation")


def add_common_arguments(parser: ArgumentParser) -> None:
    """Add ``--cases`` and ``--output``."""
    parser.add_argument(
        "--cases", type=Path, help="case list (CSV); by default the 150 drawn cases"
    )
    parser.add_argument(
        "--output", type=Path, default=DEFAULT_OUTPUT, help=f"folder (default {DEFAULT_OUTPUT})"
    )


def load_cases(args: Namespace) -> list[EvalCase]:
    """Read the case list, or the drawn cases, which are drawn first where they are not there."""
    return read_cases(args.cases or builtin_cases(args.output))
