"""The vision tower: EVA against its arithmetic, written out plainly; others against timm."""

import importlib

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.nn import functional

from skingpt4.common.checkpoint import save_tensors
from skingpt4.common.errors import ConfigError, WeightsError
from skingpt4.common.schema import ModelConfig
from skingpt4.models.vision import (
    Float32LayerNorm,
    build_vision_tower,
    fit_position_embedding,
    photo_form,
)
from skingpt4.processors.blip_processors import CLIP_MEAN, CLIP_STD

HEADS = 2

# By timm's name: size in pixels, prefix tokens, places, width, as their papers have them.
FAMILIES = {
    "eva02_tiny_patch14_224": (224, 1, 256, 192),
    "vit_small_patch14_reg4_dinov2": (518, 5, 37 * 37, 384),
    "vit_small_patch16_dinov3": (256, 5, 256, 384),
    "vit_base_patch16_siglip_224": (224, 0, 196, 768),
    "vit_base_patch16_clip_224": (224, 1, 196, 768),
    "vit_tiny_patch16_224": (224, 1, 196, 192),
    "beit_base_patch16_224": (224, 1, 196, 768),
    "panderm_base_patch16_224": (224, 1, 196, 768),
    "efficientnet_lite0": (224, 0, 49, 1280),
    "convnext_atto": (224, 0, 49, 320),
    "swin_tiny_patch4_window7_224": (224, 0, 49, 768),
}
SHALLOW = ("eva02", "vit", "beit", "panderm")  # have as many blocks as are asked for


def scrambled_tower(image_size=28):
    tower = build_vision_tower("test", image_size)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in tower.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return tower.eval()


def attend(x, w, block, heads=HEADS):
    bias = torch.cat([w[block + "attn.q_bias"], torch.zeros(x.shape[-1]), w[block + "attn.v_bias"]])
    qkv = functional.linear(x, w[block + "attn.qkv.weight"], bias)
    q, k, v = qkv.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
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


@pytest.fixture
def shallow(monkeypatch):
    """Give transformers one block, so that they are built in a moment; return the builder."""
    whole = timm.create_model

    def create(name, **settings):
        return whole(name, **settings, **({"depth": 1} if name.startswith(SHALLOW) else {}))

    monkeypatch.setattr("skingpt4.models.vision.timm.create_model", create)
    return create


@pytest.fixture
def tower_file(shallow, tmp_path):
    """Write what timm would publish of a tower, its head included; return the path."""

    def write(name, **changes):
        torch.manual_seed(3)
        tensors = {k: v.contiguous().clone() for k, v in shallow(name).state_dict().items()}
        for key, value in tensors.items():
            if key.endswith(("running_mean", "gamma_1", "pos_embed")):
                value.normal_()
        save_file(tensors | changes, tmp_path / f"{name}.safetensors")
        return str(tmp_path / f"{name}.safetensors")

    return write


def timm_features(name, path, photo, create):
    """What timm itself makes of a photo, with its own loading."""
    model = create(name, **({"img_size": photo.shape[-1]} if name.startswith(SHALLOW) else {}))
    family = importlib.import_module(type(model).__module__)
    convert = getattr(family, "checkpoint_filter_fn", None)
    timm.models.load_checkpoint(model, path, filter_fn=convert)
    with torch.no_grad():
        features = model.eval().forward_features(photo)
    if features.ndim == 3:
        return features
    return features.flatten(1, 2) if name.startswith("swin") else features.flatten(2).mT


@pytest.mark.parametrize("name", FAMILIES)
def test_towers_of_timms_give_tokens_of_their_own_size(shallow, name):
    size, prefix, places, width = FAMILIES[name]
    assert photo_form(ModelConfig(vit_model=f"timm/{name}"))["image_size"] == size
    tower = build_vision_tower(f"timm/{name}", size)
    assert (tower.num_prefix_tokens, tower.num_patches, tower.embed_dim) == (prefix, places, width)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_file_gives_the_features_that_timm_gives(make_model, shallow, tower_file, name):
    path, photo = tower_file(name), torch.randn(2, 3, 224, 224)
    model = make_model(vit_model=f"timm/{name}", vit_weights=path, image_size=224)
    assert "vision tower" not in model.untrained
    assert not any(t.is_meta for t in [*model.parameters(), *model.buffers()])
    with torch.no_grad():
        tokens = model.visual_encoder(photo)
        torch.testing.assert_close(tokens, timm_features(name, path, photo, shallow))
        assert model.encode_img(photo).shape == (2, 4, 32)
        assert not torch.allclose(tokens, tokens.flip(0))


