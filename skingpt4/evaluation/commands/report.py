"""``evaluate.py report``: everything as one self-contained page, and the same as PDF."""

import sys
from argparse import ArgumentParser, Namespace

from skingpt4.evaluation.commands.options import add_common_arguments
from skingpt4.evaluation.report.build import write_report


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    add_common_arguments(parser)


def main(args: Namespace) -> None:
    """Write the report of the output folder."""
    for path in write_report(args.output, args.cases):
        sys.stdout.write(f"written: {path}\n")
