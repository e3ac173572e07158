"""Cut trained checkpoints into the files of the full model's formats, in half precision.

``python weights/export_tiny.py --language A --ckpt B`` writes step 0: a Hugging Face LLM folder
from A, and an EVA file, a LAVIS Q-Former file and the projection from B. With ``--projection NAME``
it writes only B's projection, as steps 1 and 2 leave it.
"""

import argparse
from pathlib import Path

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from skingpt4.common.checkpoint import Tensors, read_metadata, read_tensors, save_tensors
from skingpt4.common.cli import run_script
from skingpt4.models.key_maps import to_lavis_key
from skingpt4.models.weights import assign

VISION_PREFIX = "visual_encoder."
LLM_PREFIX = "llm_model."
PROJECTION_PREFIX = "llama_proj."
QFORMER_PREFIXES = ("Qformer.", "query_tokens", "ln_vision.")


def select(tensors: Tensors, *prefixes: str) -> Tensors:
    """Return the tensors under some prefixes, in half precision."""
    return {k: v.to(torch.float16) for k, v in tensors.items() if k.startswith(prefixes)}


def strip(tensors: Tensors, prefix: str) -> Tensors:
    """Return the tensors under a prefix, named without it."""
    return {k.removeprefix(prefix): v for k, v in select(tensors, prefix).items()}


def export_foundation(tensors: Tensors, source: Path, llm: Path, folder: Path) -> None:
    """Write the three parts that steps 1 and 2 keep frozen, and step 0's projection."""
    record = read_metadata(source)
    vision = strip(tensors, VISION_PREFIX)
    save_tensors(folder / "eva_vit_tiny.safetensors", vision, record)
    qformer = {to_lavis_key(k): v for k, v in select(tensors, *QFORMER_PREFIXES).items()}
    save_tensors(folder / "qformer_tiny.safetensors", qformer, record)
    projection = select(tensors, PROJECTION_PREFIX)
    save_tensors(folder / "skingpt4_tiny_step0.safetensors", projection, record)
    model = LlamaForCausalLM(LlamaConfig.from_pretrained(llm))
    assign(model, strip(tensors, LLM_PREFIX), source, required=("model.",))
    model.half().save_pretrained(folder / "llm")
    AutoTokenizer.from_pretrained(llm).save_pretrained(folder / "llm")
    (folder / "llm" / "tokenizer.model").write_bytes((llm / "tokenizer.model").read_bytes())


def main() -> None:
    """Parse the paths and export."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--language", type=Path, help="checkpoint that holds the language model")
    parser.add_argument("--ckpt", type=Path, required=True, help="checkpoint that holds the rest")
    parser.add_argument("--llm", type=Path, default=Path("output/tiny/llm"))
    parser.add_argument("--output", type=Path, default=Path("weights/skingpt4-tiny"))
    parser.add_argument("--projection", help="write only the projection, to a file of this name")
    args = parser.parse_args()
    tensors = read_tensors(args.ckpt)
    if args.projection:
        projection = select(tensors, PROJECTION_PREFIX)
        save_tensors(args.output / args.projection, projection, read_metadata(args.ckpt))
    else:
        earlier = read_tensors(args.language) if args.language else {}
        export_foundation(earlier | tensors, args.ckpt, args.llm, args.output)


if __name__ == "__main__":
    run_script(main)
