"""GGUF files of every family: the same tokens, and nothing passed off as another model."""

import importlib
import json
import shutil
import sys
from itertools import chain

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from skingpt4.common.checkpoint import save_tensors
from skingpt4.common.config import Config
from skingpt4.common.errors import ConfigError, WeightsError
from skingpt4.conversation.chat import load_chat
from skingpt4.conversation.engines import Decoding, build_engine
from skingpt4.models import gguf as gguf_file
from skingpt4.models.compatibility import FREQUENT_ROWS, sample
from skingpt4.models.llm import build_meta_llm, llm_config, load_tokenizer
from tests.conftest import PROJECT
from tests.llama_cpp.conftest import CONFIG, LLM
from tests.llm_families import FAMILIES, make_folder
from tests.scripts import load_script, run_here

UNWRITTEN = ("gemma2", "gemma3")


@pytest.fixture(scope="module")
def export():
    from skingpt4.export.gguf import export_gguf

    return export_gguf


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A family's Hugging Face folder, made once."""
    made = {}

    def make(family):
        if family not in made:
            made[family] = tmp_path_factory.mktemp(family)
            make_folder(family, made[family])
        return made[family]

    return make


def answer_ids(engine, prompt):
    stream = engine.stream(engine.prompts.encode(prompt), Decoding(max_new_tokens=12))
    return list(chain.from_iterable(stream))


@pytest.mark.parametrize("family", [name for name in FAMILIES if name not in UNWRITTEN])
def test_a_familys_file_gives_the_same_tokens(family, folder, export, make_model, tmp_path):
    place, path = str(folder(family)), str(tmp_path / "llm.gguf")
    export(place, path, "f32")
    ours = make_model(llm_model=place)
    theirs = make_model(llm_model=path, engine="llama_cpp")
    photo = torch.sin(torch.arange(8 * 32.0).view(1, 8, 32)) * 0.1
    # Short enough for the window of the family "mistral", which llama.cpp does not have.
    prompt = ["Why <Img>", photo, "</Img> me?"]
    ids = answer_ids(build_engine(theirs.config, theirs), prompt)
    assert ids == answer_ids(build_engine(ours.config, ours), prompt)
    assert len(set(ids)) > 1
    assert type(theirs.llm_model) is type(ours.llm_model)
    assert len(theirs.llm_tokenizer) == len(ours.llm_tokenizer)


def test_a_window_is_the_files_context(folder, export, tmp_path):
    export(str(folder("mistral")), tmp_path / "llm.gguf", "f16")
    assert llm_config(str(tmp_path / "llm.gguf")).max_position_embeddings == 64


def test_all_tokens_that_end_an_answer_are_in_the_file(export, tmp_path):
    place = shutil.copytree(LLM, tmp_path / "llm")
    (place / "generation_config.json").write_text('{"eos_token_id": [2, 7]}')
    export(str(place), tmp_path / "llm.gguf", "f16")
    llm = build_meta_llm(str(tmp_path / "llm.gguf"))
    assert llm.generation_config.eos_token_id == [2, 7]


@pytest.mark.parametrize("family", UNWRITTEN)
def test_a_family_that_is_not_written_is_refused(family, folder, export, tmp_path):
    with pytest.raises(ConfigError, match=r"gemma.*known: llama, .*convert_hf_to_gguf"):
        export(str(folder(family)), tmp_path / "llm.gguf", "f32")
    assert not any(tmp_path.iterdir())


def test_kinds_and_positions_that_are_not_written_are_refused(folder, export, tmp_path):
    with pytest.raises(ConfigError, match=r"'q5_1' is no kind.*f32, f16, q8_0, q4_0"):
        export(str(LLM), tmp_path / "llm.gguf", "q5_1")
    scaled = shutil.copytree(folder("llama"), tmp_path / "scaled")
    config = json.loads((scaled / "config.json").read_text())
    config["rope_parameters"] = {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}
    (scaled / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="'linear'"):
        export(str(scaled), tmp_path / "llm.gguf", "f32")


