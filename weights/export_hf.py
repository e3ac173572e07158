"""Write the assembled model as a plain Hugging Face folder that needs nothing of this package.

``python weights/export_hf.py --cfg-path eval_configs/skingpt4_eval_tiny.yaml --output DIR`` writes
what ``transformers.Blip2ForConditionalGeneration`` and ``Blip2Processor`` load: config, safetensors
shards, processor with the prompt form as chat template, and a model card with a snippet to run.
"""

import argparse
from pathlib import Path

from skingpt4.common.cli import add_config_arguments, run_script, setup_logger
from skingpt4.common.config import Config
from skingpt4.common.registry import registry
from skingpt4.export.hf import export_blip2
from skingpt4.models.device import DTYPES


def main() -> None:
    """Parse, assemble the model on the CPU, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    parser.add_argument(
        "--dtype",
        choices=sorted(DTYPES),
        default="fp16",
        help="of all but the Q-Former; fp16 loses nothing of weights published in fp16",
    )
    args = parser.parse_args()
    setup_logger()
    # The language model is read in the dtype that is written, so that it is in memory once.
    config = Config.load(args.cfg_path, [f"model.llm_dtype={args.dtype}", *args.options])
    model = registry.get_model_class(config.model.arch).from_config(config.model, device="cpu")
    export_blip2(model.eval(), args.output, DTYPES[args.dtype])


if __name__ == "__main__":
    run_script(main)
