"""A tiny model in this process, and the same one behind a server."""

import pytest
import torch
from transformers import LlamaForCausalLM

from skingpt4.conversation.chat import Chat
from skingpt4.conversation.engines import build_engine
from tests.vllm.fake_server import FakeVllm


def to_pixels(photo):
    """Stand for the processor: these tests upload tensors."""
    raise AssertionError("not used")


@pytest.fixture(scope="session")
def llm(llm_folder):
    return LlamaForCausalLM.from_pretrained(llm_folder).eval()


@pytest.fixture
def server(llm):
    fake = FakeVllm(llm)
    yield fake
    fake.stop()


@pytest.fixture
def photos():
    return torch.randn(2, 3, 28, 28, generator=torch.Generator().manual_seed(5))


@pytest.fixture
def in_process(make_model):
    return Chat(make_model(), to_pixels)


@pytest.fixture
def make_chat(make_model):
    """Return a chat whose language model is at an address; more keys of the model may be given."""

    def make(url, **changes):
        model = make_model(**{"engine": "vllm", "engine_url": url} | changes)
        return Chat(model, to_pixels, engine=build_engine(model.config, model))

    return make


@pytest.fixture
def chat(make_chat, server):
    return make_chat(server.url)