def test_a_folder_that_lacks_a_tensor_is_refused(export, tmp_path):
    broken = shutil.copytree(LLM, tmp_path / "llm")
    tensors = load_file(LLM / "model.safetensors")
    del tensors["model.layers.2.mlp.up_proj.weight"]
    save_file(tensors, broken / "model.safetensors", {"format": "pt"})
    with pytest.raises(
        WeightsError, match=r"'model\.layers\.2\.mlp\.up_proj\.weight' \[512, 192\]"
    ):
        export(str(broken), tmp_path / "llm.gguf", "f32")


def test_the_numbers_are_those_of_the_folder(gguf):
    from gguf import GGUFReader, dequantize

    stored = load_file(LLM / "model.safetensors")
    names = {
        "blk.1.ffn_down.weight": "model.layers.1.mlp.down_proj.weight",
        "token_embd.weight": "model.embed_tokens.weight",
        "output_norm.weight": "model.norm.weight",
    }
    # A step of the largest value in a block: half is rounding, the rest its step's half precision.
    tolerances = {"f32": 0, "f16": 0, "q8_0": 1 / 127, "q4_0": 1 / 8}
    sizes = []
    for kind, tolerance in tolerances.items():
        reader = GGUFReader(gguf(kind))
        tensors = {tensor.name: tensor for tensor in reader.tensors}
        for name, key in names.items():
            got = dequantize(tensors[name].data, tensors[name].tensor_type)
            expected = stored[key].float().numpy()
            assert np.abs(got - expected).max() <= tolerance * np.abs(expected).max()
        sizes.append(gguf(kind).stat().st_size)
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[3] < sizes[0] / 5


def test_a_projection_trained_with_another_model_is_refused(export, folder, gguf, tmp_path):
    other = shutil.copytree(LLM, tmp_path / "llm")
    tensors = load_file(LLM / "model.safetensors")
    tensors["model.embed_tokens.weight"] = tensors["model.embed_tokens.weight"].flip(0)
    save_file(tensors, other / "model.safetensors", {"format": "pt"})
    export(str(other), tmp_path / "other.gguf", "q4_0")

    def load(path):
        return load_chat(CONFIG, ["model.engine=llama_cpp", f"model.llm_model={path}"], "cpu")

    with pytest.raises(WeightsError, match=r"'other\.gguf' has other token embeddings"):
        load(tmp_path / "other.gguf")
    export(str(folder("llama")), tmp_path / "narrow.gguf", "f32")
    with pytest.raises(WeightsError, match="32 wide"):
        load(tmp_path / "narrow.gguf")
    load(gguf("q4_0"))


@pytest.fixture
def foreign(gguf, tmp_path, monkeypatch):
    """A file as others write it: our own metadata is not seen."""
    path = shutil.copyfile(gguf("f32"), tmp_path / "foreign.gguf")
    for name in ("CONFIG_KEY", "TOKENIZER_KEY", "EMBEDDINGS_KEY"):
        monkeypatch.setattr(gguf_file, name, f"absent.{name}")
    yield path
    gguf_file._read_version.cache_clear()


def test_a_file_of_others_is_read_from_its_own_metadata(foreign):
    config, own = llm_config(str(foreign)), llm_config(str(LLM))
    for key in ("model_type", "hidden_size", "num_attention_heads", "vocab_size", "eos_token_id"):
        assert getattr(config, key) == getattr(own, key), key
    tokenizer, expected = load_tokenizer(str(foreign)), load_tokenizer(str(LLM))
    assert tokenizer.get_vocab() == expected.get_vocab()
    stored = load_file(LLM / "model.safetensors")["model.embed_tokens.weight"]
    values = sample(torch.from_numpy(gguf_file.gguf_embeddings(str(foreign))[:FREQUENT_ROWS]))
    assert values == pytest.approx(sample(stored[:FREQUENT_ROWS]))


