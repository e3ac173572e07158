"""Language models: folders, untrained rows, quantisation, and what is said when they fail."""

import importlib.util
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from einops import rearrange
from gguf import GGMLQuantizationType, GGUFWriter, TokenType, dequantize, quantize
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from skingpt4.common.errors import ConfigError, WeightsError
from skingpt4.export.gguf import export_gguf
from skingpt4.models import llm
from skingpt4.models.compatibility import FREQUENT_ROWS, differences, sample
from skingpt4.models.device import Placement
from skingpt4.models.llm import (
    build_meta_llm,
    context_length,
    is_random,
    llm_config,
    load_llm,
    load_tokenizer,
)
from skingpt4.models.random_llm import ROWS
from tests.conftest import TEST_DATA

CPU = torch.device("cpu")
NO_BITSANDBYTES = importlib.util.find_spec("bitsandbytes") is None
PUBLISHED = {"llama-2-13b": "llama-2-13b-chat-hf", "falcon-40b": "falcon-40b-instruct"}


def place(dtype=torch.float32, quantization=""):
    return Placement(CPU, dtype, dtype, quantization)


def ids(text):
    return torch.tensor([load_tokenizer("random:tiny")(text).input_ids])


def test_a_folder_is_loaded_in_the_placements_dtype_and_frozen(llm_folder):
    model = load_llm(str(llm_folder), place(torch.bfloat16))
    assert model.dtype == torch.bfloat16
    assert not any(p.requires_grad for p in model.parameters())
    assert not model.training
    free = load_llm(str(llm_folder), place(), frozen=False)
    assert all(p.requires_grad for p in free.parameters())


def test_a_random_model_is_whole_and_the_same_each_time():
    model, again = load_llm("random:tiny", place()), load_llm("random:tiny", place())
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True)
    )
    assert not any(p.is_meta for p in [*model.parameters(), *model.buffers()])
    weight = model.model.layers[0].self_attn.q_proj.weight
    assert weight.std().item() == pytest.approx(model.config.initializer_range, rel=0.1)
    assert not torch.equal(weight, model.model.layers[1].self_attn.q_proj.weight)
    assert (model.model.norm.weight == 1).all()
    with torch.no_grad():
        assert model(ids("Hello")).logits.isfinite().all()


def test_a_random_model_computes_positions_as_a_loaded_one(tmp_path):
    """Its rotary tables are made by the loader, not drawn."""
    model = load_llm("random:tiny", place())
    model.save_pretrained(tmp_path)
    loaded = load_llm(str(tmp_path), place())
    with torch.no_grad():
        torch.testing.assert_close(model(ids("Hello")).logits, loaded(ids("Hello")).logits)


def test_its_tokenizer_needs_no_file_and_fits_every_row():
    tokenizer = load_tokenizer("random:falcon-40b")
    text = "Plaque, 皮膚 🩺\n"
    assert tokenizer.decode(tokenizer(text).input_ids) == text
    assert tokenizer("</s>").input_ids == [tokenizer.eos_token_id]
    for row in ROWS:
        config = llm_config(f"random:{row}")
        assert len(tokenizer) <= config.vocab_size
        assert (config.bos_token_id, config.eos_token_id) == (1, 2)


@pytest.mark.parametrize("only", [None, "tokenizer.model"])
def test_llama2s_real_tokenizer(only, tmp_path):
    """Whole, and as Vicuna's folders are: with the SentencePiece file only."""
    source = TEST_DATA / "tokenizers" / "llama-2-7b-chat-hf"
    if not source.is_dir():
        pytest.skip("needs Llama 2's tokenizer in SKINGPT4_TEST_DATA")
    for file in source.iterdir():
        if only in (None, file.name) or file.name == "tokenizer_config.json":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    tokenizer = load_tokenizer(str(tmp_path))
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 2, 2)
    assert tokenizer.padding_side == "right"
    assert tokenizer("###Human: Why?", add_special_tokens=False).input_ids == [
        835, 29950, 7889, 29901, 3750, 29973,
    ]  # fmt: skip
    marked = tokenizer("<s>[INST] Why?</s>", add_special_tokens=False).input_ids
    assert (marked[0], marked[-1]) == (1, 2)


