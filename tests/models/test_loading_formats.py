"""Loading as a whole: BLIP-2 folders, half precision, what is read, drawn and kept in memory."""

import json
import logging
import subprocess
import sys

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2QFormerConfig,
    Blip2VisionConfig,
    LlamaConfig,
)

from skingpt4.common.checkpoint import open_tensors, save_tensors
from skingpt4.common.errors import ConfigError, WeightsError
from skingpt4.models.key_maps import to_lavis_key, translate_eva
from skingpt4.models.qformer import QFORMER_SHAPES
from skingpt4.models.skin_gpt4 import SkinGPT4
from skingpt4.models.vision import VIT_SHAPES, build_vision_tower
from skingpt4.models.weights import CHECKPOINT, OTHER_PARTS, QFORMER, VISION, lay
from tests.llm_families import VOCABULARY

LAST_EPS = 1e-5  # of ln_vision; transformers gives its tower's norms one eps, 1e-6


def photo(number=1):
    return torch.randn(number, 3, 28, 28, generator=torch.Generator().manual_seed(5))


def build_blip2(llm_width=32):
    """Transformers' own BLIP-2 in the test shapes, all weights at random."""
    vision = Blip2VisionConfig(
        hidden_size=32,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=28,
        patch_size=14,
    )
    qformer = Blip2QFormerConfig(encoder_hidden_size=32, **QFORMER_SHAPES["test"])
    text = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=llm_width,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
    )
    config = Blip2Config(
        vision_config=vision.to_dict(),
        qformer_config=qformer.to_dict(),
        text_config=text.to_dict(),
        num_query_tokens=4,
    )
    torch.manual_seed(9)
    blip2 = Blip2ForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in blip2.parameters():
            parameter.normal_(std=0.2)
    blip2.vision_model.post_layernorm.eps = LAST_EPS
    return blip2


@pytest.fixture
def blip2(small_shapes):
    return build_blip2()


@pytest.fixture
def folder(blip2, tmp_path):
    """Its folder, in several shards."""
    blip2.save_pretrained(tmp_path / "blip2", max_shard_size="40KB")
    assert len(list((tmp_path / "blip2").glob("*.safetensors"))) > 3
    return tmp_path / "blip2"


@pytest.fixture
def from_folder(folder):
    return {key: str(folder) for key in ("vit_weights", "q_former_model", "ckpt")}


def transformers_inputs(blip2, image):
    """What transformers computes from a photo: language model inputs."""
    patches = blip2.vision_model(image).last_hidden_state
    queries = blip2.query_tokens.expand(len(image), -1, -1)
    output = blip2.qformer(query_embeds=queries, encoder_hidden_states=patches)
    return blip2.language_projection(output.last_hidden_state)


@torch.no_grad()
def test_a_blip2_folder_computes_what_transformers_computes(make_model, blip2, from_folder):
    model = make_model(**from_folder)
    expected = transformers_inputs(blip2, photo(2))
    torch.testing.assert_close(model.encode_img(photo(2)), expected, rtol=1e-4, atol=1e-5)
    assert model.untrained == []
    attention = model.visual_encoder.blocks[0].attn
    assert attention.k_bias.abs().sum() == 0
    assert attention.v_bias.abs().sum() > 0


@torch.no_grad()
def test_a_bias_on_the_keys_changes_nothing(make_model, blip2, from_folder):
    """It may be left out: transformers, which keeps it, computes the same without it."""
    with_bias = transformers_inputs(blip2, photo())
    for layer in blip2.vision_model.encoder.layers:
        layer.self_attn.qkv.bias[32:64] = 0
    torch.testing.assert_close(transformers_inputs(blip2, photo()), with_bias)


def test_the_projection_of_another_width_is_refused(make_model, small_shapes, tmp_path):
    build_blip2(llm_width=64).save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match=r"a language model 64 wide, but model.llm_model is"):
        make_model(ckpt=str(tmp_path))


def test_parts_that_another_file_gives_are_counted(make_model, folder):
    model, source = make_model(), open_tensors(folder)
    vision, qformer, checkpoint = (
        lay(model, key, source).findings() for key in (VISION, QFORMER, CHECKPOINT)
    )
    assert vision.ok
    assert vision.ignored[OTHER_PARTS] == 2 + 1 + 2 + len(model.Qformer.state_dict())
    assert vision.ignored["language model, which has a folder of its own"] > 0
    assert qformer.ok
    assert checkpoint.ok
    assert OTHER_PARTS not in checkpoint.ignored


def test_findings_need_no_weights(model_config, folder):
    skeleton = SkinGPT4.skeleton(model_config)
    assert all(p.is_meta for p in skeleton.parameters())
    assert lay(skeleton, CHECKPOINT, open_tensors(folder)).findings().ok