def test_a_tokenizer_beside_a_file_of_others_is_taken(foreign):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(LLM / name, foreign.parent / name)
    text = "###Human: <Img></Img> Why?###Assistant:"
    expected = load_tokenizer(str(LLM))(text).input_ids
    assert load_tokenizer(str(foreign))(text).input_ids == expected


@pytest.mark.parametrize("damage", ["text", "cut"])
def test_a_damaged_file_is_one_sentence(gguf, tmp_path, damage):
    path = tmp_path / "llm.gguf"
    content = gguf("f32").read_bytes()
    path.write_bytes(b"not a model" if damage == "text" else content[: len(content) // 2])
    with pytest.raises(WeightsError, match=r"llm\.gguf") as raised:
        load_chat(CONFIG, ["model.engine=llama_cpp", f"model.llm_model={path}"], "cpu")
    assert str(raised.value).count("\n") == 0


def test_without_the_extra_the_remedy_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    monkeypatch.delitem(
        sys.modules, "skingpt4.conversation.engines.llama_cpp_runtime", raising=False
    )
    with pytest.raises(ConfigError, match=r"pip install 'skingpt4\[llama_cpp\]'"):
        importlib.import_module("skingpt4.conversation.engines.llama_cpp_runtime")


def test_the_command_writes_a_file(tmp_path):
    output = tmp_path / "deep" / "llm.gguf"
    arguments = ["--llm", LLM, "--kind", "f16", "--output", output]
    assert run_here("weights/export_gguf.py", *arguments) == 0
    assert gguf_file.gguf_embeddings(str(output))
    assert [file.name for file in output.parent.iterdir()] == ["llm.gguf"]


def test_the_shipped_configurations_fit(gguf, small_shapes, folder, export, tmp_path):
    tiny = PROJECT / "eval_configs" / "skingpt4_eval_tiny_llama_cpp.yaml"
    chat = load_chat(tiny, [f"model.llm_model={gguf('q8_0')}"])
    assert chat.model.config.engine == "llama_cpp"
    full = PROJECT / "eval_configs" / "skingpt4_eval_llama2_13bchat_llama_cpp.yaml"
    assert Config.load(full).model.engine == "llama_cpp"
    export(str(folder("llama")), tmp_path / "llm.gguf", "q4_0")
    save_tensors(
        tmp_path / "ckpt.safetensors",
        {"llama_proj.weight": torch.randn(32, 16), "llama_proj.bias": torch.zeros(32)},
        {},
    )
    parts = {
        "image_size": 28,
        "vit_model": "test",
        "vit_weights": "random",
        "qformer": "test",
        "q_former_model": "random",
        "llm_model": tmp_path / "llm.gguf",
        "ckpt": tmp_path / "ckpt.safetensors",
        "allow_untrained": True,
    }
    options = [f"model.{key}={value}" for key, value in parts.items()]
    chat = load_chat(full, [*options, "preprocess.vis_processor.eval.image_size=28"], "cpu")
    conv, photos = chat.new_conversation(), []
    chat.upload_img(torch.rand(3, 28, 28), conv, photos)
    chat.ask("Why?", conv)
    assert len(chat.answer(conv, photos, max_new_tokens=4)[1]) > 0


def test_the_benchmark_measures_an_engine(tmp_path):
    benchmark = load_script("benchmarks/engines.py")
    llm = benchmark.write_folder("random:tiny", tmp_path)
    rows = list(benchmark.rows(llm, ["q8_0"], "http://127.0.0.1:1"))
    assert [row.name.split()[0] for row in rows] == [
        "transformers",
        "transformers",
        "llama.cpp",
        "vLLM",
    ]
    outcome = benchmark.measure(rows[2], tokens=8, repeats=1)
    assert outcome.rate > 0
    assert outcome.later_turn > 0
    assert outcome.peak > 0.1
    assert benchmark.line(rows[2], outcome, outcome.rate).startswith("| llama.cpp q8_0 |")
