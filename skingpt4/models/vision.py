"""The vision tower: EVA ViT as BLIP-2 has it, or any other of timm's; and the norm that follows it.

A tower turns photos ``[B, 3, H, W]`` into tokens ``[B, P + N, C]``: P prefix tokens (a class token,
registers) and N places of the photo, row by row. Its attributes ``embed_dim`` (C),
``num_prefix_tokens`` (P) and ``num_patches`` (N) say how many.
"""

import difflib
import math
from collections.abc import Mapping
from functools import lru_cache
from importlib import import_module
from typing import Any, cast

import timm
import torch
from einops import rearrange
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import resample_abs_pos_embed
from timm.models import register_model
from timm.models._manipulate import reinit_non_persistent_buffers
from timm.models.eva import Eva, _create_eva
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from skingpt4.common.errors import ConfigError, WeightsError
from skingpt4.common.schema import ModelConfig
from skingpt4.processors.blip_processors import CLIP_MEAN, CLIP_STD

PATCH_SIZE = 14

# How ``model.vit_model`` names a tower of timm's; its own name follows, a tag too.
TIMM = "timm/"

# What timm puts behind a tower's features, by its names: left out here, and in files.
HEADS = ("attn_pool", "classifier", "fc", "fc_norm", "head", "head_dist")

# How the first tensor of EfficientNet-PyTorch's files is called, which the lite packages hold.
EFFICIENTNET_MARK = "_conv_stem.weight"

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


def photo_form(config: ModelConfig) -> dict[str, Any]:
    """Tell which photos the tower takes: ``image_size`` in pixels a side, ``mean`` and ``std``.

    They are timm's own figures, or CLIP's, which EVA has; a size in the config counts.

    Raises:
        ConfigError: If timm knows no such tower.
    """
    form = {"input_size": (3, 224, 224), "mean": CLIP_MEAN, "std": CLIP_STD}  # EVA's, as upstream
    if is_timm(config.vit_model):
        form = _timm_settings(config.vit_model)
    size = config.image_size or form["input_size"][-1]
    return {"image_size": size, "mean": tuple(form["mean"]), "std": tuple(form["std"])}


def is_timm(name: str) -> bool:
    """Tell whether ``model.vit_model`` names a tower of timm's."""
    return name.startswith(TIMM)


class _Tower(Eva):
    """timm's EVA ViT, without its delay on the meta device."""

    num_patches: int

    @property
    def trunk(self) -> nn.Module:
        """What a file of its own fills: all of it."""
        return self

    def init_weights(self, needs_reset: bool = True) -> None:
        """Draw the initial weights."""
        # On the meta device there is nothing to draw, yet timm's way takes seconds there.
        if not cast(Tensor, self.pos_embed).is_meta:
            super().init_weights(needs_reset)


# PanDerm, pre-trained on two million images of skin, is of timm's EVA class, though timm does not
# list it: layer scale, a final norm, ImageNet's colours (its authors' code).
PANDERM = {"patch_size": 16, "init_values": 0.1, "global_pool": "token"}
_PHOTOS = {"input_size": (3, 224, 224), "fixed_input_size": True}
_PHOTOS |= {"mean": IMAGENET_DEFAULT_MEAN, "std": IMAGENET_DEFAULT_STD}
# timm looks for a module's configurations under this name.
default_cfgs = {"panderm_base_patch16_224": _PHOTOS, "panderm_large_patch16_224": _PHOTOS}


@register_model
def panderm_base_patch16_224(pretrained: bool = False, **settings: Any) -> nn.Module:
    """Build PanDerm's smaller tower; timm calls this by its name."""
    shape = {"embed_dim": 768, "depth": 12, "num_heads": 12}
    return _create_eva("panderm_base_patch16_224", pretrained, **PANDERM | shape | settings)


@register_model
def panderm_large_patch16_224(pretrained: bool = False, **settings: Any) -> nn.Module:
    """Build PanDerm's larger tower; timm calls this by its name."""
    shape = {"embed_dim": 1024, "depth": 24, "num_heads": 16}
    return _create_eva("panderm_large_patch16_224", pretrained, **PANDERM | shape | settings)


