"""Small Hugging Face folders of every language model family, each with its kind of tokenizer."""

import json

import sentencepiece
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    FalconConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaTokenizer,
    LlamaConfig,
    MistralConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2Tokenizer,
    Qwen3Config,
)

SENTENCES = (
    "Give the following image: <Img>ImageContent</Img>. You will be able to see the image.",
    "Could you describe the skin disease in this image for me? <Img></Img> USER: ASSISTANT:",
    "This could be a skin disease image of actinic keratosis, with plaque, crust and erythema.",
    "What treatment and medication should be recommended? A moisturiser, gently. User: Assistant:",
    "It itches at night; the cause is a mite that burrows into the skin. ###Human: ###Assistant:",
)
VOCABULARY = 400
FIRST_PIECE = 259  # of SentencePiece: after the special tokens and the 256 bytes
SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.3,
}
FALCON_40B_LAYOUT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_kv_heads": 2,
    "new_decoder_architecture": True,
    "initializer_range": 0.3,
}
LLAMA3_MARKS = ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]


def byte_level(marks):
    """Train a byte-level BPE, special marks first."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=marks, initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator(SENTENCES, trainer)
    return raw


def vocabulary(raw):
    content = json.loads(raw.to_str())["model"]
    return content["vocab"], [tuple(pair) for pair in content["merges"]]


def sentencepiece_tokenizer(folder):
    """Llama's, Vicuna's and Mistral's kind, with nothing but the SentencePiece file."""
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 20),
        model_prefix=str(folder / "tokenizer"),
        model_type="bpe",
        vocab_size=VOCABULARY,
        byte_fallback=True,
        character_coverage=1.0,
        hard_vocab_limit=False,
        normalization_rule_name="identity",
        minloglevel=2,
    )
    settings = {"tokenizer_class": "LlamaTokenizer", "legacy": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


def falcon_tokenizer(folder):
    """Neither beginning nor padding token."""
    raw = byte_level(["<|endoftext|>"])
    PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|endoftext|>").save_pretrained(folder)


def llama3_tokenizer(folder):
    """Puts its beginning token in front by itself; no padding token."""
    raw = byte_level(["<|begin_of_text|>", *LLAMA3_MARKS])
    raw.post_processor = processors.TemplateProcessing(
        single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", 0)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<|begin_of_text|>", eos_token="<|eot_id|>"
    ).save_pretrained(folder)


def qwen_tokenizer(folder):
    """No beginning token; the end of a turn is the end token, and padding is another."""
    vocab, merges = vocabulary(byte_level([]))
    Qwen2Tokenizer(
        vocab=vocab,
        merges=merges,
        eos_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>", "<|im_end|>"],
    ).save_pretrained(folder)


def gemma_tokenizer(folder):
    """Spaces as marks, bytes as a last resort; the end of a turn is not the end token."""
    marks = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<start_of_turn>", "<end_of_turn>"]
    letters = sorted(set("".join(SENTENCES).replace(" ", "\u2581")))
    tokens = [*marks, *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    GemmaTokenizer(
        vocab={token: i for i, token in enumerate(tokens)},
        merges=[],
        additional_special_tokens=["<start_of_turn>", "<end_of_turn>"],
    ).save_pretrained(folder)


# Embeddings small beside the normed layer outputs, or it would only repeat its input.
GEMMA_SHAPE = SHAPE | {"head_dim": 8, "initializer_range": 0.05}

# Tokenizer, configuration and prompt row by family.
FAMILIES = {
    "llama": (sentencepiece_tokenizer, LlamaConfig, SHAPE, "skingpt4"),
    "vicuna": (sentencepiece_tokenizer, LlamaConfig, SHAPE, "vicuna"),
    "llama3": (llama3_tokenizer, LlamaConfig, SHAPE, "llama3"),
    "falcon": (falcon_tokenizer, FalconConfig, FALCON_40B_LAYOUT, "falcon"),
    "mistral": (sentencepiece_tokenizer, MistralConfig, SHAPE | {"sliding_window": 64}, "mistral"),
    "qwen2": (qwen_tokenizer, Qwen2Config, SHAPE, "qwen"),
    "qwen3": (qwen_tokenizer, Qwen3Config, SHAPE | {"head_dim": 16}, "qwen"),
    "gemma2": (gemma_tokenizer, Gemma2Config, GEMMA_SHAPE, "gemma"),
    "gemma3": (gemma_tokenizer, Gemma3TextConfig, GEMMA_SHAPE, "gemma"),
}


def make_folder(family, folder, shard_size="40KB"):
    """Write a family's folder, in several shards, and return the name of its prompt row."""
    from skingpt4.models.llm import load_tokenizer

    write_tokenizer, kind, shape, style = FAMILIES[family]
    write_tokenizer(folder)
    # Without it, a folder that holds only a SentencePiece file cannot be told from others.
    (folder / "config.json").write_text(json.dumps({"model_type": kind.model_type}))
    tokenizer = load_tokenizer(str(folder))
    config = kind(
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=None,
        **shape,
    )
    with torch.random.fork_rng():
        torch.manual_seed(3)
        llm = AutoModelForCausalLM.from_config(config)
    if write_tokenizer is sentencepiece_tokenizer:
        with torch.no_grad():
            llm.lm_head.weight[FIRST_PIECE:] *= 3  # so that it says text, not stray bytes
    llm.save_pretrained(folder, max_shard_size=shard_size)
    return style
