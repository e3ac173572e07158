"""The vision tower: timm's EVA ViT, and the LayerNorm that follows it."""

from typing import Any, cast

import torch
from timm.layers import resample_abs_pos_embed
from timm.models.eva import Eva
from torch import Tensor, nn

from skingpt4.common.errors import ConfigError

PATCH_SIZE = 14

# Shapes by ``model.vit_model``. eva_clip_g: EVA ViT-g as BLIP-2 uses it, without its last
# block (paper).
VIT_SHAPES: dict[str, dict[str, Any]] = {
    "eva_clip_g": {"embed_dim": 1408, "depth": 39, "num_heads": 16, "mlp_ratio": 4.3637},
    "eva_tiny": {"embed_dim": 192, "depth": 6, "num_heads": 6, "mlp_ratio": 4.0},
}


class Float32LayerNorm(nn.LayerNorm):
    """LayerNorm whose arithmetic is float32 whatever its input, as upstream's ``ln_vision``."""

    def forward(self, hidden: Tensor) -> Tensor:
        """Normalise ``[..., C]``; the result has the input's dtype."""
        weight, bias = self.weight.float(), self.bias.float()
        out = nn.functional.layer_norm(
            hidden.float(), self.normalized_shape, weight, bias, self.eps
        )
        return out.to(hidden.dtype)


def build_vision_tower(name: str, image_size: int, drop_path_rate: float = 0.0) -> Eva:
    """Build a randomly initialised tower: image ``[B, 3, H, W]`` to tokens ``[B, 1 + N, C]``.

    There is no norm after the last block: BLIP-2 takes the raw residual stream.

    Raises:
        ConfigError: If the shape is unknown or the image is no multiple of the patch.
    """
    if name not in VIT_SHAPES:
        raise ConfigError(f"model.vit_model '{name}' is unknown; known: {', '.join(VIT_SHAPES)}.")
    if image_size % PATCH_SIZE:
        raise ConfigError(
            f"model.image_size {image_size} is no multiple of the patch size {PATCH_SIZE}; "
            f"use {round(image_size / PATCH_SIZE) * PATCH_SIZE}."
        )
    return Eva(
        img_size=image_size,
        patch_size=PATCH_SIZE,
        qkv_bias=True,
        num_classes=0,
        global_pool="",
        use_post_transformer_norm=False,
        use_fc_norm=False,
        drop_path_rate=drop_path_rate,
        **VIT_SHAPES[name],
    )


def build_ln_vision(width: int) -> Float32LayerNorm:
    """Build the LayerNorm between tower and Q-Former; eps 1e-5 as upstream."""
    return Float32LayerNorm(width, eps=1e-5)


def fit_position_embedding(tower: Eva, embedding: Tensor) -> Tensor:
    """Resize a stored position embedding ``[1, 1 + N, C]`` to the tower's image size.

    Bicubic without antialiasing, as upstream; timm's default differs by up to 2e-2.
    """
    if embedding.shape == cast(Tensor, tower.pos_embed).shape:
        return embedding
    with torch.no_grad():
        resized = resample_abs_pos_embed(
            embedding.float(),
            new_size=list(tower.patch_embed.grid_size),
            num_prefix_tokens=1,
            interpolation="bicubic",
            antialias=False,
        )
    return cast(Tensor, resized).to(embedding.dtype)
