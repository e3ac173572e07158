"""Fixtures shared by the suite: a language model folder and a tiny model, made on the spot."""

import dataclasses
import json
import os
from pathlib import Path

import pytest
import sentencepiece
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from skingpt4.common.schema import ModelConfig
from skingpt4.models.qformer import QFORMER_SHAPES
from skingpt4.models.skin_gpt4 import SkinGPT4
from skingpt4.models.vision import VIT_SHAPES

PROJECT = Path(__file__).resolve().parents[1]


def find_test_data():
    """Return the folder of real photos: named by the environment, or lying beside the project."""
    named = os.environ.get("SKINGPT4_TEST_DATA")
    beside = sorted(PROJECT.parent.glob("*/data/labelled_15class.csv"))
    return Path(named) if named else (beside[0].parent if beside else PROJECT / "no-test-data")


TEST_DATA = find_test_data()
TEXTS = [
    "This could be a skin disease image of psoriasis.",
    "This is a skin disease image with following clinical concepts: Plaque, Crust, Erythema",
    "What's wrong with my skin? Human: Assistant: Describe this image in detail.",
    "Give the following image. You will be able to see the image once I provide it to you.",
]


@pytest.fixture(scope="session")
def llm_folder(tmp_path_factory):
    """A Hugging Face folder of a Llama with width 32, holding only a SentencePiece tokenizer."""
    folder = tmp_path_factory.mktemp("llm")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 20),
        model_prefix=str(folder / "tokenizer"),
        model_type="bpe",
        vocab_size=360,
        hard_vocab_limit=False,
        byte_fallback=True,
        character_coverage=1.0,
        minloglevel=2,
    )
    config = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    torch.manual_seed(0)
    llama = LlamaConfig(
        vocab_size=360,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=512,
        initializer_range=0.2,
    )
    LlamaForCausalLM(llama).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def small_shapes():
    """Register the smallest shapes that still have every kind of part."""
    VIT_SHAPES["test"] = {"embed_dim": 32, "depth": 2, "num_heads": 2, "mlp_ratio": 4.0}
    QFORMER_SHAPES["test"] = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    yield
    del VIT_SHAPES["test"], QFORMER_SHAPES["test"]


@pytest.fixture
def model_config(llm_folder, small_shapes):
    """The ``model`` section of a model that builds in a moment."""
    return ModelConfig(
        image_size=28,
        vit_model="test",
        vit_weights="random",
        qformer="test",
        q_former_model="random",
        num_query_token=4,
        llm_model=str(llm_folder),
        prompt_path=str(PROJECT / "prompts" / "alignment_skin.txt"),
    )


@pytest.fixture
def make_model(model_config):
    """Build the model with some keys changed."""

    def make(**changes):
        torch.manual_seed(0)
        return SkinGPT4.from_config(dataclasses.replace(model_config, **changes)).eval()

    return make


def interview(chat, photo, questions):
    """Hold one conversation about a photo and return its answers."""
    conv, photos = chat.new_conversation(), []
    chat.upload_img(photo, conv, photos)
    answers = []
    for question in questions:
        chat.ask(question, conv)
        answers.append(chat.answer(conv, photos, max_new_tokens=120)[0])
    return answers
