"""llama.cpp's engine where the extra is not installed: its bookkeeping, over a stand-in runtime."""

import importlib
import sys
import threading
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from skingpt4.common.schema import ModelConfig
from skingpt4.conversation.chat import Chat

PACKAGE = "skingpt4.conversation.engines"
SHORT = {"max_new_tokens": 10}


class StandIn:
    """What llama.cpp keeps and computes, by the model in this process."""

    def __init__(self, model):
        self.model = model
        self.positions = model.context_length
        self.sequences = {}
        self.photos = []

    @torch.no_grad()
    def decode(self, rows, positions, sequences, wanted):
        assert len({isinstance(row, int) for row in rows}) == 1
        scores = []
        for row, position, sequence, is_wanted in zip(
            rows, positions, sequences, wanted, strict=True
        ):
            held = self.sequences.setdefault(sequence, [])
            assert position == len(held)
            held.append(
                self.model.embed_tokens(torch.tensor(row))
                if isinstance(row, int)
                else torch.from_numpy(row.values)
            )
            if is_wanted:
                logits = self.model.llm_model(inputs_embeds=torch.stack(held)[None]).logits
                scores.append(logits[0, -1].numpy())
        if not isinstance(rows[0], int):
            self.photos.append(len(rows))
        return np.stack(scores) if scores else np.empty((0, 0))

    def crop(self, sequence, length):
        del self.sequences.setdefault(sequence, [])[length:]
        return True

    def share(self, source, target, length):
        assert not self.sequences.get(target)
        self.sequences[target] = list(self.sequences.get(source, [])[:length])


@pytest.fixture
def llama_chat(chat, monkeypatch):
    api = SimpleNamespace(llama_log_callback=lambda function: function)
    package = ModuleType("llama_cpp")
    package.llama_cpp = api
    monkeypatch.setitem(sys.modules, "llama_cpp", package)
    names = [f"{PACKAGE}.llama_cpp_engine", f"{PACKAGE}.llama_cpp_runtime"]
    real = {name: sys.modules.pop(name, None) for name in names}
    llama_cpp_engine = importlib.import_module(names[0])
    monkeypatch.setattr(llama_cpp_engine, "resolve", lambda name: name)
    monkeypatch.setattr(llama_cpp_engine, "LlamaRuntime", lambda *_, **__: StandIn(chat.model))
    engine = llama_cpp_engine.LlamaCppEngine(chat.model, ModelConfig(llm_model="a.gguf"))
    yield Chat(chat.model, chat.vis_processor, engine=engine)
    for name, module in real.items():  # others must not meet the stand-in
        del sys.modules[name]
        if module:
            sys.modules[name] = module


def begin(chat, photo):
    conv, img_list = chat.new_conversation(), []
    chat.upload_img(photo, conv, img_list)
    chat.ask("What is this?", conv)
    return conv, img_list


@pytest.mark.parametrize(
    "settings", [{}, {"temperature": 1.0, "seed": 5}, {"repetition_penalty": 1.5, "min_length": 9}]
)
def test_turns_are_those_of_this_process_and_feed_only_what_is_new(
    llama_chat, chat, photo, settings
):
    said = []
    for one in (llama_chat, chat):
        conv, img_list = begin(one, photo)
        said.append([one.answer(conv, img_list, **SHORT, **settings)[1].tolist()])
        one.ask("And why?", conv)
        said[-1].append(one.answer(conv, img_list, **SHORT, **settings)[1].tolist())
    assert said[0] == said[1]
    assert llama_chat.engine.runtime.photos == [32]


def test_draws_and_likelihoods_are_those_of_this_process(llama_chat, chat, photo):
    settings = {**SHORT, "temperature": 1.5}
    seeds = list(range(18))  # more than are drawn in step
    ours, theirs = (
        dict(one.draw(*begin(one, photo), seeds, **settings)) for one in (llama_chat, chat)
    )
    assert ours == theirs
    lists = [[torch.full((1, 32, 32), value)] for value in (0.0, 0.1)]
    scores = [
        one.log_likelihoods(begin(one, photo)[0], lists, "A plaque.") for one in (llama_chat, chat)
    ]
    np.testing.assert_allclose(*scores, atol=1e-4)
    cache = llama_chat.engine._cache
    assert not [n for n in range(16, 32) if cache.runtime.sequences.get(n)]


def test_the_longest_unused_conversation_gives_way(llama_chat, photo):
    talks = [begin(llama_chat, photo + number / 50) for number in range(18)]
    answers = [llama_chat.answer(conv.copy(), photos, **SHORT)[0] for conv, photos in talks]
    again = [llama_chat.answer(conv, photos, **SHORT)[0] for conv, photos in talks]
    assert answers == again
    assert len(llama_chat.engine._cache.taken) <= 16
    assert sum(map(len, llama_chat.engine.runtime.sequences.values())) <= 512


def test_who_waits_can_be_stopped_and_who_leaves_frees_the_turn(llama_chat, photo):
    cancel, go = threading.Event(), threading.Event()
    cancel.set()
    llama_chat.engine._worker.submit(go.wait, 60)
    assert list(llama_chat.stream_answer(*begin(llama_chat, photo), cancel=cancel)) == []
    go.set()
    stream = llama_chat.stream_answer(*begin(llama_chat, photo), max_new_tokens=200, min_length=200)
    next(stream)
    stream.close()
    assert llama_chat.answer(*begin(llama_chat, photo), **SHORT)[0]
