"""The engine's contract, held by llama.cpp beside the engine ``transformers``."""

import gc
import threading
from itertools import chain

import numpy as np
import pytest
import torch
from PIL import Image

from skingpt4.common.errors import ChatError
from skingpt4.conversation.engines import Decoding
from skingpt4.dermatology import QUESTIONS

SETTINGS = {
    "greedy": {},
    "sampled": {"temperature": 1.0, "seed": 5},
    "top_k": {"temperature": 1.5, "top_k": 7, "top_p": 1.0, "seed": 2},
    "repetition": {"repetition_penalty": 1.5},
    "long": {"min_length": 60},
}


@pytest.fixture
def ask():
    """Begin a conversation about a photo of one colour and ask the first question."""

    def begin(chat, colour=(180, 90, 80), question=QUESTIONS[0]):
        conv, photos = chat.new_conversation(), []
        chat.upload_img(Image.new("RGB", (112, 112), colour), conv, photos)
        chat.ask(question, conv)
        return conv, photos

    return begin


@pytest.fixture
def fed(exact, monkeypatch):
    """Count the rows that llama.cpp takes in."""
    counts = []
    decode = exact.engine.runtime.decode

    def counted(rows, *places):
        counts.append(len(rows))
        return decode(rows, *places)

    monkeypatch.setattr(exact.engine.runtime, "decode", counted)
    return counts


@pytest.mark.parametrize("name", SETTINGS)
def test_each_way_of_choosing_gives_the_same_answer(exact, reference, ask, name):
    settings = {"max_new_tokens": 64, **SETTINGS[name]}
    text, ids = exact.answer(*ask(exact), **settings)
    expected, expected_ids = reference.answer(*ask(reference), **settings)
    assert text == expected
    assert ids.tolist() == expected_ids.tolist()
    assert ids.dtype == expected_ids.dtype


def test_the_pieces_make_up_the_answer(exact, ask):
    pieces = list(exact.stream_answer(*ask(exact), max_new_tokens=64))
    assert len(pieces) > 3
    assert "".join(pieces) == exact.answer(*ask(exact), max_new_tokens=64)[0]
    assert "###" not in "".join(pieces)


def test_a_later_turn_takes_in_only_what_is_new(exact, ask, fed):
    conv, photos = ask(exact)
    exact.answer(conv, photos, max_new_tokens=64)
    first = sum(fed)
    prompt = len(exact.engine.prompts.encode([conv.get_prompt()])) + 32
    exact.ask(QUESTIONS[1], conv)
    fed.clear()
    ids = exact.answer(conv, photos, max_new_tokens=64)[1]
    new = sum(fed) - (len(ids) - 1)
    question = len(exact.engine.prompts.encode([QUESTIONS[1]]))
    assert first > 60
    assert question <= new <= question + 16 < prompt


def test_conversations_that_take_turns_keep_their_rows(exact, reference, ask, fed):
    two = [ask(exact, colour) for colour in ((180, 90, 80), (90, 60, 40))]
    same = [ask(reference, colour) for colour in ((180, 90, 80), (90, 60, 40))]
    for question in QUESTIONS[1:]:
        for (conv, photos), (other, theirs) in zip(two, same, strict=True):
            fed.clear()
            assert (
                exact.answer(conv, photos, max_new_tokens=64)[0]
                == reference.answer(other, theirs, max_new_tokens=64)[0]
            )
            exact.ask(question, conv)
            reference.ask(question, other)
    assert max(fed) < 40  # the third turn of each took no photo in again


def test_a_dropped_conversation_makes_room(exact):
    cache = exact.engine._cache
    encode = exact.engine.prompts.encode
    prompt = encode([f"Question {torch.rand(1).item()}"])
    for _ in range(40):  # more than there are sequences
        memory = exact.engine.new_memory()
        list(exact.engine.stream(prompt, Decoding(max_new_tokens=2), memory=memory))
    assert len(memory.rows) > 2
    sequence = memory.sequence
    assert sequence in cache.taken
    del memory
    gc.collect()
    other = exact.engine.new_memory()
    list(exact.engine.stream(encode(["Another"]), Decoding(max_new_tokens=2), memory=other))
    assert cache.taken == {held.sequence for held in cache.held}
    assert other.sequence in cache.taken


def test_many_conversations_share_a_full_context(exact):
    """Each fills a third of the context: the longest unused one gives way, and none goes wrong."""
    context, encode = exact.engine.context_length, exact.engine.prompts.encode
    third = context // 3 - 40
    prompts = [encode([" ".join([word] * third)]) for word in ("a", "it", "is", "of")]
    lengths = [len(prompt) for prompt in prompts]
    assert sum(lengths) > context > max(lengths) + 8
    decoding = Decoding(max_new_tokens=8)
    memories = [exact.engine.new_memory() for _ in prompts]

    def answers():
        return [
            list(chain.from_iterable(exact.engine.stream(prompt, decoding, memory=memory)))
            for prompt, memory in zip(prompts, memories, strict=True)
        ]

    assert answers() == answers()
    assert sum(len(memory.rows) for memory in memories) <= context
    assert memories[-1].rows


