"""The paper's evaluation: ``python evaluate.py protocol``, or step by step (``--help``)."""

import argparse
import sys

from skingpt4.common.cli import run_script, setup_logger
from skingpt4.evaluation.commands import COMMANDS, run_command


def parse_command() -> str:
    """Read which subcommand is asked for."""
    listing = "\n".join(f"  {name:12} {what}" for name, what in COMMANDS.items())
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=f"commands (each with its own --help):\n{listing}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS, metavar="command")
    return str(parser.parse_args(sys.argv[1:2]).command)


def main() -> None:
    """Do what the subcommand says."""
    command = parse_command()
    setup_logger()
    run_command(command, sys.argv[2:])


if __name__ == "__main__":
    run_script(main)
