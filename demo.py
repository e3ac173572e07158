"""Serves the demo page: upload a photo of skin and converse about it.

python demo.py                                    the embedded model, on the CPU
python demo.py --cfg-path my.yaml --gpu-id 0      another model, on a GPU
"""

import argparse

import torch

from skingpt4.common.cli import add_config_arguments, run_script
from skingpt4.common.logger import setup_logger
from skingpt4.conversation.chat import load_chat
from skingpt4.demo.server import Address, parse_login, serve

DEFAULT_CONFIG = "eval_configs/skingpt4_eval_tiny.yaml"


def parse_args() -> argparse.Namespace:
    """Read the command line; upstream's three options, and where to serve."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    add_config_arguments(parser, default=DEFAULT_CONFIG)
    parser.add_argument("--gpu-id", type=int, default=0, help="GPU to use, if there is one")
    parser.add_argument("--host", default="127.0.0.1", help="address to serve on (this machine)")
    parser.add_argument("--port", type=int, default=7860, help="port; the next free one if taken")
    parser.add_argument("--share", action="store_true", help="make a public link (off)")
    parser.add_argument("--auth", metavar="USER:PASSWORD", help="ask visitors to log in")
    return parser.parse_args()


def main() -> None:
    """Parse, load the model, serve."""
    args = parse_args()
    setup_logger()
    address = Address(args.host, args.port, args.share, parse_login(args.auth))
    device = f"cuda:{args.gpu_id}" if torch.cuda.is_available() else "cpu"
    chat = load_chat(args.cfg_path, args.options, device)
    serve(chat, address)


if __name__ == "__main__":
    run_script(main)