def test_eva_is_what_it_was_and_takes_clips_colours(small_shapes):
    eva = {"image_size": 224, "mean": CLIP_MEAN, "std": CLIP_STD}
    assert photo_form(ModelConfig()) == eva
    assert photo_form(ModelConfig(vit_model="eva_tiny", image_size=112)) == eva | {
        "image_size": 112
    }
    siglip = photo_form(ModelConfig(vit_model="timm/vit_base_patch16_siglip_224"))
    assert siglip == {"image_size": 224, "mean": (0.5,) * 3, "std": (0.5,) * 3}


def test_files_of_other_projects_are_read_as_timm_reads_them(make_model, shallow, tower_file):
    # OpenCLIP's names, beside the text tower; EfficientNet-PyTorch's, in timm's order.
    siglip, lite = "vit_base_patch16_siglip_224", "efficientnet_lite0"
    for name in (siglip, lite):
        plain = tower_file(name)
        tensors = shallow(name).state_dict()
        timm.models.load_checkpoint(model := shallow(name), plain)
        tensors = {k: v.clone() for k, v in model.state_dict().items()}
        if name == siglip:
            renamed = {f"visual.trunk.{key}": value for key, value in tensors.items()}
            renamed["text.token_embedding.weight"] = torch.ones(3, 4)
        else:
            places = {"conv_stem": "_conv_stem", "classifier": "_fc"}
            renamed = {}
            for number, (key, value) in enumerate(tensors.items()):
                part, _, kind = key.rpartition(".")
                renamed[f"{places.get(part, f'_blocks.{number}')}.{kind}"] = value
        path = plain.replace(".safetensors", ".pth")
        torch.save(renamed, path)
        photo = torch.randn(1, 3, 224, 224)
        settings = {"vit_model": f"timm/{name}", "image_size": None}
        loaded = make_model(vit_weights=path, **settings)
        assert "vision tower" not in loaded.untrained
        expected = make_model(vit_weights=plain, **settings)
        with torch.no_grad():
            torch.testing.assert_close(loaded.visual_encoder(photo), expected.visual_encoder(photo))


def test_panderm_equals_the_plain_arithmetic_and_its_file_is_read(make_model, shallow, tmp_path):
    name, photo = "panderm_base_patch16_224", torch.randn(1, 3, 32, 32)
    torch.manual_seed(4)
    w = {k: torch.randn(v.shape) * 0.2 for k, v in shallow(name).state_dict().items()}
    w = {k: v for k, v in w.items() if not k.startswith(("head", "pos_embed"))}
    w["pos_embed"] = torch.randn(1, 5, 768)
    file = {f"encoder.{k}": v for k, v in w.items()} | {"rd_pos_embed": torch.ones(3)}
    torch.save({"model": file}, tmp_path / "panderm.pth")
    settings = {"vit_model": f"timm/{name}", "image_size": 32}
    model = make_model(vit_weights=str(tmp_path / "panderm.pth"), **settings)

    def norm(x, name):
        return functional.layer_norm(x, (768,), w[name + ".weight"], w[name + ".bias"], 1e-6)

    patches = functional.conv2d(
        photo, *(w[f"patch_embed.proj.{k}"] for k in ("weight", "bias")), 16
    )
    x = torch.cat([w["cls_token"], patches.flatten(2).mT], dim=1) + w["pos_embed"]
    x = x + w["blocks.0.gamma_1"] * attend(norm(x, "blocks.0.norm1"), w, "blocks.0.", heads=12)
    hidden = norm(x, "blocks.0.norm2")
    for part in ("fc1", "fc2"):
        hidden = hidden if part == "fc1" else functional.gelu(hidden)
        weight, bias = (w[f"blocks.0.mlp.{part}.{kind}"] for kind in ("weight", "bias"))
        hidden = functional.linear(hidden, weight, bias)
    expected = norm(x + w["blocks.0.gamma_2"] * hidden, "norm")
    with torch.no_grad():
        assert relative_error(model.visual_encoder(photo), expected) < 1e-5


