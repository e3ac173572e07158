"""What checkpoints record, and how another language model, Q-Former or prompt is refused."""

import json
import logging
import re

import pytest
import torch

from skingpt4.common.checkpoint import save_tensors
from skingpt4.common.errors import WeightsError
from skingpt4.common.schema import ModelConfig
from skingpt4.models.compatibility import differences, sample, unverifiable
from skingpt4.models.key_maps import to_lavis_key
from tests.llm_families import VOCABULARY

PATH = "step2.safetensors"
CONFIG = ModelConfig(q_former_model="blip2.pth")
VALUES = [0.01 * number for number in range(8)]
VICUNA = {
    "name": "vicuna",
    "architecture": "LlamaForCausalLM",
    "width": 5120,
    "vocabulary": 32000,
    "embeddings": VALUES,
}


@pytest.fixture
def save(make_model, tmp_path):
    """Write a model's projection with its record, changed; return the checkpoint's path."""

    def write(model, **changes):
        record = {**model.record(), **changes}
        state = model.state_dict()
        projection = {name: state[name] for name in ("llama_proj.weight", "llama_proj.bias")}
        save_tensors(tmp_path / PATH, projection, record)
        return str(tmp_path / PATH)

    return write


def test_a_record_survives_json_and_fits_its_own_model(make_model):
    model = make_model(freeze_qformer=False)
    record = json.loads(json.dumps(model.record()))
    assert record["llm"]["architecture"] == "LlamaForCausalLM"
    assert (record["llm"]["width"], record["llm"]["vocabulary"]) == (32, VOCABULARY)
    assert differences(record, model.record(), model.config, PATH) == []
    assert unverifiable(record) == []


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_another_type_of_number_is_the_same_model(make_model, dtype):
    model = make_model(freeze_qformer=False)
    record = model.record()
    model.llm_model.to(dtype)
    model.Qformer.to(dtype)
    rounded = model.record()
    assert rounded["llm"]["embeddings"] != record["llm"]["embeddings"]
    assert rounded["qformer"]["values"] != record["qformer"]["values"]
    assert differences(record, rounded, model.config, PATH) == []


def test_a_fine_tuned_language_model_is_another(make_model):
    model = make_model()
    record = model.record()
    with torch.no_grad():
        model.llm_model.get_input_embeddings().weight.mul_(1.01)
    (sentence,) = differences(record, model.record(), model.config, PATH)
    assert "has other token embeddings" in sentence


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"name": "falcon", "architecture": "FalconForCausalLM"},
            r"language model 'vicuna' \(LlamaForCausalLM, 5120 wide, 32000 tokens\), but "
            r"model.llm_model is 'falcon' \(FalconForCausalLM",
        ),
        ({"width": 8192}, r"5120 wide, .* 8192 wide"),
        ({"vocabulary": 32001}, r"32000 tokens.*32001 tokens"),
        ({"embeddings": VALUES[::-1]}, r"has other token embeddings"),
    ],
)
def test_another_language_model_is_one_sentence(changes, expected):
    record = {"llm": VICUNA}
    assert differences(record, record, CONFIG, PATH) == []
    (sentence,) = differences(record, {"llm": VICUNA | changes}, CONFIG, PATH)
    assert re.search(expected, sentence)


def test_what_either_side_does_not_know_is_not_compared():
    record = {"llm": VICUNA}
    assert differences(record, {"llm": VICUNA | {"embeddings": None}}, CONFIG, PATH) == []
    assert differences({}, record, CONFIG, PATH) == []
    assert unverifiable(record) == ["Q-Former", "prompt form"]


def test_width_alone_tells_upstreams_checkpoints_apart():
    present = {"llm": VICUNA}
    assert differences({}, present, CONFIG, PATH, width=5120) == []
    assert differences({}, present, CONFIG, PATH, width=None) == []
    (sentence,) = differences({}, present, CONFIG, PATH, width=4096)
    assert "4096 wide, but model.llm_model is 'vicuna' (LlamaForCausalLM, 5120 wide" in sentence


def test_samples_are_spread_and_absent_on_the_meta_device():
    values = sample(torch.arange(1000.0))
    assert (len(values), values[0], values[-1]) == (64, 0, 999)
    assert sample(torch.empty(9, device="meta")) is None


def random_qformer(make_model, folder):
    """Write a Q-Former to a file of its own."""
    state = make_model().state_dict()
    mine = ("Qformer.", "query_tokens", "ln_vision.")
    lavis = {to_lavis_key(k): v.half() for k, v in state.items() if k.startswith(mine)}
    torch.save({"model": lavis}, folder / "blip2.pth")
    return str(folder / "blip2.pth")


def test_a_checkpoint_goes_with_the_qformer_that_it_was_trained_with(make_model, save, tmp_path):
    qformer = random_qformer(make_model, tmp_path)
    path = save(make_model(q_former_model=qformer))
    assert make_model(q_former_model=qformer, ckpt=path).untrained == ["vision tower"]
    content = torch.load(qformer, weights_only=True)
    content["model"]["query_tokens"] *= 2
    torch.save(content, qformer)
    with pytest.raises(WeightsError, match=r"'test' with 4 queries, but .* has other weights"):
        make_model(q_former_model=qformer, ckpt=path)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"num_query_token": 8},
            r"'test' with 4 queries, but the config has the Q-Former 'test' with 8 queries",
        ),
        ({"prompt_style": "llama2"}, r"style 'skingpt4' \(template '###Human.*style 'llama2'"),
        ({"prompt_template": "Q: {} A: "}, r"###Assistant: '.*, but .*template 'Q: {} A: '"),
        ({"end_sym": "</s>"}, r"end symbol '###'\), but .* end symbol '</s>'\)"),
    ],
)
def test_what_a_checkpoint_was_not_trained_with_is_refused(make_model, save, changes, expected):
    path = save(make_model())
    with pytest.raises(WeightsError, match=expected):
        make_model(ckpt=path, **changes)


def test_a_refusal_comes_before_the_language_model_is_loaded(make_model, save, monkeypatch):
    path = save(make_model())
    monkeypatch.setattr("skingpt4.models.loading.load_llm", None)
    with pytest.raises(WeightsError, match="prompt style"):
        make_model(ckpt=path, prompt_style="llama2")


def test_a_file_without_a_record_loads_and_says_so(make_model, tmp_path, caplog):
    state = make_model().state_dict()
    projection = {name: state[name] for name in ("llama_proj.weight", "llama_proj.bias")}
    torch.save({"model": projection}, tmp_path / "upstream.pth")
    with caplog.at_level(logging.INFO):
        make_model(ckpt=str(tmp_path / "upstream.pth"))
    expected = "does not say with which language model, Q-Former, prompt form it was trained"
    assert expected in caplog.text
