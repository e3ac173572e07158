import gc
import weakref

import pytest
import torch
from transformers import DynamicCache

from skingpt4.conversation import chat as chat_module
from skingpt4.conversation.chat import Chat, ConversationCache
from skingpt4.conversation.engines.kv_cache import KvMemory
from skingpt4.conversation.engines.transformers_engine import TransformersEngine

QUESTIONS = ("What is this?", "And why, in a few more words?", "What shall I do?", "For how long?")
SHORT = {"max_new_tokens": 8}


@pytest.fixture
def memories(chat, monkeypatch):
    """Every memory that the engine makes."""
    made = []
    make = chat.engine.new_memory

    def new_memory():
        memory = make()
        made.append(weakref.ref(memory))
        return memory

    monkeypatch.setattr(chat.engine, "new_memory", new_memory)
    return made


@pytest.fixture
def fed(chat, monkeypatch):
    """How many rows each prefill feeds."""
    rows = []
    forward = type(chat.model.llm_model).forward

    def counted(*args, **kwargs):
        if kwargs.get("inputs_embeds") is not None:
            rows.append(kwargs["inputs_embeds"].shape[1])
        return forward(chat.model.llm_model, *args, **kwargs)

    monkeypatch.setattr(chat.model.llm_model, "forward", counted)
    return rows


def alive(memories):
    gc.collect()
    return sum(memory() is not None for memory in memories)


def ask(chat, conv, img_list, question, **settings):
    chat.ask(question, conv)
    return chat.answer(conv, img_list, **(SHORT | settings))[1].tolist()


def test_a_turn_feeds_only_what_is_new(chat, asked, fed):
    conv, img_list = asked
    chat.answer(conv, img_list, **SHORT)
    for question in QUESTIONS[1:]:
        ask(chat, conv, img_list, question)
    whole = fed[0]
    assert len(fed) == 4
    assert max(fed[1:]) < whole / 2


def test_a_photo_in_the_middle_is_new_and_the_same_photo_is_not(
    chat, asked, fed, encoded, other_photo
):
    conv, img_list = asked
    chat.answer(conv, img_list, **SHORT)
    chat.upload_img(other_photo, conv, img_list)
    ask(chat, conv, img_list, QUESTIONS[1])
    chat.upload_img(other_photo.clone(), conv, img_list)
    ask(chat, conv, img_list, QUESTIONS[2])
    assert len(encoded) == 1
    assert [32 < rows < 32 + 80 for rows in fed[1:]] == [True, True], fed


def test_other_photos_under_the_same_words_are_computed_anew(chat, asked, photo, other_photo):
    conv, img_list = asked
    before = conv.copy()
    first = chat.answer(conv, img_list, **SHORT)[1].tolist()
    conv.messages = before.copy().messages
    changed = [chat.model.encode_img(other_photo[None])]
    second = chat.answer(conv, changed, **SHORT)[1].tolist()
    assert second != first
    assert second == chat.answer(before, changed, **SHORT)[1].tolist()


def test_turns_left_out_when_the_context_is_full_change_no_token(chat, asked, fed):
    conv, img_list = asked
    plain = Chat(chat.model, chat.vis_processor)
    plain.engine = TransformersEngine(chat.model)
    plain.engine.new_memory = lambda: None
    chat.answer(conv, img_list, **SHORT)
    for turn in range(5):
        chat.ask(QUESTIONS[turn % 4] * 2, conv)
        alone = plain.answer(conv.copy(), img_list, max_length=260, **SHORT)[1].tolist()
        del fed[:]
        assert chat.answer(conv, img_list, max_length=260, **SHORT)[1].tolist() == alone


def test_a_full_context_is_emptied_by_quarters_so_that_most_turns_compute_little(
    chat, asked, fed, prompts
):
    conv, img_list = asked
    chat.answer(conv, img_list, **SHORT)
    computed, lengths = [], []
    for turn in range(12):
        chat.ask(QUESTIONS[turn % 4], conv)
        del fed[:]
        chat.answer(conv, img_list, max_length=360, **SHORT)
        computed.append(fed[0])
        lengths.append(len(prompts[-1]))
    drops = [i for i in range(1, 12) if lengths[i] < lengths[i - 1]]
    assert len(drops) >= 2
    assert max(lengths) + SHORT["max_new_tokens"] <= 360
    new = [computed[i] for i in range(12) if i not in drops]
    assert len(new) >= 2 * len(drops)
    assert max(new) < 60 < min(computed[i] for i in drops)