def test_draws_are_those_of_their_seeds(exact, reference, ask, fed):
    settings = {"temperature": 2.0, "max_new_tokens": 48}
    seeds = list(range(20))  # more than are drawn in step
    conv, photos = ask(exact)
    drawn = dict(exact.draw(conv, photos, seeds, **settings))
    expected = dict(reference.draw(*ask(reference), seeds, **settings))
    assert drawn == expected
    assert len(set(drawn.values())) > 3
    assert conv.has_question()
    assert fed.count(32) == 1  # the photo was taken in once


def test_a_draw_that_nobody_reads_on_ends(exact, ask):
    draws = exact.draw(*ask(exact), [0, 1, 2], temperature=1.0)
    next(draws)
    draws.close()
    assert exact.answer(*ask(exact), max_new_tokens=4)[0]


def test_answers_are_as_likely_as_in_this_process(exact, reference, ask):
    answer = reference.answer(*ask(reference))[0]
    conv, photos = ask(exact)
    variants = [[photos[0] * share] for share in (1.0, 0.5, 0.0)]
    ours = exact.log_likelihoods(conv, variants, answer)
    theirs = reference.log_likelihoods(conv, variants, answer)
    assert ours.shape == (3,)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert np.ptp(theirs) > 0.1


def test_stop_ends_an_answer_and_the_conversation_goes_on(exact, ask):
    conv, photos = ask(exact)
    cancel = threading.Event()
    pieces = []
    for piece in exact.stream_answer(conv, photos, cancel=cancel, max_new_tokens=64):
        pieces.append(piece)
        cancel.set()
    assert len("".join(pieces)) < len(exact.answer(*ask(exact), max_new_tokens=64)[0])
    exact.ask(QUESTIONS[1], conv)
    assert exact.answer(conv, photos, max_new_tokens=64)[0]


def test_a_reader_who_leaves_frees_the_turn(exact, ask):
    stream = exact.stream_answer(*ask(exact), max_new_tokens=300, min_length=300)
    next(stream)
    stream.close()
    assert exact.answer(*ask(exact), max_new_tokens=4)[0]


def test_who_waits_can_be_stopped(exact, ask):
    cancel = threading.Event()
    cancel.set()
    go = threading.Event()
    exact.engine._worker.submit(go.wait, 60)
    assert list(exact.stream_answer(*ask(exact), cancel=cancel)) == []
    assert not go.is_set()
    go.set()


def test_several_threads_take_turns(exact, ask):
    colours = [(180, 90, 80), (90, 60, 40), (220, 180, 170), (120, 120, 120)]
    alone = [exact.answer(*ask(exact, colour), max_new_tokens=48)[0] for colour in colours]
    answers = {}

    def answer(number, colour):
        answers[number] = exact.answer(*ask(exact, colour), max_new_tokens=48)[0]

    threads = [threading.Thread(target=answer, args=pair) for pair in enumerate(colours)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [answers[number] for number in range(len(colours))] == alone


def test_after_a_failure_the_conversation_is_whole_and_a_retry_works(exact, ask, monkeypatch):
    conv, photos = ask(exact)
    expected = exact.answer(conv.copy(), photos, max_new_tokens=48)[0]
    from llama_cpp import llama_cpp as api

    with monkeypatch.context() as patch:
        patch.setattr(api, "llama_decode", lambda context, batch: -3)
        with pytest.raises(ChatError, match=r"llama\.cpp could not go on \(code -3\)"):
            exact.answer(conv, photos, max_new_tokens=48)
    assert not conv.has_question()
    exact.ask(QUESTIONS[0], conv)
    assert exact.answer(conv, photos, max_new_tokens=48)[0] == expected


def test_beams_are_refused(exact, ask):
    with pytest.raises(ChatError, match=r"num_beams is 4.*model\.engine=transformers"):
        exact.answer(*ask(exact), num_beams=4)


def test_the_context_is_as_long_as_its_memory_allows(llama_cpp_chat, monkeypatch):
    from skingpt4.conversation.engines import llama_cpp_runtime

    # Keys and values of 4 layers of 4 heads of 48 numbers, in half precision.
    a_row = 2 * 4 * 4 * 48 * 2
    monkeypatch.setattr(llama_cpp_runtime, "CACHE_BYTES", 300 * a_row + 1)
    chat = llama_cpp_chat("q8_0")
    assert chat.engine.context_length == chat.engine.runtime.positions == 300
