"""Serves the demo page: upload a photo of skin and converse about it.

python demo.py                                           the embedded model, on the CPU
python demo.py --cfg-path my.yaml --gpu-id 0             another model, on a GPU
python demo.py --cfg-path my.yaml --gpu-id 0 --check     what it needs, without loading it
"""

import argparse

from skingpt4.common.cli import (
    add_check_argument,
    add_config_arguments,
    finish_check,
    run_script,
)
from skingpt4.common.config import Config
from skingpt4.common.logger import setup_logger
from skingpt4.conversation.chat import load_chat
from skingpt4.demo.server import Address, parse_login, serve
from skingpt4.models.placement import best_device
from skingpt4.tasks.preflight import preflight

DEFAULT_CONFIG = "eval_configs/skingpt4_eval_tiny.yaml"
# What ``--allow-untrained`` stands for.
ALLOW_UNTRAINED = "model.allow_untrained=True"


def parse_args() -> argparse.Namespace:
    """Read the command line; upstream's three options, and where to serve."""
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
    parser.add_argument("--host", default="127.0.0.1", help="address to serve on (this machine)")
    parser.add_argument("--port", type=int, default=7860, help="port; the next free one if taken")
    parser.add_argument("--share", action="store_true", help="make a public link (off)")
    parser.add_argument("--auth", metavar="USER:PASSWORD", help="ask visitors to log in")
    return parser.parse_args()


def main() -> None:
    """Parse, load the model, serve; or only check."""
    args = parse_args()
    setup_logger()
    device = best_device(args.gpu_id)
    options = [*args.options, *args.allow_untrained]
    if args.check:
        finish_check(preflight(Config.load(args.cfg_path, options), device))
    address = Address(args.host, args.port, args.share, parse_login(args.auth))
    chat = load_chat(args.cfg_path, options, device)
    serve(chat, address)


if __name__ == "__main__":
    run_script(main)
