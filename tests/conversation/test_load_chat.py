"""The real model class at tiny size, loaded from a configuration as the scripts do."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CompileConfig

from skingpt4.common.errors import ConfigError, UserError
from skingpt4.common.schema import ModelConfig
from skingpt4.conversation import load_chat
from skingpt4.conversation.engines import build_engine
from skingpt4.conversation.engines.transformers_engine import TransformersEngine
from skingpt4.models.skin_gpt4 import SkinGPT4
from skingpt4.processors.blip_processors import Blip2ImageEvalProcessor

SECTION_DATASETS = """
datasets:
  cc_sbu_align:
    vis_processor:
      train:
        name: {name}
        image_size: 56
"""


@pytest.fixture
def write_config(llm_folder, tmp_path):
    def write(more=""):
        path = tmp_path / "eval.yaml"
        path.write_text(
            "model:\n  arch: skin_gpt4\n  image_size: 56\n  vit_model: eva_tiny\n"
            "  vit_weights: random\n  qformer: tiny\n  q_former_model: random\n"
            f"  llm_model: {llm_folder}\n  prompt_style: skingpt4\n"
            f"  allow_untrained: True\n{more}",
            encoding="utf-8",
        )
        return path

    return write


@pytest.fixture
def skin():
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_the_real_model_converses(write_config, skin):
    chat = load_chat(write_config(), device="cpu")
    conv, img_list = chat.new_conversation(), []
    chat.upload_img(skin, conv, img_list)
    chat.ask("What is this?", conv)
    streamed = "".join(chat.stream_answer(conv.copy(), img_list, max_new_tokens=12))
    text, token_ids = chat.answer(conv, img_list, max_new_tokens=12)
    assert text == streamed
    assert len(token_ids) >= 1
    assert img_list[0].shape == (1, 32, 32)
    assert not chat.model.training


def test_the_real_model_tells_photos_apart(write_config, skin):
    chat, conv, img_list = load_chat(write_config(), device="cpu"), None, []
    for photo in (skin, skin.rotate(90), skin):
        conv = chat.new_conversation()
        chat.upload_img(photo, conv, img_list)
    assert torch.equal(img_list[0], img_list[2])
    assert not torch.allclose(img_list[0], img_list[1])


@pytest.mark.parametrize("name", ["blip2_image_eval", "blip2_image_train"])
def test_upstreams_place_for_the_processor_and_never_a_random_crop(write_config, name):
    chat = load_chat(write_config(SECTION_DATASETS.format(name=name)), device="cpu")
    assert isinstance(chat.vis_processor, Blip2ImageEvalProcessor)
    assert chat.vis_processor.image_size == 56


def test_without_a_named_processor_the_models_size_counts(write_config):
    assert load_chat(write_config(), device="cpu").vis_processor.image_size == 56


def test_photos_of_another_size_than_the_towers_are_refused_before_loading(
    write_config, monkeypatch
):
    def refuse(*args, **kwargs):
        raise AssertionError("weights were loaded")

    path = write_config(SECTION_DATASETS.format(name="blip2_image_eval"))
    monkeypatch.setattr(SkinGPT4, "from_config", refuse)
    with pytest.raises(ConfigError, match=r"image_size 56, but the vision tower takes 112"):
        load_chat(path, ["model.image_size=112"], device="cpu")
    with pytest.raises(AssertionError):
        load_chat(path, device="cpu")


def test_a_tower_of_timms_sees_photos_of_its_own_size_and_colours(write_config, skin):
    tower = ["model.vit_model=timm/tf_efficientnet_lite0", "model.image_size=null"]
    chat = load_chat(write_config(), tower, device="cpu")
    processor = chat.vis_processor
    assert (processor.image_size, processor.mean, processor.std) == (224, (0.5,) * 3, (0.5,) * 3)
    conv, img_list = chat.new_conversation(), []
    chat.upload_img(skin, conv, img_list)
    assert img_list[0].shape[:2] == (1, 32)
    section = SECTION_DATASETS.format(name="blip2_image_eval") + "        std: [1, 1, 1]\n"
    path = write_config(section)
    for size, refused in (("null", "image_size 56"), ("56", r"std \[1, 1, 1\]")):
        with pytest.raises(ConfigError, match=f"has {refused}, but the vision tower takes"):
            load_chat(path, [tower[0], f"model.image_size={size}"], device="cpu")


def test_options_reach_the_model(write_config):
    chat = load_chat(write_config(), ["model.notice=drawn images only"], device="cpu")
    assert chat.model.notice.startswith("drawn images only ")


def test_what_a_user_gets_wrong_is_a_user_error(write_config, tmp_path):
    with pytest.raises(ConfigError, match="missing"):
        load_chat(tmp_path / "missing.yaml")
    with pytest.raises(UserError, match="llm_model"):
        load_chat(write_config(), ["model.llm_model=/no/such/folder"], device="cpu")


def test_an_untrained_model_starts_only_when_told_and_says_so(write_config):
    with pytest.raises(ConfigError, match=r"The projection would be untrained .*--allow-untrained"):
        load_chat(write_config(), ["model.allow_untrained=False"], device="cpu")
    notice = load_chat(write_config(), device="cpu").model.notice
    assert notice.startswith("Untrained: vision tower, vision norm, Q-Former, query tokens, proj")


def test_a_checkpoint_does_not_excuse_other_untrained_parts(write_config, tmp_path):
    path = tmp_path / "projection.pth"
    torch.save(
        {"llama_proj.weight": torch.zeros(32, 160), "llama_proj.bias": torch.zeros(32)}, path
    )
    options = [f"model.ckpt={path}", "model.allow_untrained=False"]
    with pytest.raises(ConfigError, match=r"The vision tower and the vision norm and the Q-Former"):
        load_chat(write_config(), options, device="cpu")


def test_the_engine_is_the_one_that_is_named(write_config, tmp_path):
    in_process = load_chat(write_config(), device="cpu")
    assert isinstance(in_process.engine, TransformersEngine)
    assert in_process.engine.compiling is None
    compiled = load_chat(write_config("  compile: True\n"), device="cpu")
    assert compiled.engine.compiling == CompileConfig()
    with pytest.raises(ConfigError, match=r"'llamacpp' is unknown.*transformers, llama_cpp, vllm"):
        build_engine(ModelConfig(engine="llamacpp"), in_process.model)
    server = load_chat(write_config("  engine: vllm\n"), device="cpu")
    assert type(server.engine).__name__ == "VllmEngine"
