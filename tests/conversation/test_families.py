"""Every language model family trains and answers by the same code."""

import dataclasses

import pytest
import torch
from accelerate import cpu_offload

from skingpt4.conversation.chat import Chat
from skingpt4.conversation.engines import Decoding, TransformersEngine
from skingpt4.models import SkinGPT4
from tests.llm_families import FAMILIES, make_folder

QUESTION = "Could you describe the skin disease in this image for me?"


@pytest.fixture(scope="session", params=FAMILIES)
def family(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    return str(folder), make_folder(request.param, folder)


@pytest.fixture
def model(family, model_config):
    folder, style = family
    config = dataclasses.replace(
        model_config, llm_model=folder, prompt_style=style, prompt_path="", allow_untrained=True
    )
    torch.manual_seed(0)
    return SkinGPT4.from_config(config).eval()


@pytest.fixture
def chat(model):
    return Chat(model, lambda image: torch.zeros(3, 28, 28))


def answer_ids(model, prompt, length=12):
    stream = TransformersEngine(model).stream(prompt, Decoding(max_new_tokens=length))
    while True:
        try:
            next(stream)
        except StopIteration as end:
            return end.value.tolist()


def test_the_loss_is_the_language_models_own(model):
    """Embedded outside the model, tokens count the same (Gemma scales its embeddings)."""
    dialogue = [(QUESTION, "Psoriasis."), ("Why?", "Unknown.")]
    batch = model.encode_dialogues([model.prompt_style.training(dialogue)])
    with torch.no_grad():
        ours = model({"dialogue": [dialogue]})["loss"]
        own = model.llm_model(input_ids=batch.ids, labels=batch.labels).loss
    torch.testing.assert_close(ours, own, rtol=1e-5, atol=1e-6)


def test_the_projection_learns_from_photos(model):
    model.train()({"image": torch.rand(1, 3, 28, 28), "dialogue": [[(QUESTION, "Psoriasis.")]]})[
        "loss"
    ].backward()
    assert model.llama_proj.weight.grad.abs().sum() > 0


def test_greedy_text_is_that_of_token_ids(model):
    ids = TransformersEngine(model)._text_ids([QUESTION])[0]
    own = model.llm_model.generate(
        torch.tensor([ids]),
        attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        do_sample=False,
        max_new_tokens=12,
        min_new_tokens=1,
        pad_token_id=0,
    )
    assert answer_ids(model, [QUESTION]) == own[0, len(ids) :].tolist()


def test_a_photo_is_answered_and_matters(model, chat):
    answers = []
    for seed in (0, 1):
        conv, photos = chat.new_conversation(), []
        chat.upload_img(torch.zeros(3, 28, 28), conv, photos)
        torch.manual_seed(seed)
        photos[0] = torch.randn_like(photos[0])
        chat.ask(QUESTION, conv)
        answers.append(chat.answer(conv, photos, max_new_tokens=12)[1].tolist())
    assert answers[0] != answers[1]


def test_the_beginning_token_stands_once_and_only_where_there_is_one(model, chat):
    bos = model.llm_tokenizer.bos_token_id
    conv = chat.new_conversation()
    chat.ask(QUESTION, conv)
    asked = TransformersEngine(model)._text_ids([conv.get_prompt()])[0]
    trained = model.encode_dialogues.encode(model.prompt_style.training([(QUESTION, "So.")])).ids
    for ids in (asked, trained):
        assert ids.count(bos) == (0 if bos is None else 1)
        assert bos in (None, ids[0])


def test_the_end_symbol_is_learned_once_and_ends_the_answer(model, say):
    tokenizer, style = model.llm_tokenizer, model.prompt_style
    learned = model.encode_dialogues.answer_ids("So." + style.end_sym)
    ending = tokenizer(style.end_sym, add_special_tokens=False).input_ids
    end = ending[-1]
    assert learned.count(end) == style.end_sym.count(tokenizer.decode([end]).strip())
    words = tokenizer("A plaque.", add_special_tokens=False).input_ids
    steps = say(model, [*words, *ending, *words * 9])
    stream = TransformersEngine(model).stream(
        [QUESTION], Decoding(max_new_tokens=60), [style.end_sym]
    )
    assert "".join(stream) == "A plaque."
    assert steps.done == len(words) + len(ending)


def test_text_comes_back_as_it_went_in(model):
    text = "Plaque, crust (Ünïcode, 皮膚)\nand more."
    ids = model.llm_tokenizer(text, add_special_tokens=False).input_ids
    assert TransformersEngine(model)._decode(ids).strip() == text


def test_weights_that_are_elsewhere_until_used_give_the_same_answer(model):
    """As with ``device_map: auto``, where hooks fetch weights and move inputs."""
    prompt = ["", model.encode_img(torch.rand(1, 3, 28, 28)).detach(), QUESTION]
    expected = answer_ids(model, prompt)
    cpu_offload(model.llm_model, torch.device("cpu"))
    assert next(model.llm_model.parameters()).is_meta
    assert answer_ids(model, prompt) == expected
