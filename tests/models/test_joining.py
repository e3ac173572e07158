"""Image tokens without a Q-Former, and the model that uses them."""

import dataclasses
import re

import pytest
import torch

from skingpt4.check.memory import memory_plan
from skingpt4.common.checkpoint import save_tensors
from skingpt4.common.errors import ConfigError, WeightsError
from skingpt4.export.hf import export_blip2
from skingpt4.models.device import Placement
from skingpt4.models.qformer import join_patches, joined_tokens
from skingpt4.models.skin_gpt4 import SkinGPT4

# What is not named may not be read either: the file does not exist.
JOINED = {"has_qformer": False, "q_former_model": "/no/such/blip2.pth", "image_size": 56}


def projection_of(model, path):
    tensors = {k: v for k, v in model.state_dict().items() if k.startswith("llama_proj.")}
    save_tensors(path, tensors, model.record())
    return str(path)


def test_four_neighbours_are_one_token_and_the_class_token_is_left_out():
    features = torch.arange(2 * 257 * 1408.0).reshape(2, 257, 1408)
    tokens = join_patches(features)
    assert tokens.shape == (2, joined_tokens(256), 5632) == (2, 64, 5632)
    assert torch.equal(tokens[1, 3], features[1, 13:17].flatten())


def test_patches_that_do_not_come_out_even_are_refused(model_config, make_model):
    section = dataclasses.replace(model_config, **{**JOINED, "image_size": 42})
    with pytest.raises(ConfigError, match=r"image_size gives 9 patches.*multiple of the 4"):
        SkinGPT4.skeleton(section)
    assert make_model(image_size=42).image_tokens == 4


def test_photos_stand_in_training_as_many_tokens_as_they_become(make_model):
    model = make_model(**JOINED)
    photos = torch.randn(2, 3, 56, 56)
    assert model.encode_img(photos).shape == (2, 4, 32)
    normed = model.ln_vision(model.visual_encoder(photos))
    expected = model.llama_proj(normed[:, 1:].reshape(2, 4, 128))
    torch.testing.assert_close(model.encode_img(photos), expected)
    model({"image": photos, "text_input": ["Psoriasis.", "Acne."]})["loss"].backward()
    trained = {name for name, p in model.named_parameters() if p.grad is not None}
    assert trained == {"llama_proj.weight", "llama_proj.bias"}


def test_there_is_no_qformer_and_its_file_is_not_read(make_model, model_config):
    model = make_model(**JOINED)
    assert not [k for k in model.state_dict() if k.startswith(("Qformer", "query_tokens"))]
    assert list(model.frozen_parts()) == ["visual_encoder", "ln_vision", "llm_model"]
    assert (model.ln_vision.weight == 1).all()
    assert not model.ln_vision.bias.any()
    assert model.untrained == ["vision tower", "projection"]
    skeleton = SkinGPT4.skeleton(model.config)
    on_cpu = Placement(torch.device("cpu"), torch.float32, torch.float32, "")
    assert "Q-Former" not in [line.part for line in memory_plan(skeleton, on_cpu)]


def test_a_checkpoint_may_bring_the_vision_norm(make_model, tmp_path):
    model = make_model(**JOINED)
    norm = {"ln_vision.weight": torch.full((32,), 2.0), "ln_vision.bias": torch.ones(32)}
    projection = {k: v for k, v in model.state_dict().items() if k.startswith("llama_proj.")}
    save_tensors(tmp_path / "own.safetensors", norm | projection, {})
    loaded = make_model(**JOINED, ckpt=str(tmp_path / "own.safetensors"))
    assert (loaded.ln_vision.weight == 2).all()
    assert loaded.untrained == ["vision tower"]


def test_a_checkpoint_belongs_to_models_with_or_without_a_qformer(make_model, tmp_path):
    joined, queried = make_model(**JOINED), make_model()
    path = projection_of(joined, tmp_path / "joined.safetensors")
    assert make_model(**JOINED, ckpt=path).untrained == ["vision tower"]
    expected = r"trained with no Q-Former, but the config has the Q-Former 'test' with 4 queries;"
    with pytest.raises(WeightsError, match=expected):
        make_model(ckpt=path)
    path = projection_of(queried, tmp_path / "queried.safetensors")
    expected = r"with the Q-Former 'test' with 4 queries, but the config has no Q-Former;"
    with pytest.raises(WeightsError, match=re.escape(expected)):
        make_model(**JOINED, ckpt=path)


def test_blip2_has_a_qformer_so_nothing_is_exported(make_model, tmp_path):
    with pytest.raises(ConfigError, match="without a Q-Former"):
        export_blip2(make_model(**JOINED), tmp_path / "out", torch.float32)
    assert not (tmp_path / "out").exists()
