"""The vision tower against the arithmetic of EVA, written out plainly."""

import pytest
import torch
from torch.nn import functional

from skingpt4.common.errors import ConfigError
from skingpt4.models.vision import Float32LayerNorm, build_vision_tower, fit_position_embedding

HEADS = 2


def scrambled_tower(image_size=28):
    tower = build_vision_tower("test", image_size)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in tower.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return tower.eval()


def attend(x, w, block):
    bias = torch.cat([w[block + "attn.q_bias"], torch.zeros(x.shape[-1]), w[block + "attn.v_bias"]])
    qkv = functional.linear(x, w[block + "attn.qkv.weight"], bias)
    q, k, v = qkv.unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
    scores = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1)
    mixed = (scores @ v).transpose(1, 2).flatten(2)
    return functional.linear(mixed, w[block + "attn.proj.weight"], w[block + "attn.proj.bias"])


def reference(w, image, eps=1e-6, approximate="none"):
    """EVA ViT: patches, class token, positions, pre-norm blocks, no final norm."""

    def norm(x, name):
        return functional.layer_norm(x, x.shape[-1:], w[name + ".weight"], w[name + ".bias"], eps)

    patches = functional.conv2d(
        image, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=14
    )
    x = patches.flatten(2).transpose(1, 2)
    x = torch.cat([w["cls_token"].expand(len(x), -1, -1), x], dim=1) + w["pos_embed"]
    for block in ("blocks.0.", "blocks.1."):
        x = x + attend(norm(x, block + "norm1"), w, block)
        hidden = functional.linear(
            norm(x, block + "norm2"), w[block + "mlp.fc1.weight"], w[block + "mlp.fc1.bias"]
        )
        hidden = functional.gelu(hidden, approximate=approximate)
        x = x + functional.linear(hidden, w[block + "mlp.fc2.weight"], w[block + "mlp.fc2.bias"])
    return x


@pytest.fixture
def tower(small_shapes):
    return scrambled_tower()


@pytest.fixture
def image():
    return torch.randn(2, 3, 28, 28, generator=torch.Generator().manual_seed(2))


def relative_error(out, expected):
    return ((out - expected).norm() / expected.norm()).item()


def test_tower_equals_the_plain_arithmetic(tower, image):
    with torch.no_grad():
        out = tower(image)
    assert out.shape == (2, 5, 32)
    assert relative_error(out, reference(tower.state_dict(), image)) < 1e-6


@pytest.mark.parametrize("changed", [{"eps": 1e-2}, {"approximate": "tanh"}])
def test_the_comparison_would_catch_other_arithmetic(tower, image, changed):
    with torch.no_grad():
        out = tower(image)
    assert relative_error(out, reference(tower.state_dict(), image, **changed)) > 1e-5


def test_the_comparison_would_catch_a_lost_bias(tower, image):
    weights = tower.state_dict()
    weights["blocks.0.attn.v_bias"] = torch.zeros(32)
    with torch.no_grad():
        assert relative_error(tower(image), reference(weights, image)) > 1e-4


def test_ln_vision_has_upstreams_eps_and_computes_in_float32():
    norm = Float32LayerNorm(8)
    small = torch.randn(1, 3, 8) * 1e-3  # at this variance an eps of 1e-6 shows plainly
    expected = functional.layer_norm(small, (8,), eps=1e-5)
    torch.testing.assert_close(norm(small), expected)
    assert not torch.allclose(norm(small), functional.layer_norm(small, (8,), eps=1e-6))
    half = Float32LayerNorm(8, eps=1e-5).half()(small.half())
    assert half.dtype == torch.float16


def test_full_size_tower_has_the_papers_figures():
    with torch.device("meta"):
        tower = build_vision_tower("eva_clip_g", 224)
    assert (len(tower.blocks), tower.embed_dim) == (39, 1408)
    assert tower.blocks[0].mlp.fc1.out_features == 6144
    assert tower.pos_embed.shape == (1, 257, 1408)
    assert len(tower.state_dict()) == 4 + 39 * 13


def test_positions_are_resized_without_antialiasing(small_shapes):
    stored = torch.randn(1, 1 + 16, 32)
    small = build_vision_tower("test", 28)
    resized = fit_position_embedding(stored, small.pos_embed.shape)
    grid = stored[:, 1:].reshape(1, 4, 4, 32).permute(0, 3, 1, 2)
    expected = functional.interpolate(grid, (2, 2), mode="bicubic", antialias=False)
    torch.testing.assert_close(resized[:, 1:], expected.flatten(2).transpose(1, 2))
    torch.testing.assert_close(resized[:, :1], stored[:, :1])


def test_unusable_shapes_are_refused():
    with pytest.raises(ConfigError, match=r"no multiple of the patch size 14; use 98"):
        build_vision_tower("eva_tiny", 100)
    with pytest.raises(ConfigError, match=r"'resnet' is unknown; known: eva_clip_g, eva_tiny"):
        build_vision_tower("resnet", 112)