class TimmTower(nn.Module):
    """Any tower of timm's: a transformer's tokens as they are, a map's places as tokens.

    Args:
        name: ``timm/`` and a name that ``timm.list_models()`` has.
        image_size: Height and width of a photo; position embeddings are made for it.
        drop_path_rate: Share of residual branches left out in training.

    Attributes:
        trunk: timm's model without its head.

    Raises:
        ConfigError: If timm knows no such tower, or it takes no photos of this size.
    """

    def __init__(self, name: str, image_size: int, drop_path_rate: float = 0.0) -> None:
        super().__init__()
        self.num_prefix_tokens, self.num_patches, self.embed_dim = _layout(name, image_size)
        self.trunk = _build_trunk(name, image_size, drop_path_rate)

    def forward(self, image: Tensor) -> Tensor:
        """Turn photos ``[B, 3, H, W]`` into tokens ``[B, P + N, C]``."""
        return _as_tokens(self.trunk, cast(Any, self.trunk).forward_features(image))

    def train(self, mode: bool = True) -> "TimmTower":
        """Switch all but batch norms: a batch of few photos would spoil their running figures."""
        super().train(mode)
        for layer in self.modules():
            if isinstance(layer, _BatchNorm):
                layer.eval()
        return self


def _timm_settings(name: str) -> dict[str, Any]:
    """Return timm's own configuration of a tower."""
    own = name.removeprefix(TIMM)
    if not timm.is_model(own):
        near = difflib.get_close_matches(own, timm.list_models(), cutoff=0.0)
        raise ConfigError(
            f"model.vit_model '{name}' is unknown to timm {timm.__version__}; did you mean "
            f"{', '.join(TIMM + other for other in near)}?"
        )
    return cast(Any, timm.get_pretrained_cfg(own)).to_dict()


def _build_trunk(name: str, image_size: int, drop_path_rate: float) -> nn.Module:
    settings: dict[str, Any] = {"drop_path_rate": drop_path_rate} if drop_path_rate else {}
    # Those without position embeddings take photos of any size, and know no such argument.
    if _timm_settings(name).get("fixed_input_size"):
        settings["img_size"] = image_size
    trunk = timm.create_model(name.removeprefix(TIMM), num_classes=0, **settings)
    for head in HEADS:
        if getattr(trunk, head, None) is not None:
            setattr(trunk, head, nn.Identity())
    return trunk


def _as_tokens(trunk: nn.Module, features: Tensor) -> Tensor:
    """Bring features of any of timm's families into ``[B, P + N, C]``."""
    if features.ndim == 3:
        return features
    channels_last = str(getattr(trunk, "output_fmt", "")).endswith("NHWC")  # Swin alone
    order = "b h w c -> b (h w) c" if channels_last else "b c h w -> b (h w) c"
    return rearrange(features, order)


@lru_cache
def _layout(name: str, image_size: int) -> tuple[int, int, int]:
    """Return how many prefix tokens, places and channels a tower has for photos of a size."""
    # Asked of the tower itself, on the meta device: timm says it in another way in each family.
    _timm_settings(name)
    try:
        with torch.device("meta"):
            trunk = _build_trunk(name, image_size, 0.0).eval()
            photo = torch.empty(1, 3, image_size, image_size)
            features = cast(Any, trunk).forward_features(photo)
            _, count, width = _as_tokens(trunk, features).shape
        patch = getattr(getattr(trunk, "patch_embed", None), "patch_size", (1, 1))[0]
        if features.ndim == 3 and image_size % patch:
            raise ValueError(f"no multiple of its patch size {patch}")
    except Exception as error:  # each family fails in its own way
        reason = " ".join(str(error).split())[:120]
        raise ConfigError(
            f"model.vit_model '{name}' gives no features of photos of {image_size} pixels "
            f"({reason}); change model.image_size, or leave it out for the tower's own."
        ) from None
    prefix = int(getattr(trunk, "num_prefix_tokens", 0)) if features.ndim == 3 else 0
    return prefix, count - prefix, width


