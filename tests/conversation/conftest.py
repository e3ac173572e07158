"""The tiny model in conversation, with a language model that can be made to say anything."""

from types import SimpleNamespace

import pytest
import torch

from skingpt4.conversation.chat import Chat
from tests.conftest import enliven


@pytest.fixture
def model(make_model):
    return enliven(make_model(num_query_token=32))


@pytest.fixture
def falcon_model(make_model, falcon_folder):
    return enliven(make_model(llm_model=str(falcon_folder), num_query_token=32))


@pytest.fixture
def tokenizer(model):
    return model.llm_tokenizer


@pytest.fixture
def chat(model):
    return Chat(model, lambda image: torch.zeros(3, 28, 28))


@pytest.fixture
def encoded(model, monkeypatch):
    """The photos that the model encodes, in order."""
    seen = []
    encode = model.encode_img
    monkeypatch.setattr(model, "encode_img", lambda image: seen.append(image) or encode(image))
    return seen


def _noise(seed):
    return torch.randn(3, 28, 28, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def photo():
    return _noise(0)


@pytest.fixture
def other_photo():
    return _noise(1)


@pytest.fixture
def say(monkeypatch):
    """Make a model say given token ids, the last for ever; ``on_step`` is called before each."""

    def start(model, ids, on_step=lambda step: None):
        steps = SimpleNamespace(done=0)
        forward = type(model.llm_model).forward

        def scripted(*args, **kwargs):
            on_step(steps.done)
            output = forward(model.llm_model, *args, **kwargs)
            output.logits = torch.full_like(output.logits, -100.0)
            output.logits[..., ids[min(steps.done, len(ids) - 1)]] = 100.0
            steps.done += 1
            return output

        monkeypatch.setattr(model.llm_model, "forward", scripted)
        return steps

    return start


@pytest.fixture
def asked(chat, photo):
    """A conversation with one photo and one question, and its photos."""
    conv, img_list = chat.new_conversation(), []
    chat.upload_img(photo, conv, img_list)
    chat.ask("What is this?", conv)
    return conv, img_list


@pytest.fixture
def prompts(chat, monkeypatch):
    """The prompts that the engine gets, in order."""
    seen = []
    stream = chat.engine.stream

    def record(prompt, *args):
        seen.append(prompt)
        return stream(prompt, *args)

    monkeypatch.setattr(chat.engine, "stream", record)
    return seen
