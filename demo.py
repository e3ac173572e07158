"""Converse about a photo of skin: on a page, on the terminal, or about a whole folder.

python demo.py                                           the page, with the embedded model
python demo.py --cfg-path my.yaml --gpu-id 0             another model, on a GPU
python demo.py --cfg-path my.yaml --gpu-id 0 --check     what it needs, without loading it
python demo.py --ask photo.jpg "What's wrong with my skin?"       one answer
python demo.py --batch photos/ --output answers.jsonl             many, as JSON lines
"""

import argparse
import logging
import sys
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING

from skingpt4.common.cli import (
    FAILED_EXIT,
    add_check_argument,
    add_config_arguments,
    finish_check,
    run_script,
    setup_logger,
)
from skingpt4.common.config import Config
from skingpt4.common.network import go_offline, settle_offline
from skingpt4.demo.address import Address, parse_login
from skingpt4.dermatology import QUESTIONS

if TYPE_CHECKING:
    from skingpt4.conversation.chat import Chat

DEFAULT_CONFIG = "eval_configs/skingpt4_eval_tiny.yaml"
# What ``--allow-untrained`` stands for.
ALLOW_UNTRAINED = "model.allow_untrained=True"
# Photos of a folder that are asked about at once.
BATCH_SIZE = 8
# How the modes are called in errors.
PAGE, ASK, BATCH = "the page", "--ask", "--batch"
# argparse cannot say that of several values the last is of another kind.
PHOTOS_AND_QUESTION = "PHOTO [PHOTO ...] QUESTION"
USAGE = f"""python %(prog)s [options]                                         the page
       python %(prog)s [options] {ASK} {PHOTOS_AND_QUESTION} [--json]
       python %(prog)s [options] {BATCH} FOLDER --output FILE [--question TEXT ...]
       python %(prog)s ... --check                                       what any of these needs"""


class _Help(argparse.RawDescriptionHelpFormatter):
    """Shows the commands as they stand above, and what ``--ask`` takes."""

    def _format_args(self, action: argparse.Action, default_metavar: str) -> str:
        is_ask = ASK in action.option_strings
        return PHOTOS_AND_QUESTION if is_ask else super()._format_args(action, default_metavar)


def parse_args() -> argparse.Namespace:
    """Read the command line: upstream's three options, what to ask, and where to serve."""
    parser = argparse.ArgumentParser(usage=USAGE, description=__doc__, formatter_class=_Help)
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
    parser.add_argument(
        "--quiet", action="store_true", help="write only errors, and the answer or the address"
    )
    offline = parser.add_mutually_exclusive_group()
    offline.add_argument(
        "--offline",
        action="store_true",
        default=None,
        help="refuse every connection to another machine (the default where all weights are here)",
    )
    offline.add_argument("--online", dest="offline", action="store_false", help="allow them")
    options = _add_ask_arguments(parser) | {PAGE: _add_page_arguments(parser)}
    args = parser.parse_args()
    mode = ASK if args.ask else BATCH if args.batch else PAGE
    for owner, actions in options.items():
        for action in actions:
            if action not in options[mode] and getattr(args, action.dest) is not None:
                name = action.option_strings[0]
                parser.error(f"{name} belongs to {owner}, not to {mode}; leave it out")
    if args.ask and len(args.ask) < 2:
        parser.error("--ask takes one or more photos, then the question")
    if args.batch and not args.output:
        parser.error("--batch FOLDER needs --output FILE for the answers")
    return args


