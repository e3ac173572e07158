"""The subcommands of ``evaluate.py``; a module is imported once one of its own is asked for."""

from argparse import ArgumentParser
from importlib import import_module

from skingpt4.evaluation.commands.options import Command

# Each subcommand with what it does, in the order of use.
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

# Where each subcommand is: a module of this package, which lists it in its ``COMMANDS``.
MODULES = {
    "checks": ("cases", "audit"),
    "ask": ("run", "consistency"),
    "results": ("score", "analyse", "report"),
    "rate": ("rate",),
    "protocol": ("protocol",),
}


def run_command(name: str, arguments: list[str]) -> None:
    """Parse a subcommand's options and do it."""
    (place,) = (module for module, names in MODULES.items() if name in names)
    # Imported when asked for: --help must not wait for torch.
    command: Command = import_module(f"{__name__}.{place}").COMMANDS[name]
    parser = ArgumentParser(prog=f"evaluate.py {name}", description=COMMANDS[name])
    command.add_arguments(parser)
    command.main(parser.parse_args(arguments))