def timm_tensors(
    trunk: nn.Module, tensors: Mapping[str, Tensor], path: object
) -> dict[str, Tensor]:
    """Return a file's tensors under timm's names, position embeddings resized, as timm reads it.

    Its own conversion is called, so files of OpenAI's CLIP, OpenCLIP, DINOv2, EVA and others are
    understood; what it leaves of other towers (text) is gone.

    Args:
        trunk: timm's model, perhaps on the meta device.
        tensors: The file's, mapped into memory.
        path: The file, for messages.

    Raises:
        WeightsError: If timm cannot make sense of the file.
    """
    if EFFICIENTNET_MARK in tensors:
        # In timm's order under other names, then the classifier; what is left keeps its own.
        names = [*trunk.state_dict(), "fc.weight", "fc.bias"]
        names += list(tensors)[len(names) :]
        return dict(zip(names, tensors.values(), strict=False))
    # PanDerm's file holds its pre-training's other parts, too.
    if "encoder.cls_token" in tensors:
        own, prefix = tensors, "encoder."
        tensors = {k.removeprefix(prefix): own[k] for k in own if k.startswith(prefix)}
    convert = getattr(import_module(type(trunk).__module__), "checkpoint_filter_fn", None)
    try:
        return dict(convert(dict(tensors), trunk) if convert else tensors)
    except Exception as error:  # each family fails in its own way
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:120]
        raise WeightsError(
            f"The weight file '{path}' does not fit timm's {type(trunk).__name__} ({reason}); "
            "name the tower's own file."
        ) from None


class AbsentTower(nn.Module):
    """Stands for a tower that is not loaded, because photos come as features already.

    Args:
        values: A sample of its weights, from which towers are told apart.
    """

    def __init__(self, values: list[float] | None = None) -> None:
        super().__init__()
        self.values = values

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
) -> _Tower | TimmTower:
    """Build a randomly initialised tower: photos ``[B, 3, H, W]`` to tokens ``[B, P + N, C]``.

    Args:
        name: Row of :data:`VIT_SHAPES`, or ``timm/`` and a name of timm's.
        image_size: Height and width of a photo.
        drop_path_rate: Share of residual branches left out in training.
        dtype: Of the matrices of linear layers and patches; everything else stays float32.
        grad_checkpoint: Compute activations again in the backward pass instead of keeping them.

    Raises:
        ConfigError: If the tower is unknown or takes no photos of this size.
    """
    tower: _Tower | TimmTower
    if is_timm(name):
        tower = TimmTower(name, image_size, drop_path_rate)
        if grad_checkpoint:
            cast(Any, tower.trunk).set_grad_checkpointing(True)
    else:
        tower = _build_eva(name, image_size, drop_path_rate)
        tower.set_grad_checkpointing(grad_checkpoint)
    # As upstream in half precision: norms, biases, position and class tokens stay exact, and under
    # autocast so does the residual stream.
    for layer in tower.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)) and layer.weight.dtype != dtype:
            layer.weight = nn.Parameter(layer.weight.to(dtype))
    return tower


def _build_eva(name: str, image_size: int, drop_path_rate: float) -> _Tower:
    """Build a row of :data:`VIT_SHAPES`."""
    if name not in VIT_SHAPES:
        raise ConfigError(
            f"model.vit_model '{name}' is unknown; known: {', '.join(VIT_SHAPES)}, and '{TIMM}' "
            "with a name of timm's."
        )
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
    tower.num_patches = cast(int, tower.patch_embed.num_patches)
    return tower


def telling_weight(trunk: nn.Module) -> str:
    """Return the name of a weight that any training of the tower moves."""
    return [name for name, value in trunk.named_parameters() if value.ndim > 1][-1]


def fill_buffers(tower: nn.Module, device: torch.device) -> None:
    """Make the buffers that no file holds: rotary angles, indices, EVA's zero bias of the keys."""
    for layer in tower.modules():
        for name, buffer in layer.named_buffers(recurse=False):
            if buffer.is_meta:
                room = torch.empty_like(buffer, device=device)
                layer.register_buffer(name, room, persistent=False)
    reinit_non_persistent_buffers(tower)


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
