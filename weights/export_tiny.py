"""Cut a foundation checkpoint into the files of the full model's formats, in half precision.

``python weights/export_tiny.py --ckpt output/tiny/stage0/checkpoint_last.safetensors``
writes an EVA file, a LAVIS Q-Former file and a Hugging Face LLM folder. With ``--projection``
it writes the projection of steps 1 and 2 instead.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from skingpt4.common.checkpoint import Tensors, read_metadata, read_tensors, save_tensors
from skingpt4.common.cli import run_script
from skingpt4.models.weights import assign, to_lavis_key

VISION_PREFIX = "visual_encoder."
LLM_PREFIX = "llm_model."
PROJECTION_PREFIX = "llama_proj."
QFORMER_PREFIXES = ("Qformer.", "query_tokens", "ln_vision.")


def select(tensors: Tensors, *prefixes: str, strip: bool = False) -> Tensors:
    """Return the half-precision tensors under some prefixes."""

    def name(key: str) -> str:
        return key.removeprefix(prefixes[0]) if strip else key

    return {name(k): _half(v) for k, v in tensors.items() if k.startswith(prefixes)}


def _half(tensor: Tensor) -> Tensor:
    return tensor.to(torch.float16)


def export_foundation(ckpt: Path, llm: Path, folder: Path) -> None:
    """Write the three parts that steps 1 and 2 keep frozen, and step 0's projection."""
    tensors, record = read_tensors(ckpt), read_metadata(ckpt)
    vision = select(tensors, VISION_PREFIX, strip=True)
    save_tensors(folder / "eva_vit_tiny.safetensors", vision, record)
    qformer = {to_lavis_key(k): v for k, v in select(tensors, *QFORMER_PREFIXES).items()}
    save_tensors(folder / "qformer_tiny.safetensors", qformer, record)
    projection = select(tensors, PROJECTION_PREFIX)
    save_tensors(folder / "skingpt4_tiny_step0.safetensors", projection, record)
    model = LlamaForCausalLM(LlamaConfig.from_pretrained(llm))
    assign(model, select(tensors, LLM_PREFIX, strip=True), ckpt, required=("model.",))
    model.half().save_pretrained(folder / "llm")
    AutoTokenizer.from_pretrained(llm).save_pretrained(folder / "llm")
    (folder / "llm" / "tokenizer.model").write_bytes((llm / "tokenizer.model").read_bytes())


def export_projection(ckpt: Path, target: Path) -> None:
    """Write a step's projection alone."""
    save_tensors(target, select(read_tensors(ckpt), PROJECTION_PREFIX), read_metadata(ckpt))


def main() -> None:
    """Parse the paths and export."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ckpt", type=Path, required=True)
    parser.add_argument("--llm", type=Path, default=Path("output/tiny/llm"))
    parser.add_argument("--output", type=Path, default=Path("weights/skingpt4-tiny"))
    parser.add_argument("--projection", help="write only the projection, to a file of this name")
    args = parser.parse_args()
    if args.projection:
        export_projection(args.ckpt, args.output / args.projection)
    else:
        export_foundation(args.ckpt, args.llm, args.output)


if __name__ == "__main__":
    run_script(main)