def test_only_what_is_needed_is_read(make_model, from_folder, monkeypatch):
    """The language model's shards are opened for their names alone."""
    read = []
    kind = type(open_tensors(from_folder["ckpt"]))
    original = kind.__getitem__
    monkeypatch.setattr(kind, "__getitem__", lambda s, k: read.append(k) or original(s, k))
    make_model(**from_folder)
    assert len(read) > 40
    assert not any(name.startswith("language_model.") for name in read)
    # The two halves of a joint bias are two readings; nothing else is read twice.
    twice = {name for name in read if read.count(name) > 1}
    assert all(name.endswith("qkv.bias") for name in twice)


def public_eva_names(monkeypatch):
    """What the public EVA file holds: 40 blocks, a norm and a head."""
    monkeypatch.setitem(VIT_SHAPES, "public", VIT_SHAPES["eva_clip_g"] | {"depth": 40})
    with torch.device("meta"):
        tower = build_vision_tower("public", 224)
    return [*tower.state_dict(), "norm.weight", "norm.bias", "head.weight", "head.bias"]


def test_the_public_eva_files_names_are_all_accounted_for(monkeypatch):
    translation = translate_eva(public_eva_names(monkeypatch), depth=39)
    assert len(translation.pieces) == 4 + 39 * 13
    assert translation.ignored == {"final norm and head": 4, "blocks beyond the tower's depth": 13}


def save_eva(model, path, image_size=28):
    """An EVA file of the tower's shape, in half precision as the public one."""
    tower = build_vision_tower("test", image_size)
    tensors = model.visual_encoder.state_dict() | {"pos_embed": tower.pos_embed}
    torch.save({name: value.half() for name, value in tensors.items()}, path)
    return str(path)


def save_parts(model, folder):
    """Every part in a file of its own: an EVA, a LAVIS and a checkpoint of ours."""
    state = model.state_dict()
    lavis = {
        to_lavis_key(name): value
        for name, value in state.items()
        if name.startswith(("Qformer.", "query_tokens", "ln_vision."))
    }
    torch.save({"model": lavis}, folder / "blip2.pth")
    projection = {name: state[name] for name in ("llama_proj.weight", "llama_proj.bias")}
    save_tensors(folder / "ckpt.safetensors", projection, {})
    return {
        "vit_weights": save_eva(model, folder / "eva.pth"),
        "q_former_model": str(folder / "blip2.pth"),
        "ckpt": str(folder / "ckpt.safetensors"),
    }


class RandomNumbers(TorchDispatchMode):
    """Counts random numbers drawn for tensors that are really there."""

    def __init__(self):
        super().__init__()
        self.drawn = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        name = func.name().removeprefix("aten::")
        drawing = name.startswith(("normal", "uniform", "rand", "bernoulli", "trunc", "erfinv"))
        if drawing and not result.is_meta:
            self.drawn += result.numel()
        return result


def test_nothing_is_drawn_that_a_file_fills(make_model, tmp_path):
    with RandomNumbers() as numbers:
        model = make_model()
    assert numbers.drawn > sum(p.numel() for p in model.Qformer.parameters())
    files = save_parts(model, tmp_path)
    with RandomNumbers() as numbers:
        loaded = make_model(**files)
    assert numbers.drawn == 0
    assert loaded.untrained == []


def test_a_checkpoint_goes_before_the_parts_files_and_before_random_numbers(make_model, tmp_path):
    model = make_model()
    own = {k: v + 1 for k, v in model.state_dict().items() if not k.startswith("llm_model.")}
    save_tensors(tmp_path / "all.safetensors", own, {})
    ckpt = str(tmp_path / "all.safetensors")
    for files in ({}, {"vit_weights": save_eva(model, tmp_path / "eva.pth")}):
        loaded = make_model(ckpt=ckpt, **files)
        assert loaded.untrained == []
        assert all(torch.equal(loaded.state_dict()[name], own[name]) for name in own)


def test_a_checkpoint_may_fill_a_part_partly(make_model, tmp_path):
    model = make_model()
    filled = {
        "llama_proj.weight": torch.ones(32, 16),
        "llama_proj.bias": torch.ones(32),
        "Qformer.layernorm.bias": torch.full((16,), 7.0),
    }
    save_tensors(tmp_path / "some.safetensors", filled, {})
    loaded = make_model(ckpt=str(tmp_path / "some.safetensors"))
    assert torch.equal(loaded.Qformer.layernorm.bias, filled["Qformer.layernorm.bias"])
    assert loaded.untrained == ["vision tower", "vision norm", "Q-Former", "query tokens"]
    assert not any(p.is_meta for p in [*loaded.parameters(), *loaded.buffers()])
    assert model.Qformer.layernorm.bias.abs().sum() == 0


