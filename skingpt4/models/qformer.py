"""From patch features to photo tokens: BLIP-2's Q-Former, or patches joined by four without one."""

from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from transformers import Blip2QFormerConfig, Blip2QFormerModel

from skingpt4.common.errors import ConfigError

# Shapes by ``model.qformer``. blip2: BERT-base with cross-attention in every second layer (paper);
# these are the library's defaults.
QFORMER_SHAPES: dict[str, dict[str, Any]] = {
    "blip2": {},
    "tiny": {
        "hidden_size": 160,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "intermediate_size": 640,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    },
}

PATCHES_A_TOKEN = 4


def build_qformer(name: str, vision_width: int) -> Blip2QFormerModel:
    """Build a randomly initialised Q-Former that attends to features ``[B, N, vision_width]``.

    Raises:
        ConfigError: If the shape is unknown.
    """
    if name not in QFORMER_SHAPES:
        known = ", ".join(QFORMER_SHAPES)
        raise ConfigError(f"model.qformer '{name}' is unknown; known: {known}.")
    # The query path alone: transformers builds no text layers, which images do not need.
    config = Blip2QFormerConfig(encoder_hidden_size=vision_width, **QFORMER_SHAPES[name])
    return Blip2QFormerModel(config)


def build_query_tokens(number: int, qformer: Blip2QFormerModel) -> nn.Parameter:
    """Build the learned queries ``[1, number, Dq]``, drawn as BERT draws its weights."""
    tokens = nn.Parameter(torch.zeros(1, number, qformer.config.hidden_size))  # [1, Q, Dq]
    nn.init.normal_(tokens, std=qformer.config.initializer_range)
    return tokens


def joined_tokens(patches: int) -> int:
    """Return how many tokens a photo's patches become where there is no Q-Former.

    Raises:
        ConfigError: If the patches do not come out even.
    """
    tokens, left_over = divmod(patches, PATCHES_A_TOKEN)
    if left_over:
        raise ConfigError(
            f"model.image_size gives {patches} patches, no multiple of the {PATCHES_A_TOKEN} that "
            "are joined without a Q-Former; use a multiple of twice the patch size, such as 224."
        )
    return tokens


def join_patches(features: Tensor, prefix_tokens: int = 1) -> Tensor:
    """Join features ``[B, P + N, C]`` to ``[B, N / 4, 4 * C]``, as MiniGPT-4 does on Llama 2."""
    # The class token, first in line, belongs to no place in the photo and is left out.
    return rearrange(
        features[:, prefix_tokens:], "b (n four) c -> b n (four c)", four=PATCHES_A_TOKEN
    )
