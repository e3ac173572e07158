"""Evaluation files of MiniGPT-4, of SkinGPT-4 and of ours run as they are, on small parts."""

import pytest
import torch

from skingpt4.conversation import load_chat
from skingpt4.prompts import UPSTREAM_SYSTEM
from tests.conftest import PROJECT

SECTIONS = """
datasets:
  cc_sbu_align:
    vis_processor:
      train:
        name: "blip2_image_eval"
        image_size: 224
    text_processor:
      train:
        name: "blip_caption"

run:
  task: image_text_pretrain
"""
MINIGPT4_VICUNA = """
model:
  arch: {arch}
  model_type: {model_type}
  max_txt_len: 160
  end_sym: "###"
  low_resource: True
  prompt_template: '###Human: {{}} ###Assistant: '
  ckpt: 'please set this value to the path of pretrained checkpoint'
"""
MINIGPT4_LLAMA2 = """
model:
  arch: minigpt4
  model_type: pretrain_llama2
  max_txt_len: 160
  end_sym: "</s>"
  low_resource: True
  prompt_template: '[INST] {} [/INST] '
  ckpt: 'please set this value to the path of pretrained checkpoint'
"""
SKINGPT4 = """
model:
  arch: skin_gpt4
  model_type: {model_type}
  freeze_vit: True
  freeze_qformer: True
  max_txt_len: 160
  end_sym: "###"
  prompt_path: "prompts/alignment_skin.txt"
  prompt_template: '{template}'
  ckpt: 'elsewhere/skingpt4_finetune_v4.2_small_class.pth'
"""
INSTRUCTION = "### Instruction: {} ### Response: "
UPSTREAM = {
    "minigpt4_first": MINIGPT4_VICUNA.format(arch="mini_gpt4", model_type="pretrain_vicuna"),
    "minigpt4_vicuna": MINIGPT4_VICUNA.format(arch="minigpt4", model_type="pretrain_vicuna0"),
    "skingpt4_vicuna": SKINGPT4.format(model_type="pretrain_vicuna", template=INSTRUCTION),
    "skingpt4_llama2": SKINGPT4.format(
        model_type="pretrain_llama2_13bchat", template="###Human: {} ###Assistant: "
    ),
    "skingpt4_falcon": SKINGPT4.format(model_type="pretrain_falcon40b", template=INSTRUCTION),
}
OURS = sorted(
    (PROJECT / "eval_configs").glob("skingpt4_eval_*[!yp].yaml")
)  # neither tiny nor llama_cpp
SLOT = "<Img><ImageHere></Img>"
HEAD = f"{UPSTREAM_SYSTEM}###Human: {SLOT} Why?###Assistant:"


@pytest.fixture
def small(llm_folder, small_shapes, tmp_path):
    """Options that put small parts and a checkpoint of upstream's form in the place of large."""

    def options(projection=(32, 16), processor="datasets.cc_sbu_align.vis_processor.train"):
        torch.manual_seed(0)
        tensors = {
            "llama_proj.weight": torch.randn(*projection),
            "llama_proj.bias": torch.zeros(projection[0]),
            "Qformer.bert.embeddings.position_ids": torch.arange(8)[None],
        }
        state = {"model": tensors, "optimizer": {"state": {}}, "scaler": {}, "epoch": 4}
        torch.save(state, tmp_path / "checkpoint_4.pth")
        parts = {
            "image_size": 28,
            "vit_model": "test",
            "vit_weights": "random",
            "qformer": "test",
            "q_former_model": "random",
            "llm_model": llm_folder,
            "ckpt": tmp_path / "checkpoint_4.pth",
            "allow_untrained": True,
        }
        settings = [f"model.{key}={value}" for key, value in parts.items()]
        return [*settings, f"{processor}.image_size=28"]

    return options


def converse(chat):
    """Upload a photo and ask; return the prompt and the ids of the answer."""
    conv, photos = chat.new_conversation(), []
    chat.upload_img(torch.rand(3, 28, 28), conv, photos)
    chat.ask("Why?", conv)
    asked = conv.copy()
    asked.append_message(conv.roles[1], None)
    return asked.get_prompt(), chat.answer(conv, photos, max_new_tokens=4)[1]


@pytest.mark.parametrize("name", UPSTREAM)
def test_upstreams_files_run_unchanged(name, small, tmp_path):
    path = tmp_path / "eval.yaml"
    path.write_text(UPSTREAM[name] + SECTIONS, encoding="utf-8")
    chat = load_chat(path, small(), "cpu")
    prompt, answer = converse(chat)
    # MiniGPT-4's present chat writes a space after the open role.
    assert prompt == (HEAD + " " if name.startswith("minigpt4") else HEAD)
    assert chat.model.end_sym == "###"
    assert len(answer) > 0
    assert chat.model.llama_proj.weight.std() > 0.5


def test_minigpt4_on_llama2_runs_without_a_qformer(small, tmp_path):
    """Four patches of width 32 are one token: its checkpoint's projection is [D, 4 * 32]."""
    path = tmp_path / "eval.yaml"
    path.write_text(MINIGPT4_LLAMA2 + SECTIONS, encoding="utf-8")
    chat = load_chat(path, small(projection=(32, 128)), "cpu")
    prompt, answer = converse(chat)
    assert prompt == f"{UPSTREAM_SYSTEM}<s>[INST] {SLOT} Why? [/INST] "
    assert chat.model.end_sym == "</s>"
    assert chat.model.encode_img(torch.rand(1, 3, 28, 28)).shape == (1, 1, 32)
    assert len(answer) > 0


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
def test_our_files_run(path, small):
    prompt, answer = converse(
        load_chat(path, small(processor="preprocess.vis_processor.eval"), "cpu")
    )
    assert prompt == HEAD
    assert len(answer) > 0


def test_all_three_are_there():
    assert [path.stem.removeprefix("skingpt4_eval_") for path in OURS] == [
        "falcon40b",
        "llama2_13bchat",
        "vicuna",
    ]