@pytest.mark.parametrize("row", PUBLISHED)
def test_rows_are_the_published_shapes(row):
    path = TEST_DATA / "configs" / PUBLISHED[row] / "config.json"
    if not path.is_file():
        pytest.skip("needs published configurations in SKINGPT4_TEST_DATA")
    published = json.loads(path.read_text(encoding="utf-8"))
    ours = llm_config(f"random:{row}").to_dict()
    # Rotary settings have moved to a mapping in transformers 5; the rest is not about shapes.
    about = set(published) & set(ours) - {
        "_name_or_path", "architectures", "auto_map", "bos_token_id", "eos_token_id",
        "torch_dtype", "transformers_version", "rope_scaling", "pretraining_tp",
    }  # fmt: skip
    assert len(about) > 10
    assert {key: ours[key] for key in about} == {key: published[key] for key in about}


@pytest.mark.parametrize(
    ("row", "billions"),
    [("llama-2-7b", 6.74), ("llama-2-13b", 13.02), ("vicuna-13b", 13.02), ("falcon-40b", 41.30)],
)
def test_skeletons_have_all_parameters_and_no_numbers(row, billions):
    skeleton = build_meta_llm(f"random:{row}")
    assert all(p.is_meta for p in skeleton.parameters())
    total = sum(p.numel() for p in skeleton.parameters())
    assert total / 1e9 == pytest.approx(billions, abs=0.01)


def test_a_skeleton_of_a_folder_reads_no_weights(llm_folder, tmp_path):
    (tmp_path / "config.json").write_text((llm_folder / "config.json").read_text())
    assert build_meta_llm(str(tmp_path)).config.hidden_size == 32


def test_only_the_prefix_means_random():
    assert is_random("random:tiny")
    assert not is_random("random")
    with pytest.raises(ConfigError, match=r"'random:gpt' names no known shape.*random:llama-2-13b"):
        llm_config("random:gpt")


def test_the_context_is_the_configs():
    assert context_length(build_meta_llm("random:tiny")) == 2048
    assert context_length(build_meta_llm("random:falcon-40b")) == 2048
    assert context_length(build_meta_llm("random:llama-2-13b")) == 4096


@pytest.mark.parametrize("load", [llm_config, load_tokenizer, build_meta_llm])
def test_bad_names_are_one_sentence(load, tmp_path):
    with pytest.raises(ConfigError, match=r"model.llm_model is empty"):
        load("")
    with pytest.raises(WeightsError, match=r"absent' is no folder; check the path"):
        load(str(tmp_path / "absent"))
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(WeightsError, match=r"could not be loaded \(.*check model.llm_model") as e:
        load(str(tmp_path))
    assert "\n" not in str(e.value)


