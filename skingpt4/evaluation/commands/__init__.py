"""The subcommands of ``evaluate.py``: one module each, imported when it is asked for."""

from argparse import ArgumentParser, Namespace
from importlib import import_module
from typing import Protocol, cast

COMMANDS = {
    "cases": "check a case list: classes, images, balance, and leaks from training sets",
    "run": "ask the paper's four questions of one or several systems",
    "score": "read diagnoses and concepts from the answers and count",
    "consistency": "diagnose each of some photos ten times",
    "rate": "serve the page, or write the forms, on which raters judge the answers",
    "analyse": "make the tables and figures of ratings, times and consistency",
    "report": "write everything as one self-contained page",
    "audit": "compare published percentages with their denominators",
    "protocol": "all of it on the embedded model and the drawn cases",
}
"""Each subcommand with what it does, in the order of use."""


class Command(Protocol):
    """What each module ``skingpt4.evaluation.commands.<name>`` offers."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""

    def main(self, args: Namespace) -> None:
        """Do it."""


def load_command(name: str) -> Command:
    """Import one subcommand's module."""
    return cast(Command, import_module(f"{__name__}.{name}"))


def run_command(name: str, arguments: list[str]) -> None:
    """Parse a subcommand's options and do it."""
    command = load_command(name)
    parser = ArgumentParser(prog=f"evaluate.py {name}", description=COMMANDS[name])
    command.add_arguments(parser)
    command.main(parser.parse_args(arguments))
