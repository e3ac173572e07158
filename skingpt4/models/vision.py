"""The vision tower: timm's EVA ViT, and the LayerNorm that follows it."""

import math
from types import SimpleNamespace
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


class _Tower(Eva):
    """timm's EVA ViT; on the meta device it is built at once, for there is nothing to draw."""

    def init_weights(self, needs_reset: bool = True) -> None:
        """Draw the initial weights (on the meta device timm's way takes seconds)."""
        if not cast(Tensor, self.pos_embed).is_meta:
            super().init_weights(needs_reset)


class AbsentTower(nn.Module):
    """Stands for a tower that is not loaded, because photos come as features already."""

    def __init__(self, tower: Eva) -> None:
        super().__init__()
        self.embed_dim = tower.embed_dim
        self.patch_embed = SimpleNamespace(num_patches=tower.patch_embed.num_patches)

    def forward(self, image: Tensor) -> Tensor:
        """Refuse.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(
            f"The vision tower is not loaded, so {len(image)} photos cannot be encoded; set "
            "run.cache_features=False."
        )


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
    return _Tower(
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


def set_matrix_dtype(tower: Eva, dtype: torch.dtype) -> None:
    """Keep the matrices of linear layers and patches in ``dtype``, everything else in float32.

    As upstream does for half precision: norms, biases, position and class tokens stay exact, and
    under autocast so does the residual stream.
    """
    for layer in tower.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            weight = layer.weight
            layer.weight = nn.Parameter(weight.to(dtype), requires_grad=weight.requires_grad)


def set_key_bias(tower: Eva, device: torch.device) -> None:
    """Put zeros for the keys' bias, a buffer of timm's that no weight file holds."""
    biases = {n: b for n, b in tower.named_buffers() if n.endswith(".k_bias")}
    for name, bias in biases.items():
        attention = tower.get_submodule(name.removesuffix(".k_bias"))
        zeros = torch.zeros(bias.shape, device=device)
        attention.register_buffer("k_bias", zeros, persistent=False)


def positions_fit(stored: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Tell whether a position embedding ``[1, 1 + N, C]`` can be resized to another square."""
    if len(stored) != 3 or (stored[0], stored[2]) != (wanted[0], wanted[2]) or stored[1] < 2:
        return False
    return math.isqrt(stored[1] - 1) ** 2 == stored[1] - 1


def fit_position_embedding(embedding: Tensor, wanted: torch.Size) -> Tensor:
    """Resize a stored position embedding ``[1, 1 + N, C]`` to the tower's ``[1, 1 + M, C]``.

    Bicubic without antialiasing, as upstream; timm's default differs by up to 2e-2.
    """
    if embedding.shape == wanted:
        return embedding
    side = math.isqrt(wanted[1] - 1)
    resized = resample_abs_pos_embed(
        embedding.float(),
        new_size=[side, side],
        num_prefix_tokens=1,
        interpolation="bicubic",
        antialias=False,
    )
    return cast(Tensor, resized).to(embedding.dtype)