def test_an_incomplete_folder_is_one_sentence(llm_folder, tmp_path):
    (tmp_path / "config.json").write_text((llm_folder / "config.json").read_text())
    with pytest.raises(WeightsError, match=r"The language model '.*' could not be loaded"):
        load_llm(str(tmp_path), place())
    (tmp_path / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    with pytest.raises(WeightsError, match=r"The language model '.*' could not be loaded"):
        load_llm(str(tmp_path), place())


def test_a_folder_that_lacks_tensors_is_refused(llm_folder, tmp_path):
    """transformers draws them at random and warns."""
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((llm_folder / name).read_bytes())
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["model.norm.weight"], tensors["lm_head.weight"]
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(WeightsError, match=r"lack 2 tensors \(lm_head.weight, model.norm.weight"):
        load_llm(str(tmp_path), place())


def test_weights_that_would_run_code_are_refused(llm_folder, tmp_path):
    (tmp_path / "config.json").write_text((llm_folder / "config.json").read_text())
    torch.save({"model.norm.weight": Path("x")}, tmp_path / "pytorch_model.bin")
    with pytest.raises(WeightsError, match=r"The language model '.*' could not be loaded"):
        load_llm(str(tmp_path), place())


def test_a_missing_shard_is_one_sentence(llm_folder, tmp_path):
    load_llm(str(llm_folder), place()).save_pretrained(tmp_path, max_shard_size="20KB")
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 2
    assert load_llm(str(tmp_path), place()).config.hidden_size == 32
    shards[1].unlink()
    with pytest.raises(WeightsError, match=r"The language model '.*' could not be loaded"):
        load_llm(str(tmp_path), place())


def test_a_repository_is_fetched_before_it_is_loaded(llm_folder, monkeypatch):
    asked = []
    monkeypatch.setattr(llm, "resolve", lambda name: asked.append(name) or str(llm_folder))
    assert load_llm("org/model", place()).config.hidden_size == 32
    assert asked == ["org/model"]


def test_quantisation_without_its_library_names_the_extra(monkeypatch):
    monkeypatch.setattr(llm, "is_bitsandbytes_available", lambda: False)
    with pytest.raises(ConfigError, match=r"'nf4' needs bitsandbytes.*'skingpt4\[quant\]'"):
        load_llm("random:tiny", place(quantization="nf4"))


@pytest.mark.skipif(NO_BITSANDBYTES, reason="needs bitsandbytes (extra 'quant')")
@pytest.mark.parametrize(("kind", "error"), [("int8", 0.05), ("nf4", 0.3)])
@pytest.mark.parametrize("source", ["random", "folder"])
def test_quantised_models_are_small_and_nearly_right(kind, error, source, tmp_path, caplog):
    exact = load_llm("random:tiny", place())
    exact.save_pretrained(tmp_path)
    name = "random:tiny" if source == "random" else str(tmp_path)
    model = load_llm(name, place(quantization=kind))
    assert f"{kind} is no fast way on a CPU" in caplog.text
    weight = model.model.layers[0].mlp.gate_proj.weight
    assert weight.element_size() * weight.numel() <= 64 * 128 * (1 if kind == "int8" else 0.5)
    with torch.no_grad():
        right, ours = exact(ids("Hello")).logits, model(ids("Hello")).logits.float()
    assert 0 < (ours - right).norm() / right.norm() < error
    assert "will be cast" not in caplog.text


@pytest.mark.parametrize("ask", [llm_config, load_tokenizer, build_meta_llm])
def test_a_missing_gguf_file_is_one_sentence(tmp_path, ask):
    with pytest.raises(WeightsError, match=r"absent\.gguf' is no file; check the path"):
        ask(str(tmp_path / "absent.gguf"))


# A SmolLM2 in small: bytes as tokens, ChatML's marks, matrices of 4 bits, embeddings of 8.
SMOL = LlamaConfig(
    vocab_size=260,
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=128,
    tie_word_embeddings=True,
    initializer_range=0.2,
)
GGUF_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def written_out(path):
    """How many folders a file has become."""
    return len([*(path.parent / "cache").glob(f"*/{path.stem}-hf/model.safetensors")])


def gguf_name(name):
    if name.startswith(("model.embed", "model.norm")):
        return "token_embd.weight" if "embed" in name else "output_norm.weight"
    _, _, number, part = name.removesuffix(".weight").split(".", 3)
    return f"blk.{number}.{GGUF_NAMES[part]}.weight"


def byte_tokens():
    """How GPT-2's vocabulary writes the 256 bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    other = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(other)) for byte in range(256)]


@pytest.fixture
def smol(tmp_path, monkeypatch):
    """Write the file as llama.cpp's own converter would; return it and the weights in it."""
    monkeypatch.setenv("SKINGPT4_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(5)
    writer = GGUFWriter(tmp_path / "smol.Q4_1.gguf", "llama")
    writer.add_name("smol")
    writer.add_context_length(128)
    writer.add_embedding_length(64)
    writer.add_block_count(2)
    writer.add_feed_forward_length(96)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(SMOL.rms_norm_eps)
    writer.add_rope_dimension_count(16)
    writer.add_vocab_size(260)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(["<|endoftext|>", "<|im_start|>", "<|im_end|>", *byte_tokens(), "Ġt"])
    writer.add_token_types([TokenType.CONTROL] * 3 + [TokenType.NORMAL] * 257)
    writer.add_token_merges(["Ġ t"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)
    expected = {}
    for name, value in LlamaForCausalLM(SMOL).state_dict().items():
        if name == "lm_head.weight":
            continue  # tied
        heads = {"q_proj": 4, "k_proj": 2}
        count = next((n for part, n in heads.items() if part in name), 0)
        array = value.numpy()
        if count:  # llama.cpp rotates neighbours where transformers rotates halves
            array = rearrange(array, "(h half pair) c -> (h pair half) c", h=count, half=2)
        kind = None
        if array.ndim > 1:
            kind = GGMLQuantizationType.Q8_0 if "embed" in name else GGMLQuantizationType.Q4_1
        stored = np.ascontiguousarray(array) if kind is None else quantize(array, kind)
        writer.add_tensor(gguf_name(name), stored, raw_dtype=kind)
        array = stored if kind is None else dequantize(stored, kind)
        if count:
            array = rearrange(array, "(h pair half) c -> (h half pair) c", h=count, half=2)
        expected[name] = torch.from_numpy(array.copy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tmp_path / "smol.Q4_1.gguf", expected


def test_a_quantised_file_is_written_out_once_and_is_the_model_in_it(smol, monkeypatch):
    path, expected = smol
    model = load_llm(str(path), place())
    assert type(model) is LlamaForCausalLM
    assert not any(p.requires_grad for p in model.parameters())
    assert model.lm_head.weight is model.model.embed_tokens.weight
    state = model.state_dict()
    for name, value in expected.items():  # half precision keeps 11 bits
        torch.testing.assert_close(state[name], value, rtol=2**-11, atol=1e-6)
    # Once it lies there, the file itself is read no more.
    assert written_out(path) == 1
    monkeypatch.setattr("skingpt4.models.gguf.GGUFReader", None)
    again = load_llm(str(path), place(torch.bfloat16))
    assert torch.equal(again.lm_head.weight, model.lm_head.weight.bfloat16())
    tokenizer = load_tokenizer(str(path))
    assert tokenizer("<|im_start|>é t").input_ids == [1, *tokenizer("é t").input_ids]
    assert tokenizer.decode(tokenizer("12 té").input_ids) == "12 té"
    assert tokenizer.eos_token == "<|im_end|>"
    assert context_length(build_meta_llm(str(path))) == 128


def test_the_tokens_are_the_same_before_and_after_it_is_written_out(smol):
    path, _ = smol
    text = "<|im_start|>user\nWhat is it at 12?<|im_end|>\n"
    before, config = load_tokenizer(str(path))(text).input_ids, llm_config(str(path)).to_dict()
    assert written_out(path) == 0
    load_llm(str(path), place())
    assert load_tokenizer(str(path))(text).input_ids == before
    after = llm_config(str(path)).to_dict()
    for key in ("hidden_size", "num_key_value_heads", "rope_parameters", "eos_token_id"):
        assert after[key] == config[key]


def test_a_changed_file_is_written_out_anew(smol):
    path, _ = smol
    for count, changed in ((1, 1), (1, 1), (2, 2)):
        os.utime(path, ns=(changed, changed))
        load_llm(str(path), place())
        assert written_out(path) == count


@pytest.mark.parametrize("kind", ["f32", "q8_0"])
def test_a_file_of_ours_is_the_folder_that_it_was_written_from(
    llm_folder, tmp_path, monkeypatch, kind
):
    monkeypatch.setenv("SKINGPT4_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "llm.gguf"
    export_gguf(str(llm_folder), path, kind)
    ours, theirs = load_llm(str(path), place()), AutoModelForCausalLM.from_pretrained(llm_folder)
    ids = load_tokenizer(str(path))("Plaque.").input_ids
    assert ids == load_tokenizer(str(llm_folder))("Plaque.").input_ids
    with torch.no_grad():
        made, wanted = (one(torch.tensor([ids])).logits for one in (ours, theirs))
    error = ((made - wanted).norm() / wanted.norm()).item()
    assert error == 0 if kind == "f32" else 0 < error < 0.03


def test_a_checkpoint_knows_the_file_that_it_was_trained_with(make_model, smol):
    model = make_model(llm_model=str(smol[0]), prompt_style="smollm2")
    record = model.record()
    assert record["llm"]["embeddings"] == sample(model.llm_model.lm_head.weight[:FREQUENT_ROWS])
    assert differences(record, model.record(), model.config, "a.safetensors") == []
    other = record | {"llm": record["llm"] | {"embeddings": record["llm"]["embeddings"][::-1]}}
    (sentence,) = differences(other, model.record(), model.config, "a.safetensors")
    assert "has other token embeddings" in sentence
    model({"image": torch.randn(1, 3, 28, 28), "text_input": ["Plaque."]})["loss"].backward()
    assert model.llama_proj.weight.grad.abs().sum() > 0


def test_a_file_that_is_no_gguf_is_one_sentence(tmp_path):
    (tmp_path / "llm.gguf").write_bytes(b"not a model")
    with pytest.raises(WeightsError, match=r"damaged or no GGUF file"):
        load_llm(str(tmp_path / "llm.gguf"), place())
