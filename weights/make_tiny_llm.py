"""Write an untrained Llama of two million parameters, with a tokenizer made from the captions.

``python weights/make_tiny_llm.py --data output/synthetic --output output/tiny/llm``
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import sentencepiece
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from skingpt4.common.cli import run_script
from skingpt4.common.errors import DatasetError
from skingpt4.common.files import PROJECT_ROOT
from skingpt4.prompts import load_prompts

CONTEXT = 1024
VOCABULARY = 1200
SETS = ("step0_question", "step0_dialogue", "step0_general", "step1_concept", "step2_diagnosis")
SEED = 0
# One token each, so that text tokenises alike in pieces (training) and whole (chat).
MARKERS = ["###", "<Img>", "</Img>"]
TOKENIZER_CONFIG = {
    "tokenizer_class": "LlamaTokenizer",
    "legacy": False,
    "add_bos_token": True,
    "add_eos_token": False,
    "add_prefix_space": False,
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "model_max_length": CONTEXT,
}


def corpus(data: Path) -> Iterator[str]:
    """Yield every text of the synthetic sets, and the training prompts.

    Raises:
        DatasetError: If the folder lacks a set.
    """
    sets = [data / name / "filter_cap.json" for name in SETS]
    if not all(path.is_file() for path in sets):
        raise DatasetError(f"'{data}' lacks a synthetic set; run dataset/make_synthetic.py first.")
    for path in sets:
        for row in json.loads(path.read_text(encoding="utf-8"))["annotations"]:
            turns = row.get("dialogue") or [{"question": row.get("question", ""), "answer": ""}]
            yield from (text for turn in turns for text in turn.values() if text)
            if "caption" in row:
                yield row["caption"]
    for path in sorted((PROJECT_ROOT / "prompts").glob("*.txt")):
        yield from load_prompts(path)
    yield from ["Human: Hello", "Assistant: Hello"] * 1000


def make_tokenizer(data: Path, folder: Path) -> None:
    """Train a SentencePiece model and describe it as Llama's tokenizer."""
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=corpus(data),
        model_prefix=str(folder / "tokenizer"),
        model_type="bpe",
        vocab_size=VOCABULARY,
        hard_vocab_limit=False,
        user_defined_symbols=MARKERS,
        byte_fallback=True,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        character_coverage=1.0,
        minloglevel=2,
    )
    (folder / "tokenizer.vocab").unlink()
    config = json.dumps(TOKENIZER_CONFIG, indent=2)
    (folder / "tokenizer_config.json").write_text(config + "\n", encoding="utf-8")


def make_llm(folder: Path) -> None:
    """Write the model's config and random weights beside the tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    torch.manual_seed(SEED)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


def main() -> None:
    """Parse the folders and write the model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("output/synthetic"))
    parser.add_argument("--output", type=Path, default=Path("output/tiny/llm"))
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    make_tokenizer(args.data, args.output)
    make_llm(args.output)


if __name__ == "__main__":
    run_script(main)