@pytest.mark.parametrize(
    ("of", "changes", "sentence"),
    [
        ("vit_tiny_patch16_224", {"surprise": torch.ones(1)}, r"1 unexpected \(surprise\)"),
        (
            "vit_tiny_patch16_224",
            {"cls_token": torch.ones(1, 1, 8)},
            r"1 mis-shaped \(cls_token 1x1x8 for 1x1x192\)",
        ),
        ("eva02_tiny_patch14_224", {}, r"3 missing \(.*unexpected \(.*mis-shaped \(blocks"),
        ("efficientnet_lite0", {}, r"missing \(cls_token, pos_embed, .* unexpected"),
    ],
)
def test_a_wrong_file_is_refused_by_key_and_shape(make_model, tower_file, of, changes, sentence):
    path = tower_file(of, **changes)
    with pytest.raises(WeightsError, match=sentence) as refused:
        make_model(vit_model="timm/vit_tiny_patch16_224", vit_weights=path, image_size=None)
    assert "\n" not in str(refused.value)


def test_a_tower_that_learns_keeps_the_running_figures_of_its_norms(make_model, tower_file):
    model = make_model(
        vit_model="timm/efficientnet_lite0",
        vit_weights=tower_file("efficientnet_lite0"),
        image_size=64,
        freeze_vit=False,
    ).train()
    before = {name: buffer.clone() for name, buffer in model.visual_encoder.named_buffers()}
    model({"image": torch.randn(2, 3, 64, 64), "text_input": ["Plaque.", "Acne."]})[
        "loss"
    ].backward()
    assert model.visual_encoder.trunk.conv_stem.weight.grad.abs().sum() > 0
    assert all(torch.equal(b, before[n]) for n, b in model.visual_encoder.named_buffers())


def test_a_checkpoint_goes_with_the_tower_that_it_was_trained_with(
    make_model, tower_file, tmp_path
):
    name = "vit_tiny_patch16_224"
    settings = {"vit_model": f"timm/{name}", "vit_weights": tower_file(name), "image_size": None}
    model = make_model(**settings)
    projection = {f"llama_proj.{k}": v for k, v in model.llama_proj.state_dict().items()}
    path = str(tmp_path / "ours.safetensors")
    save_tensors(path, projection, model.record())
    assert make_model(**settings, ckpt=path)
    changed = tower_file(name, **{"blocks.0.mlp.fc2.weight": torch.ones(192, 768)})
    with pytest.raises(WeightsError, match=r"tiny_patch16_224', but .* has other weights; name th"):
        make_model(**settings | {"vit_weights": changed}, ckpt=path)
    with pytest.raises(WeightsError, match=r"with the vision tower 'timm/vit_tiny.*tower 'test';"):
        make_model(ckpt=path)


def test_a_cnns_places_are_no_multiple_of_four(make_model, tower_file):
    joined = {"has_qformer": False, "q_former_model": "", "image_size": None}
    with pytest.raises(ConfigError, match=r"gives 49 patches, no multiple of the 4"):
        make_model(vit_model="timm/efficientnet_lite0", vit_weights="random", **joined)
    name = "vit_base_patch16_siglip_224"
    model = make_model(vit_model=f"timm/{name}", vit_weights=tower_file(name), **joined)
    assert model.encode_img(torch.randn(1, 3, 224, 224)).shape == (1, 49, 32)


@pytest.mark.parametrize(
    ("name", "size", "sentence"),
    [
        (
            "timm/efficentnet_lite0",
            224,
            r"unknown to timm .*; did you mean timm/efficientnet_lite0",
        ),
        ("timm/vit_tiny_patch16_224", 100, r"100 pixels \(no multiple of its patch size 16\)"),
        ("timm/swin_tiny_patch4_window7_224", 2, r"gives no features of photos of 2 pixels"),
    ],
)
def test_towers_that_timm_cannot_build_are_refused(name, size, sentence):
    with pytest.raises(ConfigError, match=sentence):
        build_vision_tower(name, size)
