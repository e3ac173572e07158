"""Untrained language models of well-known shapes, for sizing, benchmarks and tests.

Named ``random:<row>`` where a folder would stand. They need no file: neither weights nor tokenizer.
"""

import zlib
from dataclasses import dataclass
from typing import Any, cast

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import (
    FalconForCausalLM,
    LlamaForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from skingpt4.common.errors import ConfigError

PREFIX = "random:"
SPECIAL_TOKENS = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}

_LLAMA_7B = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
}
_LLAMA_13B = _LLAMA_7B | {
    "hidden_size": 5120,
    "intermediate_size": 13824,
    "num_hidden_layers": 40,
    "num_attention_heads": 40,
}
_TINYLLAMA_1B = _LLAMA_7B | {
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_hidden_layers": 22,
    "num_key_value_heads": 4,
    "max_position_embeddings": 2048,
}
# Small enough to try every way of running a language model on two CPU cores.
_LLAMA_340M = _LLAMA_7B | {
    "hidden_size": 1024,
    "intermediate_size": 2816,
    "num_hidden_layers": 22,
    "num_attention_heads": 16,
    "max_position_embeddings": 2048,
}
# Falcon's own names: 8 key-value heads, attention and MLP side by side.
_FALCON_40B = {
    "vocab_size": 65024,
    "hidden_size": 8192,
    "num_hidden_layers": 60,
    "num_attention_heads": 128,
    "num_kv_heads": 8,
    "new_decoder_architecture": True,
}
# For tests: its vocabulary has room for the byte tokenizer's 259 tokens.
_TINY = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 2048,
}

# Class and shape by row; Vicuna 1.5 has Llama 2's shapes, llama-1b is TinyLlama 1.1B.
ROWS: dict[str, tuple[type[PreTrainedModel], dict[str, Any]]] = {
    "llama-2-7b": (LlamaForCausalLM, _LLAMA_7B),
    "llama-2-13b": (LlamaForCausalLM, _LLAMA_13B),
    "vicuna-7b": (LlamaForCausalLM, _LLAMA_7B),
    "vicuna-13b": (LlamaForCausalLM, _LLAMA_13B),
    "falcon-40b": (FalconForCausalLM, _FALCON_40B),
    "llama-1b": (LlamaForCausalLM, _TINYLLAMA_1B),
    "llama-340m": (LlamaForCausalLM, _LLAMA_340M),
    "tiny": (LlamaForCausalLM, _TINY),
}


def is_random(name: str) -> bool:
    """Tell whether ``model.llm_model`` asks for an untrained model."""
    return name.startswith(PREFIX)


def random_config(name: str) -> PretrainedConfig:
    """Return the configuration of ``random:<row>``, with the ids of :func:`random_tokenizer`.

    Raises:
        ConfigError: If there is no such row.
    """
    kind, shape = _row(name)
    # Without its ids an answer would end at whatever token the family's own ids happen to name.
    tokenizer = random_tokenizer()
    build = cast(Any, kind.config_class)
    return cast(
        PretrainedConfig,
        build(**shape, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id),
    )


def random_tokenizer() -> PreTrainedTokenizerBase:
    """Build a tokenizer of single bytes, which fits into any vocabulary."""
    # 256 byte tokens and no merges: ids of any text stay below the smallest row's vocabulary.
    tokens = [*SPECIAL_TOKENS.values(), *sorted(pre_tokenizers.ByteLevel.alphabet())]
    raw = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=raw, **SPECIAL_TOKENS)


def load_random_llm(name: str, device: torch.device, **settings: Any) -> PreTrainedModel:
    """Make the model as if its weights were read from a file, the same ones each time.

    transformers' loader asks for one tensor after the other, puts it in its place and quantises it
    where asked to, so that a model which only fits its device quantised can be made there.

    Args:
        name: ``random:<row>``.
        device: Where the numbers are drawn.
        settings: Passed to ``from_pretrained``; ``dtype`` among them.

    Raises:
        ConfigError: If there is no such row.
    """
    kind, _ = _row(name)
    config = random_config(name)
    with torch.device("meta"):  # for names and shapes alone
        skeleton = kind(config)
    std, dtype = config.initializer_range, settings["dtype"]
    weights = {
        key: _RandomTensor(key, value.shape, std, dtype, device)
        for key, value in skeleton.state_dict().items()
    }
    return kind.from_pretrained(None, config=config, state_dict=weights, **settings)


@dataclass(frozen=True)
class _RandomTensor:
    """Stands for a tensor in a file: its numbers are drawn when it is read."""

    name: str
    shape: torch.Size
    std: float
    dtype: torch.dtype
    device: torch.device

    def __getitem__(self, index: object) -> Tensor:
        """Return the whole tensor: normal for matrices, ones for norms, zeros for biases."""
        place: dict[str, Any] = {"dtype": self.dtype, "device": self.device}
        if len(self.shape) < 2:  # a norm's weight, or a bias
            return torch.full(self.shape, 0.0 if self.name.endswith("bias") else 1.0, **place)
        # The loader reads in several threads; a seed of its own makes each tensor repeatable.
        generator = torch.Generator(self.device).manual_seed(zlib.crc32(self.name.encode()))
        return torch.empty(self.shape, **place).normal_(0.0, self.std, generator=generator)


def _row(name: str) -> tuple[type[PreTrainedModel], dict[str, Any]]:
    row = name.removeprefix(PREFIX)
    if row not in ROWS:
        raise ConfigError(
            f"model.llm_model '{name}' names no known shape; known: "
            + ", ".join(PREFIX + known for known in ROWS)
            + "."
        )
    return ROWS[row]
