"""What the scripts share: upstream's two arguments, ``--check``, errors shown as one sentence."""

import argparse
import logging
import sys
from collections.abc import Callable
from types import TracebackType
from typing import NoReturn, Protocol

from skingpt4.common.errors import UserError
from skingpt4.common.registry import UnknownNameError

# A check or a photo failed; the command line or a file is wrong.
FAILED_EXIT, USER_ERROR_EXIT = 1, 2


class CheckReport(Protocol):
    """What ``--check`` found."""

    @property
    def ok(self) -> bool:
        """Tell whether the run can start."""

    def table(self) -> str:
        """Return all findings as text."""


def add_config_arguments(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """Add ``--cfg-path`` and ``--options`` as upstream's scripts have them."""
    parser.add_argument(
        "--cfg-path",
        nargs="+",
        default=default,
        required=default is None,
        help="YAML file of the run, or several: each lies over those before it",
    )
    parser.add_argument(
        "--options", nargs="+", default=[], metavar="KEY=VALUE", help="override keys of the YAML"
    )


def add_check_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--check``; a script that gets it ends with :func:`finish_check`."""
    parser.add_argument(
        "--check",
        action="store_true",
        help="only tell what is missing, what does not fit and the memory needed; takes seconds, "
        "for training as long as reading the data sets",
    )


def finish_check(report: CheckReport) -> NoReturn:
    """Write the findings to standard output and end: exit code 0 if the run can start, else 1."""
    sys.stdout.write(report.table() + "\n")
    sys.exit(0 if report.ok else FAILED_EXIT)


def run_script(main: Callable[[], None]) -> None:
    """Run a script's main; a user's mistake ends it with one sentence and exit code 2."""
    try:
        main()
    except (UserError, UnknownNameError) as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(USER_ERROR_EXIT)


def _show_stop(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Show Ctrl+C as one sentence, its own if it carries one, and any other error as ever."""
    if issubclass(kind, KeyboardInterrupt):
        # On a line of its own: the terminal has written ^C, and maybe half an answer.
        sys.stderr.write(f"\n{str(error) or 'Stopped.'}\n")
    else:
        sys.__excepthook__(kind, error, trace)


# From now on, for what a script imports after this takes seconds. Shells see exit code 130.
sys.excepthook = _show_stop


def setup_logger(level: int = logging.INFO) -> None:
    """Send log lines to the terminal; call it once, in a script."""
    logging.basicConfig(
        level=level, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S"
    )
    # They tell of every request, font or image at the level of ours.
    for chatty in ("fontTools", "httpx", "matplotlib", "PIL"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