def _add_ask_arguments(parser: argparse.ArgumentParser) -> dict[str, list[argparse.Action]]:
    """Add what can be asked without the page; return what belongs to each of the two modes."""
    group = parser.add_argument_group("without the page")
    mode = group.add_mutually_exclusive_group()
    mode.add_argument(ASK, nargs="+", help="photos, then a question: answer it on the terminal")
    mode.add_argument(BATCH, metavar="FOLDER", help="ask about every photo of a folder")
    as_json = group.add_argument(
        "--json", action="store_true", default=None, help="--ask: write a line of JSON instead"
    )
    output = group.add_argument(
        "--output", metavar="FILE", help="--batch: JSON lines; goes on if it exists"
    )
    question = group.add_argument(
        "--question",
        action="append",
        metavar="TEXT",
        help="--batch: what to ask, may be repeated (the paper's four questions)",
    )
    batch_size = group.add_argument(
        "--batch-size",
        type=int,
        metavar="N",
        help=f"--batch: photos asked about at once ({BATCH_SIZE}); less needs less memory",
    )
    anyway = group.add_argument(
        "--even-without-skin",
        action="store_true",
        default=None,
        help="ask also about photos in which there seems to be no skin",
    )
    return {ASK: [as_json, anyway], BATCH: [output, question, batch_size, anyway]}


def _add_page_arguments(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Add where the page is served, and to whom: the fields of :class:`Address`."""
    add = parser.add_argument_group("the page (docs/serving.md)").add_argument
    return [
        add("--host", help="address to serve on (127.0.0.1: this machine only)"),
        add("--port", type=int, help="0: any free one (7860, or the next that is free)"),
        add("--share", action="store_true", default=None, help="make a public link (off)"),
        add("--auth", type=parse_login, metavar="USER:PASSWORD", help="ask visitors to log in"),
        add("--ssl-certfile", metavar="FILE", help="serve with TLS: the certificate, as PEM"),
        add("--ssl-keyfile", metavar="FILE", help="its private key, if that is another file"),
        add("--root-path", metavar="PATH", help="behind a proxy: its path to the page, as /skin"),
        add(
            "--allowed-host",
            action="append",
            metavar="NAME",
            help="behind a proxy: the name that visitors call, may be repeated",
        ),
        add(
            "--proxy",
            action="append",
            metavar="ADDRESS",
            help="behind a proxy on another machine: its address, may be repeated",
        ),
    ]


def prepare(args: argparse.Namespace, config: Config) -> "Callable[[Chat], int | None]":
    """Check what was asked for as far as can be told without the model.

    Returns:
        What is left to do with the model; it tells how many photos failed, if any.
    """
    # What takes seconds to import comes after the mistakes that can be told without it.
    if args.ask:
        from skingpt4.demo.terminal import ask, open_photos

        *paths, question = args.ask
        photos = open_photos(paths, question, args.even_without_skin)
        return partial(ask, photos=photos, question=question, out=sys.stdout, as_json=args.json)
    if args.batch:
        from skingpt4.demo.terminal import ask_folder, plan_batch

        size = BATCH_SIZE if args.batch_size is None else args.batch_size
        questions = args.question or QUESTIONS
        batch = plan_batch(args.batch, questions, args.output, size, config.model)
        return partial(ask_folder, batch=batch, even_without_skin=args.even_without_skin)
    wanted = {field.name: getattr(args, field.name) for field in fields(Address)}
    address = Address(**{name: value for name, value in wanted.items() if value is not None})
    address.find_port()
    return partial(_serve, address=address)


def _serve(chat: "Chat", address: Address) -> None:
    # Here, because only a page needs Gradio, which takes seconds to import.
    from skingpt4.demo.server import serve

    serve(chat, address, sys.stdout)


def main() -> None:
    """Parse, check the input, load the model; check, answer or serve."""
    args = parse_args()
    setup_logger(logging.ERROR if args.quiet else logging.INFO)
    config = Config.load(args.cfg_path, [*args.options, *args.allow_untrained])
    job = prepare(args, config)
    is_offline = settle_offline(args.offline, config.model, bool(args.share))

    from transformers.utils.logging import disable_progress_bar

    from skingpt4.check.preflight import preflight
    from skingpt4.conversation.chat import build_chat
    from skingpt4.models.device import best_device

    if args.quiet:
        disable_progress_bar()
    device = best_device(args.gpu_id)
    if args.check:
        finish_check(preflight(config, device))
    if is_offline:
        go_offline()
    if job(build_chat(config, device)):
        sys.exit(FAILED_EXIT)


if __name__ == "__main__":
    run_script(main)