def test_beams_and_failures_leave_the_memory_usable(chat, asked, say, monkeypatch):
    conv, img_list = asked
    first = chat.answer(conv.copy(), img_list, **SHORT)[1].tolist()
    assert chat.answer(conv, img_list, num_beams=2, **SHORT)[0]
    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(chat.engine, "_generate", lambda *_: (_ for _ in ()).throw(MemoryError))
        ask(chat, conv, img_list, QUESTIONS[1])
    fresh = chat.new_conversation()
    fresh.add_photo()
    assert ask(chat, fresh, img_list, QUESTIONS[0]) == first


def test_dropping_or_forgetting_a_conversation_frees_its_memory(chat, photo, memories):
    conversations = []
    for _ in range(3):
        conv, img_list = chat.new_conversation(), []
        chat.upload_img(photo, conv, img_list)
        ask(chat, conv, img_list, QUESTIONS[0])
        conversations.append(conv)
    assert alive(memories) == 3
    conversations.pop()
    del conv
    assert alive(memories) == 2
    chat.forget(conversations[0])
    assert alive(memories) == 1
    assert ask(chat, conversations[0], img_list, QUESTIONS[1])
    assert alive(memories) == 2


def test_conversations_that_say_the_same_share_nothing(chat, asked, memories):
    conv, img_list = asked
    twin = conv.copy()
    assert twin == conv
    chat.answer(conv, img_list, **SHORT)
    chat.answer(twin, img_list, **SHORT)
    assert alive(memories) == 2


def test_only_the_most_recent_memories_and_photos_are_kept(chat, photo, memories, monkeypatch):
    monkeypatch.setattr(chat_module, "MAX_MEMORIES", 2)
    monkeypatch.setattr(chat_module, "MAX_PHOTOS", 2)
    conversations = [chat.new_conversation() for _ in range(4)]
    for conv in conversations:
        ask(chat, conv, [], QUESTIONS[0])
    assert alive(memories) == 2
    conv, img_list = conversations[0], []
    for number in range(5):
        chat.upload_img(photo * number, conv, img_list)
    assert len(chat._cache.entry(conv).photos) == 2
    assert len(img_list) == 5


def test_a_conversation_forgotten_during_its_answer_keeps_nothing(chat, asked, memories):
    conv, img_list = asked
    stream = chat.stream_answer(conv, img_list, max_new_tokens=20)
    next(stream)
    chat.forget(conv)
    list(stream)
    del stream
    assert alive(memories) == 0


def test_a_cache_holds_no_conversation(chat):
    cache, conv = ConversationCache(), chat.new_conversation()
    cache.entry(conv)
    reference = weakref.ref(conv)
    del conv
    gc.collect()
    assert reference() is None
    assert not cache._entries


def test_leading_rows_are_shared_as_far_as_they_are_equal():
    rows = torch.arange(12.0).view(4, 3)
    other = rows.clone()
    other[2, 1] += 1e-6
    longer = torch.cat([rows, rows[:1]])
    for prompt, shared in ((longer, 4), (rows, 3), (rows[:3], 2), (other, 2), (rows + 1, 0)):
        memory, cache = KvMemory(), DynamicCache()
        cache.update(torch.rand(1, 2, 4, 4), torch.rand(1, 2, 4, 4), 0)
        memory.keep(cache, rows)
        assert memory.take(prompt).get_seq_length() == shared


def test_a_memory_is_empty_while_it_is_used():
    memory, rows = KvMemory(), torch.rand(5, 3)
    cache = memory.take(rows)
    cache.update(torch.rand(1, 2, 5, 4), torch.rand(1, 2, 5, 4), 0)
    memory.keep(cache, rows)
    assert memory.take(torch.cat([rows, rows])).get_seq_length() == 5
    assert memory.take(rows).get_seq_length() == 0
    memory.keep(cache, rows)
    assert memory.take(rows).get_seq_length() == 4  # one row is left to feed