def test_a_checkpoint_may_hold_the_language_model_too(make_model, tmp_path):
    model = make_model()
    everything = {k: v + 0.5 for k, v in model.state_dict().items()}
    save_tensors(tmp_path / "all.safetensors", everything, {})
    loaded = make_model(ckpt=str(tmp_path / "all.safetensors"))
    name = "model.norm.weight"
    assert torch.equal(loaded.llm_model.get_parameter(name), everything[f"llm_model.{name}"])


def test_a_file_for_another_image_size_is_resized(make_model, tmp_path):
    loaded = make_model(vit_weights=save_eva(make_model(), tmp_path / "eva.pth", image_size=56))
    assert loaded.visual_encoder.pos_embed.shape == (1, 5, 32)


@pytest.mark.parametrize("precision", ["bf16"])
@torch.no_grad()
def test_half_precision_keeps_the_residual_stream_in_float32(make_model, tmp_path, precision):
    exact = make_model()
    files = save_parts(exact, tmp_path)
    exact, half = make_model(**files), make_model(vit_precision=precision, **files)
    kept = {n for n, p in half.visual_encoder.named_parameters() if p.dtype == torch.float32}
    blocks = {"norm1.weight", "norm2.bias", "attn.q_bias", "attn.proj.bias", "mlp.fc1.bias"}
    assert kept >= {"pos_embed", "cls_token"} | {f"blocks.1.{name}" for name in blocks}
    assert half.visual_encoder.blocks[0].mlp.fc1.weight.dtype == torch.bfloat16
    seen = []
    for block in half.visual_encoder.blocks:
        block.register_forward_hook(
            lambda module, args, out: seen.append((args[0].dtype, out.dtype))
        )
        block.norm1.register_forward_hook(lambda module, args, out: seen.append(out.dtype))
    near = half.encode_patches(photo())
    assert set(seen) == {(torch.float32, torch.float32), torch.float32}
    expected = exact.encode_patches(photo())
    assert 0 < (near - expected).norm() / expected.norm() < 1e-2


def test_a_trained_tower_stays_in_float32(make_model):
    assert make_model(freeze_vit=False).vit_dtype == torch.float32


def test_an_empty_name_is_no_random_part(make_model):
    with pytest.raises(ConfigError, match=r"model.vit_weights is empty; name .* or 'random'"):
        make_model(vit_weights="")


def test_what_is_left_out_is_logged_by_rule(make_model, folder, caplog):
    with caplog.at_level(logging.INFO):
        make_model(vit_weights=str(folder))
    assert "left out" in caplog.text
    assert f"{OTHER_PARTS}: " in caplog.text


LOADING = """
import json, re, sys
from pathlib import Path
import psutil, torch
from skingpt4.common.schema import ModelConfig
from skingpt4.models.skin_gpt4 import SkinGPT4
from skingpt4.models.vision import VIT_SHAPES, build_vision_tower
VIT_SHAPES["big"] = {"embed_dim": 512, "depth": 24, "num_heads": 8, "mlp_ratio": 4.0}
small, path = sys.argv[1:]
def load(vit, path):
    return SkinGPT4.from_config(ModelConfig(
        image_size=28, vit_model=vit, vit_weights=path, qformer="tiny", q_former_model="random",
        llm_model="random:tiny"))
load("eva_tiny", small)
Path("/proc/self/clear_refs").write_text("5")  # the peak so far, of imports, is forgotten
before = psutil.Process().memory_info().rss
tower = load("big", path).visual_encoder
status = Path("/proc/self/status").read_text()
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", status).group(1)) * 1024
print(json.dumps([peak - before, sum(p.nbytes for p in tower.parameters())]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")
@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_loading_takes_little_more_memory_than_the_weights(tmp_path, monkeypatch, ending):
    """From a half precision file, as EVA's, to float32: 75 million numbers, 300 MB."""
    big = {"embed_dim": 512, "depth": 24, "num_heads": 8, "mlp_ratio": 4.0}
    monkeypatch.setitem(VIT_SHAPES, "big", big)
    files = []
    for name in ("eva_tiny", "big"):
        with torch.device("meta"):
            shapes = build_vision_tower(name, 28).state_dict()
        tensors = {k: torch.ones(v.shape, dtype=torch.float16) for k, v in shapes.items()}
        files.append(str(tmp_path / f"{name}.{ending}"))
        if ending == "pth":
            torch.save(tensors, files[-1])
        else:
            save_tensors(files[-1], tensors, {})
    command = [sys.executable, "-c", LOADING, *files]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    peak, weights = json.loads(output.splitlines()[-1])
    assert weights > 250e6
    assert peak <= 1.15 * weights
