"""Fixtures shared by the suite: a language model folder and a tiny model, made on the spot."""

import dataclasses
import os
from pathlib import Path

import pytest
import torch

from skingpt4.common.schema import ModelConfig
from skingpt4.models.qformer import QFORMER_SHAPES
from skingpt4.models.skin_gpt4 import SkinGPT4
from skingpt4.models.vision import VIT_SHAPES
from tests.llm_families import make_folder

PROJECT = Path(__file__).resolve().parents[1]


def find_test_data():
    """Return the folder of real photos: named by the environment, or lying beside the project."""
    named = os.environ.get("SKINGPT4_TEST_DATA")
    beside = sorted(PROJECT.parent.glob("*/data/labelled_15class.csv"))
    return Path(named) if named else (beside[0].parent if beside else PROJECT / "no-test-data")


TEST_DATA = find_test_data()


@pytest.fixture(scope="session")
def llm_folder(tmp_path_factory):
    """A Hugging Face folder of a Llama with width 32, holding only a SentencePiece tokenizer."""
    folder = tmp_path_factory.mktemp("llm")
    make_folder("llama", folder, shard_size="1GB")
    return folder


@pytest.fixture(scope="session")
def falcon_folder(tmp_path_factory):
    """The layout of Falcon-40B: grouped heads, a tied head, a tokenizer that adds nothing."""
    folder = tmp_path_factory.mktemp("falcon")
    make_folder("falcon", folder)
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


def enliven(model):
    """Give the vision side numbers that matter, biases and norms too: photos are told apart."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.startswith("llm_model."):
                parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


def interview(chat, photo, questions):
    """Hold one conversation about a photo and return its answers."""
    conv, photos = chat.new_conversation(), []
    chat.upload_img(photo, conv, photos)
    answers = []
    for question in questions:
        chat.ask(question, conv)
        answers.append(chat.answer(conv, photos, max_new_tokens=120)[0])
    return answers
