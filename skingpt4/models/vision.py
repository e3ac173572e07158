"""The vision tower: timm's EVA ViT, and the LayerNorm that follows it."""

import math
from typing import Any, cast

import torch
from timm.layers import resample_abs_pos_embed
from timm.models.eva import Eva
from torch import Tensor, nn

from skingpt4.common.errors import ConfigError

PATCH_SIZE = 14

# Shapes by ``model.vit_model``. eva_clip_g: EVA ViT-g as BLIP-2 uses it, without its last
# block (paper); eva_tiny belongs to the embedded model.
VIT_SHAPES: dict[str, dict[str, Any]] = {
    "eva_clip_g": {"embed_dim": 1408, "depth": 39, "num_heads": 16, "mlp_ratio": 4.3637},
    "eva_tiny": {"embed_dim": 192, "depth": 6, "num_heads": 6, "mlp_ratio": 4.0},
}


class Float32LayerNorm(nn.LayerNorm):
    """LayerNorm whose arithmetic is float32 whatever its input, as upstream's ``ln_vision``.

    Its eps is torch's default of 1e-5, as upstream's is; the tower's own norms have 1e-6.
    """

    def forward(self, hidden: Tensor) -> Tensor:
        """Normalise ``[..., C]``; the result has the input's dtype."""
        # Under autocast the input may be half; the parameters may be, where a file's type is kept.
        weight, bias = self.weight.float(), self.bias.float()
        out = nn.functional.layer_norm(
            hidden.float(), self.normalized_shape, weight, bias, self.eps
        )
        return out.to(hidden.dtype)


class _Tower(Eva):
    """timm's EVA ViT, without its delay on the meta device."""

    def init_weights(self, needs_reset: bool = True) -> None:
        """Draw the initial weights."""
        # On the meta device there is nothing to draw, yet timm's way takes seconds there.
        if not cast(Tensor, self.pos_embed).is_meta:
            super().init_weights(needs_reset)


class AbsentTower(nn.Module):
    """Stands for a tower that is not loaded, because photos come as features already."""

    def forward(self, image: Tensor) -> Tensor:
        """Refuse.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(
            f"The vision tower is not loaded, so {len(image)} photos cannot be encoded; set "
            "run.cache_features=False."
        )


def build_vision_tower(
    name: str,
    image_size: int,
    drop_path_rate: float = 0.0,
    dtype: torch.dtype = torch.float32,
    grad_checkpoint: bool = False,
) -> Eva:
    """Build a randomly initialised tower: photos ``[B, 3, H, W]`` to tokens ``[B, 1 + N, C]``.

    Args:
        name: Row of :data:`VIT_SHAPES`.
        image_size: Height and width of a photo.
        drop_path_rate: Share of residual branches left out in training.
        dtype: Of the matrices of linear layers and patches; everything else stays float32.
        grad_checkpoint: Compute activations again in the backward pass instead of keeping them.

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
    tower = _Tower(
        img_size=image_size,
        patch_size=PATCH_SIZE,
        qkv_bias=True,
        num_classes=0,
        global_pool="",
        # BLIP-2 takes the raw residual stream: there is no norm after the last block.
        use_post_transformer_norm=False,
        use_fc_norm=False,
        drop_path_rate=drop_path_rate,
        **VIT_SHAPES[name],
    )
    tower.set_grad_checkpointing(grad_checkpoint)
    # As upstream in half precision: norms, biases, position and class tokens stay exact, and under
    # autocast so does the residual stream.
    for layer in tower.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)) and layer.weight.dtype != dtype:
            layer.weight = nn.Parameter(layer.weight.to(dtype))
    return tower


def positions_fit(stored: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Tell whether a position embedding ``[1, 1 + N, C]`` can be resized to another square."""
    # Width must agree; 1 + N is a class token and a square of patches.
    if len(stored) != 3 or (stored[0], stored[2]) != (wanted[0], wanted[2]) or stored[1] < 2:
        return False
    return math.isqrt(stored[1] - 1) ** 2 == stored[1] - 1


def fit_position_embedding(embedding: Tensor, wanted: torch.Size) -> Tensor:
    """Resize a stored position embedding ``[1, 1 + N, C]`` to the tower's ``[1, 1 + M, C]``.

    The first of them is the class token's and is not resized.
    """
    if embedding.shape == wanted:
        return embedding
    side = math.isqrt(wanted[1] - 1)  # of the square of patches
    resized = resample_abs_pos_embed(
        embedding.float(),
        new_size=[side, side],
        num_prefix_tokens=1,
        interpolation="bicubic",
        antialias=False,  # as upstream; timm's default, with it, differs by up to 2e-2
    )
    return cast(Tensor, resized).to(embedding.dtype)
