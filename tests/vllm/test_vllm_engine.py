"""The vLLM engine against a server that speaks as vLLM does, and one that misbehaves."""

import asyncio
import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from skingpt4.common.errors import ChatError, ConfigError
from skingpt4.conversation.engines import Decoding
from tests.llm_families import VOCABULARY
from tests.vllm.fake_server import FakeVllm

QUESTIONS = ["What's wrong with my skin?", "Describe this image in detail.", "Is it psoriasis?"]
SHORT = {"max_new_tokens": 12}


def encoded(chat):
    return chat.engine.prompts.encode(["###Human: Describe this image.###Assistant:"])


def begin(chat, photos, question=QUESTIONS[0]):
    conv, embeddings = chat.new_conversation(), []
    for photo in photos:
        chat.upload_img(photo, conv, embeddings)
    chat.ask(question, conv)
    return conv, embeddings


def converse(chat, photos):
    conv, embeddings = begin(chat, photos)
    answers = [chat.answer(conv, embeddings, **SHORT)]
    for question in QUESTIONS[1:]:
        chat.ask(question, conv)
        answers.append(chat.answer(conv, embeddings, **SHORT))
    return [(text, ids.tolist()) for text, ids in answers]


def test_a_conversation_reads_as_in_this_process(chat, in_process, photos):
    assert converse(chat, photos) == converse(in_process, photos)


def test_many_conversations_at_once_do_not_mix(chat, photos):
    cases = [photos, photos[:1], photos[:0]]
    alone = [converse(chat, case) for case in cases]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda case: converse(chat, case), cases * 2))
    assert together == alone * 2


def test_the_language_model_is_not_loaded_here(chat):
    real = [name for name, p in chat.model.llm_model.named_parameters() if not p.is_meta]
    assert real == ["model.embed_tokens.weight"]


def test_a_request_holds_embeddings_and_every_setting(chat, server, photos):
    conv, embeddings = begin(chat, photos)
    settings = {"temperature": 0.5, "top_p": 0.7, "top_k": 9, "seed": 4}
    chat.answer(conv, embeddings, **SHORT, **settings, min_length=3)
    (request,) = server.questions
    assert "prompt" not in request
    assert request["model"] == "served-tiny"
    assert request["cache_salt"]
    expected = settings | {"max_tokens": 12, "min_tokens": 3, "stop": ["###"], "min_p": 0.0}
    assert {name: request[name] for name in expected} == expected
    rows = server.embed(request)
    windows = rows.unfold(0, len(embeddings[0][0]), 1).transpose(1, 2)
    for photo in embeddings:
        assert (windows == photo).all(dim=(1, 2)).any()


def test_pieces_come_while_the_server_still_writes(chat, server, photos):
    server.go_on.clear()
    conv, embeddings = begin(chat, photos)
    stream = chat.stream_answer(conv, embeddings, **SHORT)
    assert next(stream)
    server.go_on.set()
    assert "".join(stream)
    assert conv.messages[-1][0] == conv.roles[1]


def test_stop_frees_the_server_at_once_even_while_it_says_nothing(chat, server, photos):
    server.go_on.clear()
    conv, embeddings = begin(chat, photos)
    cancel = threading.Event()
    stream = chat.stream_answer(conv, embeddings, cancel=cancel, **SHORT)
    shown = [next(stream)]
    cancel.set()
    shown += stream
    assert server.dropped.wait(60)
    assert conv.messages[-1] == [conv.roles[1], "".join(shown)]


def test_closing_the_reader_frees_the_server(chat, server, photos):
    server.go_on.clear()
    stream = chat.stream_answer(*begin(chat, photos), **SHORT)
    next(stream)
    stream.close()
    assert server.dropped.wait(60)


def test_draws_are_requests_of_their_own_seed(chat, server):
    draws = dict(chat.engine.draw(encoded(chat), Decoding(**SHORT), [7, 8, 9], ["###"]))
    assert sorted(request["seed"] for request in server.questions) == [7, 8, 9]
    # The stand-in answers greedily whatever the seed is.
    ids = server.answer(server.questions[0])
    assert draws == {number: list(ids) for number in range(3)}


def test_a_failing_draw_ends_the_others(chat, server):
    server.behaviour = "dies"
    with pytest.raises(ChatError, match="broke off"):
        list(chat.engine.draw(encoded(chat), Decoding(**SHORT), [1, 2, 3]))


@pytest.mark.parametrize(
    ("behaviour", "sentence"),
    [
        ("refuses", r"status 400 \(You must set `--enable-prompt-embeds`.*\); start it with"),
        ("wants a key", r"status 401 \(Unauthorized\); set SKINGPT4_ENGINE_KEY"),
        ("fails", r"status 500 \(EngineCore .*\); look at its log and ask again"),
        ("dies", r"broke off in the middle .* ask again"),
        ("never ends", r"broke off in the middle \(the answer has no end\)"),
        ("aborts", r"broke off in the middle \(the answer has no end\)"),
        ("reports an error", r"broke off \(EngineCore died\); ask again"),
        ("babbles", r"is not what vLLM sends"),
    ],
)
def test_a_failure_is_one_sentence_and_the_retry_works(
    chat, server, in_process, photos, behaviour, sentence
):
    expected = converse(in_process, photos)
    conv, embeddings = begin(chat, photos)
    first = chat.answer(conv, embeddings, **SHORT)
    before = conv.copy()
    server.behaviour = behaviour
    chat.ask(QUESTIONS[1], conv)
    with pytest.raises(ChatError, match=sentence) as caught:
        chat.answer(conv, embeddings, **SHORT)
    assert server.url in str(caught.value)
    assert conv == before
    server.behaviour = "well"
    chat.ask(QUESTIONS[1], conv)
    second = chat.answer(conv, embeddings, **SHORT)
    assert [text for text, _ in (first, second)] == [text for text, _ in expected[:2]]


