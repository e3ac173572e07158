"""A language model that another program runs: its shapes and embeddings are read, nothing else."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from skingpt4.common.checkpoint import TensorSource, save_tensors
from skingpt4.common.errors import ConfigError, WeightsError
from skingpt4.models.device import Placement
from skingpt4.models.external_llm import load_embeddings
from skingpt4.models.llm import build_meta_llm, load_llm
from tests.llm_families import make_folder

CPU = Placement(torch.device("cpu"), torch.float32, torch.float32)
IDS = torch.tensor([[3, 7, 259], [0, 1, 2]])


def embed(folder):
    llm = build_meta_llm(str(folder))
    load_embeddings(llm, str(folder), CPU)
    assert all(p.is_meta for p in llm.parameters() if p is not llm.get_input_embeddings().weight)
    return llm.get_input_embeddings()(IDS)


def rewritten(llm_folder, folder, rename):
    """Copy the folder with its tensors under other names."""
    shutil.copytree(llm_folder, folder)
    tensors = load_file(folder / "model.safetensors")
    save_file({rename(k): v for k, v in tensors.items()}, folder / "model.safetensors")
    return folder


def as_pickle(folder):
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(tensors, folder / "pytorch_model.bin")


def test_the_vision_side_and_embeddings_are_those_of_the_whole_model(make_model):
    whole, split = make_model(), make_model(engine="vllm")
    photo = torch.randn(1, 3, 28, 28)
    with torch.no_grad():
        assert torch.equal(whole.encode_img(photo), split.encode_img(photo))
        assert torch.equal(whole.embed_tokens(IDS), split.embed_tokens(IDS))
    assert whole.context_length == split.context_length
    assert whole.record() == split.record()
    assert whole.untrained == split.untrained


@pytest.mark.parametrize("prefix", ["", "language_model.", "no base"])
def test_embeddings_are_found_whatever_wrote_the_folder(llm_folder, tmp_path, prefix):
    expected = embed(llm_folder)
    if prefix == "no base":
        folder = rewritten(llm_folder, tmp_path / "llm", lambda name: name.removeprefix("model."))
    else:
        folder = rewritten(llm_folder, tmp_path / "llm", lambda name: prefix + name)
    assert torch.equal(embed(folder), expected)
    as_pickle(folder)
    assert torch.equal(embed(folder), expected)


@pytest.mark.parametrize("family", ["falcon", "qwen2", "gemma3"])
def test_other_families_and_shards(tmp_path, family):
    """Falcon names its embeddings otherwise, Qwen's folder is in shards, Gemma 3 scales them."""
    make_folder(family, tmp_path)
    whole = load_llm(str(tmp_path), CPU)
    assert torch.equal(embed(tmp_path), whole.get_input_embeddings()(IDS))


def test_nothing_else_is_read(llm_folder, monkeypatch):
    read, original = [], TensorSource.__getitem__

    def spy(self, name):
        read.append(name)
        return original(self, name)

    monkeypatch.setattr(TensorSource, "__getitem__", spy)
    embed(llm_folder)
    assert read == ["model.embed_tokens.weight"]


def test_missing_or_other_embeddings_are_named(llm_folder, tmp_path):
    folder = rewritten(llm_folder, tmp_path / "llm", lambda name: f"x.{name}")
    with pytest.raises(WeightsError, match=r"'model.embed_tokens.weight' \[400, 32\], but .* none"):
        embed(folder)
    content = json.loads((llm_folder / "config.json").read_text()) | {"vocab_size": 401}
    shutil.copytree(llm_folder, tmp_path / "other")
    (tmp_path / "other" / "config.json").write_text(json.dumps(content))
    with pytest.raises(WeightsError, match=r"\[401, 32\], but the folder has them as \[400, 32\]"):
        embed(tmp_path / "other")


def test_a_checkpoint_of_another_language_model_is_refused(make_model, llm_folder, tmp_path):
    model = make_model()
    tensors = {f"llama_proj.{k}": v for k, v in model.llama_proj.state_dict().items()}
    save_tensors(tmp_path / "ours.safetensors", tensors, model.record())
    assert make_model(engine="vllm", ckpt=str(tmp_path / "ours.safetensors"))
    other = LlamaForCausalLM(AutoModelForCausalLM.from_pretrained(llm_folder).config)
    shutil.copytree(llm_folder, tmp_path / "other")
    other.save_pretrained(tmp_path / "other")
    with pytest.raises(WeightsError, match=r"'other' has other token embeddings"):
        make_model(
            engine="vllm",
            ckpt=str(tmp_path / "ours.safetensors"),
            llm_model=str(tmp_path / "other"),
        )


def test_a_checkpoint_that_changes_the_language_model_is_refused(make_model, tmp_path):
    model = make_model()
    path = tmp_path / "all.safetensors"
    save_tensors(path, {k: v.clone() for k, v in model.state_dict().items()}, {})
    assert make_model(ckpt=str(path))
    with pytest.raises(WeightsError, match=r"tensors of the language model, which the engine"):
        make_model(engine="vllm", ckpt=str(path))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"engine": "llama_cpp"}, r"llama_cpp runs a \.gguf file and nothing else"),
        ({"engine": "vllm", "llm_model": "a.gguf"}, r"'a\.gguf' and model\.engine 'vllm'"),
        ({"engine": "vllm", "llm_model": "random:tiny"}, r"exists in this process only"),
        ({"engine": "vllm", "freeze_llm": False}, r"model\.freeze_llm is False"),
    ],
)
def test_contradictions_are_told_before_anything_is_read(make_model, changes, sentence):
    with pytest.raises(ConfigError, match=sentence):
        make_model(**changes)


def test_training_is_refused(make_model):
    model = make_model(engine="vllm")
    with pytest.raises(ConfigError, match=r"'vllm' answers only; set model\.engine=transformers"):
        model({"dialogue": [[("Hello", "Hello.")]]})


def test_embeddings_that_the_engine_looks_up_itself_are_missed_clearly(make_model, monkeypatch):
    model = make_model(engine="vllm")
    model.llm_model.to_empty(device="meta")
    with pytest.raises(ConfigError, match=r"are not loaded, because the engine 'vllm' looks them"):
        model.embed_tokens(IDS)
