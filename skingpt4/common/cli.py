"""What the scripts share: upstream's two arguments, and errors shown as one sentence."""

import argparse
import sys
from collections.abc import Callable

from skingpt4.common.errors import UserError
from skingpt4.common.registry import UnknownNameError

USER_ERROR_EXIT = 2


def add_config_arguments(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """Add ``--cfg-path`` and ``--options`` as upstream's scripts have them."""
    parser.add_argument(
        "--cfg-path", default=default, required=default is None, help="YAML file of the run"
    )
    parser.add_argument(
        "--options", nargs="+", default=[], metavar="KEY=VALUE", help="override keys of the YAML"
    )


def run_script(main: Callable[[], None]) -> None:
    """Run a script's main; a user's mistake ends it with one sentence and exit code 2."""
    try:
        main()
    except (UserError, UnknownNameError) as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(USER_ERROR_EXIT)