@pytest.mark.parametrize("card", [{}, {"max_model_len": "long"}])
def test_a_server_that_is_not_vllm_is_one_sentence(chat, server, photos, card):
    server.card = card
    conv, embeddings = begin(chat, photos)
    with pytest.raises(ChatError, match="is not what vLLM sends"):
        chat.answer(conv, embeddings, **SHORT)


def test_all_who_wait_for_a_server_that_is_down_hear_it_together(llm, make_chat, monkeypatch):
    gone = FakeVllm(llm)
    gone.stop()
    chat = make_chat(gone.url)
    complete, compare = chat.engine._complete, chat.engine._compare
    waiting, comparisons, all_wait = [], [], asyncio.Event()

    async def arriving(*request):
        waiting.append(1)
        if len(waiting) == 8:
            all_wait.set()
        await complete(*request)

    async def counted():
        comparisons.append(1)
        await all_wait.wait()
        return await compare()

    monkeypatch.setattr(chat.engine, "_complete", arriving)
    monkeypatch.setattr(chat.engine, "_compare", counted)
    with pytest.raises(ChatError, match="cannot be reached"):
        list(chat.engine.draw(encoded(chat), Decoding(**SHORT), list(range(8))))
    assert len(comparisons) == 1


def test_a_server_that_is_down_may_come_later_and_go_and_come_back(llm, make_chat, photos):
    first = FakeVllm(llm)
    first.stop()
    chat = make_chat(first.url)
    conv, embeddings = begin(chat, photos)
    with pytest.raises(ChatError, match=r"cannot be reached .*; start it"):
        chat.answer(conv, embeddings, **SHORT)
    for _ in range(2):
        server = FakeVllm(llm, port=first.server_port)
        chat.ask(QUESTIONS[0], conv)
        assert chat.answer(conv, embeddings, **SHORT)[0]
        server.stop()


def other_llm(**changes):
    torch.manual_seed(9)
    shape = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
    }
    config = LlamaConfig(**shape | {"num_attention_heads": 2, "initializer_range": 0.2} | changes)
    return LlamaForCausalLM(config).eval()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, r"serves 'served-tiny', which embeds text otherwise than model\.llm_model"),
        ({"hidden_size": 48}, r"hidden_size 48\); start it with model\.llm_model's folder"),
    ],
)
def test_a_server_of_another_model_is_refused(server, chat, llm, photos, changes, sentence):
    server.llm = other_llm(**changes)
    conv, embeddings = begin(chat, photos)
    with pytest.raises(ChatError, match=sentence):
        chat.answer(conv, embeddings, **SHORT)
    assert not server.questions
    server.llm = llm
    chat.ask(QUESTIONS[0], conv)
    assert chat.answer(conv, embeddings, **SHORT)[0]


def test_a_server_with_a_short_context_gets_fewer_turns(chat, server, photos):
    conv, embeddings = begin(chat, photos)
    chat.answer(conv, embeddings, **SHORT)
    length = len(server.embed(server.questions[0]))
    server.card["max_model_len"] = length + 20
    chat.engine = type(chat.engine)(chat.model, chat.model.config)
    chat.ask(QUESTIONS[0], conv)
    with pytest.raises(ChatError, match=r"the server holds \d+; ask again"):
        chat.answer(conv, embeddings, **SHORT)
    chat.ask(QUESTIONS[0], conv)
    chat.answer(conv, embeddings, **SHORT)
    assert len(server.questions) == 2
    assert len(server.embed(server.questions[-1])) <= length


@pytest.mark.parametrize("setting", [{"num_beams": 4}, {"repetition_penalty": 1.2}])
def test_what_vllm_cannot_do_is_refused(chat, setting):
    ((name, value),) = setting.items()
    with pytest.raises(ChatError, match=rf"{name} is {value}, which the engine 'vllm' cannot do"):
        list(chat.engine.stream(encoded(chat), Decoding(**setting)))


def test_likelihoods_are_refused(chat):
    with pytest.raises(ChatError, match=r"model\.engine=transformers"):
        chat.engine.log_likelihoods([encoded(chat)], "Psoriasis.")


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://127.0.0.1", "", "http://"])
def test_what_is_no_address_is_refused_at_once(make_chat, url):
    with pytest.raises(ConfigError, match=r"is no http address; write it as"):
        make_chat(url)


def test_a_public_address_is_refused_unless_allowed(make_chat, photos, monkeypatch):
    chat = make_chat("http://8.8.8.8:8000")
    with pytest.raises(ConfigError, match=r"is a public address, where photos .* would go"):
        chat.answer(*begin(chat, photos))
    allowed = make_chat("http://8.8.8.8:8000", allow_public_engine=True).engine

    async def reached(method, path):
        raise ChatError("reached")

    monkeypatch.setattr(allowed.server, "request", reached)
    with pytest.raises(ChatError, match="reached"):
        list(allowed.stream(encoded(chat), Decoding()))


def test_no_proxy_sees_a_prompt_and_the_servers_key_is_sent(make_chat, server, photos, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("SKINGPT4_ENGINE_KEY", "secret")
    chat = make_chat(server.url)
    assert chat.answer(*begin(chat, photos), **SHORT)[0]
    assert server.keys == ["Bearer secret"]


def test_no_question_or_answer_is_logged(chat, photos, caplog):
    with caplog.at_level(logging.DEBUG):
        answer, _ = chat.answer(*begin(chat, photos), **SHORT)
    assert QUESTIONS[0] not in caplog.text
    assert answer not in caplog.text
