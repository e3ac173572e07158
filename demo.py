"""Serves the demo page: upload a photo of skin and converse about it.

python demo.py                                           the embedded model
python demo.py --cfg-path my.yaml --gpu-id 0             another model, on a GPU
python demo.py --cfg-path my.yaml --gpu-id 0 --check     what it needs, without loading it
python demo.py --ask photo.jpg "What's wrong with my skin?"       one answer, without the page
python demo.py --batch photos/ --output answers.jsonl             many, as JSON lines
"""

import argparse
import sys

from skingpt4.check.preflight import preflight
from skingpt4.common.cli import (
    add_check_argument,
    add_config_arguments,
    finish_check,
    run_script,
    setup_logger,
)
from skingpt4.common.config import Config
from skingpt4.common.network import go_offline, settle_offline
from skingpt4.conversation.chat import build_chat
from skingpt4.demo.server import Address, parse_login, serve
from skingpt4.demo.terminal import BATCH_SIZE, ask, ask_folder
from skingpt4.dermatology import QUESTIONS
from skingpt4.models.device import best_device

DEFAULT_CONFIG = "eval_configs/skingpt4_eval_tiny.yaml"
# What ``--allow-untrained`` stands for.
ALLOW_UNTRAINED = "model.allow_untrained=True"


def parse_args() -> argparse.Namespace:
    """Read the command line: upstream's three options, what to ask, and where to serve."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    add_config_arguments(parser, default=DEFAULT_CONFIG)
    add_check_argument(parser)
    parser.add_argument("--gpu-id", type=int, default=0, help="GPU to use, if there is one")
    parser.add_argument(
        "--allow-untrained",
        action="store_const",
        const=[ALLOW_UNTRAINED],
        default=[],
        help="start without the projection's checkpoint; its answers mean nothing",
    )
    _add_reach_arguments(parser)
    _add_ask_arguments(parser)
    args = parser.parse_args()
    if args.ask and len(args.ask) < 2:
        parser.error("--ask takes one or more photos, then the question")
    if bool(args.batch) != bool(args.output):
        parser.error("--batch FOLDER and --output FILE belong together")
    return args


def _add_reach_arguments(parser: argparse.ArgumentParser) -> None:
    """Add who may reach the page, and what this process may reach."""
    reach = parser.add_argument_group("the page")
    reach.add_argument("--host", default="127.0.0.1", help="address to serve on (this machine)")
    reach.add_argument("--port", type=int, default=7860, help="port; the next free one if taken")
    reach.add_argument("--share", action="store_true", help="make a public link (off)")
    reach.add_argument("--auth", metavar="USER:PASSWORD", help="ask visitors to log in")
    offline = reach.add_mutually_exclusive_group()
    offline.add_argument(
        "--offline",
        action="store_true",
        default=None,
        help="refuse every connection to another machine (the default where all weights are here)",
    )
    offline.add_argument("--online", dest="offline", action="store_false", help="allow them")


def _add_ask_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be asked without the page."""
    asking = parser.add_argument_group("without the page")
    mode = asking.add_mutually_exclusive_group()
    mode.add_argument(
        "--ask",
        nargs="+",
        metavar=("PHOTO", "QUESTION"),
        help="photos, then a question: answer it on the terminal",
    )
    mode.add_argument("--batch", metavar="FOLDER", help="ask about every photo of a folder")
    asking.add_argument("--json", action="store_true", help="--ask: write a line of JSON instead")
    asking.add_argument(
        "--output", metavar="FILE", help="--batch: JSON lines; goes on if it exists"
    )
    asking.add_argument(
        "--question",
        action="append",
        metavar="TEXT",
        help="--batch: what to ask, may be repeated (the paper's four questions)",
    )
    asking.add_argument(
        "--batch-size",
        type=int,
        default=BATCH_SIZE,
        metavar="N",
        help=f"--batch: photos asked about at once ({BATCH_SIZE}); less needs less memory",
    )


def main() -> None:
    """Parse, load the model; check, answer or serve."""
    args = parse_args()
    setup_logger()
    device = best_device(args.gpu_id)
    config = Config.load(args.cfg_path, [*args.options, *args.allow_untrained])
    if args.check:
        finish_check(preflight(config, device))
    address = Address(args.host, args.port, args.share, parse_login(args.auth))
    if settle_offline(args.offline, config.model, args.share):
        go_offline()
    chat = build_chat(config, device)
    if args.ask:
        *photos, question = args.ask
        ask(chat, photos, question, sys.stdout, args.json)
    elif args.batch:
        questions = args.question or QUESTIONS
        ask_folder(chat, args.batch, questions, args.output, args.batch_size)
    else:
        serve(chat, address)


if __name__ == "__main__":
    run_script(main)
