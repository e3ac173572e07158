import numpy as np
import pytest
import torch

from skingpt4.common.errors import ChatError
from skingpt4.conversation.chat import Chat, load_chat
from skingpt4.conversation.engines import Decoding, Engine
from skingpt4.conversation.engines.transformers_engine import TransformersEngine, _pad_left
from skingpt4.dermatology import QUESTIONS
from skingpt4.synthetic.render import render
from skingpt4.synthetic.sets import held_out_cases
from tests.conftest import PROJECT

SEED = 7
CASES = 30
LONGEST = 120


@pytest.fixture(scope="module")
def embedded():
    return load_chat(PROJECT / "eval_configs" / "skingpt4_eval_tiny.yaml", device="cpu")


@pytest.fixture(scope="module")
def drawings():
    return [render(case) for case in held_out_cases(SEED, per_class=2)]


def one_by_one(chat, photos, **decoding):
    """Hold the four-question conversation about each photo; return texts and token counts."""
    talks = []
    for number, photo in enumerate(photos):
        conv, images = chat.new_conversation(), []
        chat.upload_img(photo, conv, images)
        talk = []
        for turn, question in enumerate(QUESTIONS):
            chat.ask(question, conv)
            seed = 100 * number + turn
            text, ids = chat.answer(conv, images, max_new_tokens=LONGEST, seed=seed, **decoding)
            talk.append((text, ids.tolist()))
        talks.append(talk)
    return talks


def in_batches(chat, photos, size, **decoding):
    talks = [[] for _ in photos]
    for start in range(0, len(photos), size):
        group = range(start, min(start + size, len(photos)))
        images = [[image] for image in chat.encode_photos([photos[i] for i in group])]
        convs = [chat.new_conversation() for _ in group]
        for conv in convs:
            conv.add_photo()
        for turn, question in enumerate(QUESTIONS):
            for conv in convs:
                chat.ask(question, conv)
            seeds = [100 * i + turn for i in group]
            settings = Decoding(max_new_tokens=LONGEST, **decoding)
            said = chat.answer_batch(convs, images, settings, seeds)
            for i, answer in zip(group, said, strict=True):
                talks[i].append((answer.text, answer.token_ids.tolist()))
    return talks


def test_greedy_answers_equal_those_one_by_one(embedded, drawings):
    assert len(drawings) == CASES
    assert in_batches(embedded, drawings, 10) == one_by_one(embedded, drawings)


def test_sampled_answers_equal_those_one_by_one(embedded, drawings):
    some = drawings[:4]
    sampled = in_batches(embedded, some, 4, temperature=1.5)
    assert sampled == one_by_one(embedded, some, temperature=1.5)
    assert sampled != in_batches(embedded, some, 4)


def ask_all(chat, photos, question="What is this?"):
    convs = [chat.new_conversation() for _ in photos]
    for conv in convs:
        conv.add_photo()
        chat.ask(question, conv)
    return convs, [[image] for image in chat.encode_photos(photos)]


def test_rows_of_any_length_stop_at_their_own_stop_string(chat, say, photo, other_photo):
    tokenizer = chat.model.llm_tokenizer
    words = tokenizer("It itches ###Human", add_special_tokens=False).input_ids
    say(chat.model, words)
    convs, photos = ask_all(chat, [photo, other_photo])
    chat.ask("And this, which is a much longer question?", convs[1])
    first, second = chat.answer_batch(convs, photos, Decoding(max_new_tokens=20))
    assert first.text == second.text == "It itches"
    assert "###" in tokenizer.decode(first.token_ids)
    assert len(first.token_ids) < 20
    assert 0 < first.seconds_to_first < first.seconds
    assert convs[0].messages[-1] == ["Assistant", "It itches"]


def test_the_same_seed_repeats_a_row_whatever_its_neighbours(chat, photo, other_photo):
    settings = Decoding(max_new_tokens=12, temperature=1.0)
    convs, photos = ask_all(chat, [photo, photo, other_photo])
    first, again, _ = chat.answer_batch(convs, photos, settings, [5, 5, 6])
    assert np.array_equal(first.token_ids, again.token_ids)
    convs, photos = ask_all(chat, [other_photo, photo])
    _, alone = chat.answer_batch(convs, photos, settings, [9, 5])
    assert np.array_equal(first.token_ids, alone.token_ids)
    convs, photos = ask_all(chat, [photo])
    (other,) = chat.answer_batch(convs, photos, settings, [6])
    assert not np.array_equal(first.token_ids, other.token_ids)


def test_a_question_that_does_not_fit_leaves_every_conversation_as_it_was(chat, photo):
    convs, photos = ask_all(chat, [photo, photo])
    before = [conv.copy().messages for conv in convs]
    with pytest.raises(ChatError, match="the limit is"):
        chat.answer_batch(convs, photos, Decoding(max_new_tokens=5000))
    assert [conv.messages for conv in convs] == before


def test_beams_are_refused(chat, photo):
    convs, photos = ask_all(chat, [photo])
    with pytest.raises(ChatError, match="num_beams is 3"):
        chat.answer_batch(convs, photos, Decoding(max_new_tokens=5, num_beams=3))


def test_prompts_are_padded_on_the_left():
    embeds, mask, positions = _pad_left([torch.ones(2, 4), torch.full((3, 4), 2.0)])
    assert embeds[0, 0].eq(0).all()
    assert embeds[0, 1:].eq(1).all()
    assert mask.tolist() == [[0, 1, 1], [1, 1, 1]]
    assert positions.tolist() == [[0, 0, 1], [0, 1, 2]]


class AnotherEngine(TransformersEngine):
    """Any engine but ``transformers``: answers one by one, and notes with which memory."""

    generate_batch = Engine.generate_batch

    def __init__(self, model):
        super().__init__(model)
        self.memories = []

    def stream(self, *prompt, memory):
        self.memories.append(memory)
        return super().stream(*prompt, memory=memory)


def test_another_engine_keeps_each_conversations_turns(chat, photo, other_photo):
    engine = AnotherEngine(chat.model)
    other = Chat(chat.model, chat.vis_processor, engine=engine)
    settings = Decoding(max_new_tokens=8)
    convs, photos = ask_all(other, [photo, other_photo])
    same, _ = ask_all(chat, [photo, other_photo])
    for question in QUESTIONS[1:3]:
        said = other.answer_batch(convs, photos, settings)
        at_once = chat.answer_batch(same, photos, settings)
        assert [a.token_ids.tolist() for a in said] == [a.token_ids.tolist() for a in at_once]
        for conv in (*convs, *same):
            chat.ask(question, conv)
    first, second = engine.memories[:2]
    assert first is not second
    assert engine.memories[2:] == [first, second]
