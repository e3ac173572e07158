"""The memory plan, held against arithmetic written out."""

import dataclasses

import pytest
import torch
from transformers import FalconConfig, LlamaConfig

from skingpt4.check.memory import free_gigabytes, kv_cache_gigabytes, memory_plan
from skingpt4.export.gguf import export_gguf
from skingpt4.models.device import Placement
from skingpt4.models.llm import build_meta_llm, key_value_heads, llm_config
from skingpt4.models.skin_gpt4 import SkinGPT4
from tests.llm_families import VOCABULARY

CPU = torch.device("cpu")
FALCON = {"hidden_size": 8192, "num_attention_heads": 128}


def placed(llm_dtype=torch.float32, quantization=""):
    return Placement(CPU, torch.float32, llm_dtype, quantization)


def by_part(plan):
    return {line.part: line for line in plan}


def count(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


def test_the_plan_counts_what_the_loaded_model_holds(model_config, make_model):
    model = make_model()
    plan = by_part(memory_plan(SkinGPT4.skeleton(model_config), placed()))
    assert plan["vision tower"].parameters == count(model.visual_encoder, model.ln_vision)
    queries = model.query_tokens.numel()
    assert plan["Q-Former"].parameters == count(model.Qformer) + queries
    assert plan["projection"].parameters == count(model.llama_proj)
    assert plan["language model"].parameters == count(model.llm_model)
    for line in plan.values():
        assert line.dtype == "float32"
        assert line.gigabytes == pytest.approx(line.parameters * 4 / 1e9)


def test_half_precision_keeps_the_towers_small_tensors_exact(model_config):
    whole = memory_plan(SkinGPT4.skeleton(model_config), placed())
    skeleton = SkinGPT4.skeleton(model_config, torch.float16)
    half = memory_plan(skeleton, placed(torch.bfloat16))
    tower, exact = by_part(half)["vision tower"], by_part(whole)["vision tower"]
    assert tower.dtype == "float16"
    assert exact.gigabytes / 2 < tower.gigabytes < exact.gigabytes
    assert by_part(half)["Q-Former"] == by_part(whole)["Q-Former"]
    ratio = by_part(half)["language model"].gigabytes / by_part(whole)["language model"].gigabytes
    assert ratio == pytest.approx(0.5)


@pytest.mark.parametrize("engine", ["transformers", "llama_cpp"])
def test_a_gguf_file_takes_its_size_where_llama_cpp_maps_it(
    model_config, llm_folder, tmp_path, engine
):
    path = tmp_path / "llm.gguf"
    export_gguf(str(llm_folder), path, "q8_0")
    section = dataclasses.replace(model_config, llm_model=str(path), engine=engine)
    line = by_part(memory_plan(SkinGPT4.skeleton(section), placed()))["language model"]
    size = path.stat().st_size if engine == "llama_cpp" else line.parameters * 4
    assert line.gigabytes == pytest.approx(size / 1e9)


@pytest.mark.parametrize(("kind", "bytes_each"), [("int8", 1), ("nf4", 0.5625)])
def test_quantisation_spares_embeddings_head_and_norms(model_config, kind, bytes_each):
    skeleton = SkinGPT4.skeleton(model_config)
    line = by_part(memory_plan(skeleton, placed(torch.float16, kind)))["language model"]
    layer = 3 * 32 * 32 + 3 * 32 * 64  # keys and values are half as wide
    kept = 2 * VOCABULARY * 32 + 5 * 32
    assert line.parameters == 2 * layer + kept
    assert line.gigabytes == pytest.approx((2 * layer * bytes_each + kept * 2) / 1e9)
    assert line.dtype == f"{kind} and float16"


def test_training_adds_gradients_and_moments_of_what_is_trained(model_config):
    skeleton = SkinGPT4.skeleton(model_config)
    line = memory_plan(skeleton, placed(), training=True)[-1]
    assert line.parameters == 16 * 32 + 32
    assert line.gigabytes == pytest.approx(line.parameters * 12 / 1e9)


def test_full_sizes_are_the_published_ones():
    llama = count(build_meta_llm("random:llama-2-13b"))
    assert llama == pytest.approx(13.02e9, rel=0.01)
    assert count(build_meta_llm("random:falcon-40b")) == pytest.approx(41.3e9, rel=0.02)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("llama-2-13b", 2 * 40 * 40 * 128 * 1000 * 2 / 1e9),
        ("falcon-40b", 2 * 60 * 8 * 64 * 1000 * 2 / 1e9),
    ],
)
def test_the_cache_of_the_papers_models(row, expected):
    config = llm_config(f"random:{row}")
    assert kv_cache_gigabytes(config, torch.bfloat16) == pytest.approx(expected)
    assert kv_cache_gigabytes(config, torch.float32, 500) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("config", "heads"),
    [
        (LlamaConfig(num_attention_heads=32), 32),
        (LlamaConfig(num_attention_heads=32, num_key_value_heads=8), 8),
        (FalconConfig(**FALCON, multi_query=True), 1),
        (FalconConfig(**FALCON, multi_query=False), 128),
        (FalconConfig(**FALCON, num_kv_heads=8, new_decoder_architecture=True), 8),
    ],
)
def test_grouped_heads_are_counted_once(config, heads):
    assert key_value_heads(config) == heads


def test_free_memory_is_some_of_this_machines():
    assert 0 < free_gigabytes(placed()) < 1e5
