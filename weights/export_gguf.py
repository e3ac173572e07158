"""Write a Hugging Face language model as a GGUF file for llama.cpp, the engine without a GPU.

``python weights/export_gguf.py --llm weights/skingpt4-tiny/llm --kind q8_0 --output llm.gguf``
"""

import argparse
import logging
from pathlib import Path

from skingpt4.common.cli import run_script, setup_logger
from skingpt4.export.gguf import export_gguf


def main() -> None:
    """Parse and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--llm", required=True, help="Hugging Face folder or id")
    parser.add_argument("--output", type=Path, required=True, help="the .gguf file to write")
    parser.add_argument(
        "--kind",
        default="q4_0",
        help="f32 (exact), f16, q8_0, or q4_0 (the default: least memory, fastest)",
    )
    args = parser.parse_args()
    setup_logger()
    logging.getLogger("gguf").setLevel(logging.WARNING)
    export_gguf(args.llm, args.output, args.kind)


if __name__ == "__main__":
    run_script(main)
