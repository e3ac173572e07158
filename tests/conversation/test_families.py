"""Every language model family trains and answers by the same code."""

from itertools import chain

import pytest
import torch
from accelerate import cpu_offload
from transformers import CompileConfig

from skingpt4.conversation.chat import Chat
from skingpt4.conversation.engines import Decoding
from skingpt4.conversation.engines.transformers_engine import TransformersEngine
from tests.llm_families import FAMILIES, make_folder

QUESTION = "Could you describe the skin disease in this image for me?"


@pytest.fixture(scope="session", params=FAMILIES)
def family(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    return str(folder), make_folder(request.param, folder)


@pytest.fixture
def model(family, make_model):
    folder, style = family
    return make_model(llm_model=folder, prompt_style=style, prompt_path="")


@pytest.fixture
def chat(model):
    return Chat(model, lambda image: torch.zeros(3, 28, 28))


def answer_ids(model, prompt, length=12, **settings):
    decoding = Decoding(max_new_tokens=length, **settings)
    engine = TransformersEngine(model)
    return list(chain.from_iterable(engine.stream(engine.prompts.encode(prompt), decoding)))


def test_the_loss_is_the_language_models_own(model):
    """Embedded outside the model, tokens count the same (Gemma scales its embeddings)."""
    dialogue = [(QUESTION, "Psoriasis."), ("Why?", "Unknown.")]
    batch = model.dialogue_encoder({"dialogue": [dialogue]})
    with torch.no_grad():
        ours = model({"dialogue": [dialogue]})["loss"]
        own = model.llm_model(input_ids=batch["input_ids"], labels=batch["labels"]).loss
    torch.testing.assert_close(ours, own, rtol=1e-5, atol=1e-6)


def test_the_projection_learns_from_photos(model):
    model.train()({"image": torch.rand(1, 3, 28, 28), "dialogue": [[(QUESTION, "Psoriasis.")]]})[
        "loss"
    ].backward()
    assert model.llama_proj.weight.grad.abs().sum() > 0


def test_greedy_text_is_that_of_token_ids(model):
    ids = TransformersEngine(model).prompts.encode([QUESTION]).parts[0]
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
    asked = TransformersEngine(model).prompts.encode([conv.get_prompt()]).parts[0]
    trained = model.dialogue_encoder({"dialogue": [[(QUESTION, "So.")]]})["input_ids"][0].tolist()
    for ids in (asked, trained):
        assert ids.count(bos) == (0 if bos is None else 1)
        assert bos in (None, ids[0])


def test_the_end_symbol_is_learned_once_and_ends_the_answer(model, say):
    tokenizer, style = model.llm_tokenizer, model.prompt_style
    learned = model.dialogue_encoder.answer_ids("So." + style.end_sym)
    ending = tokenizer(style.end_sym, add_special_tokens=False).input_ids
    assert tokenizer.decode(learned) == "So." + style.end_sym
    words = tokenizer("A plaque.", add_special_tokens=False).input_ids
    steps = say(model, [*words, *ending, *words * 9])
    engine, stops = TransformersEngine(model), [style.end_sym]
    stream = engine.stream(engine.prompts.encode([QUESTION]), Decoding(max_new_tokens=60), stops)
    assert engine.prompts.read(list(chain.from_iterable(stream)), stops) == "A plaque."
    assert steps.done == len(words) + len(ending)


def test_text_comes_back_as_it_went_in(model):
    text = "Plaque, crust (Ünïcode, 皮膚)\nand more."
    ids = model.llm_tokenizer(text, add_special_tokens=False).input_ids
    assert TransformersEngine(model).prompts.decode(ids).strip() == text


def test_weights_that_are_elsewhere_until_used_give_the_same_answer(model):
    """As with ``device_map: auto``, where hooks fetch weights and move inputs."""
    prompt = ["", model.encode_img(torch.rand(1, 3, 28, 28)).detach(), QUESTION]
    expected = answer_ids(model, prompt)
    cpu_offload(model.llm_model, torch.device("cpu"))
    assert next(model.llm_model.parameters()).is_meta
    assert answer_ids(model, prompt) == expected


def converse(chat, turns=4):
    """Ask the same question again and again about two photos; return all tokens."""
    conv, photos, said = chat.new_conversation(), [], []
    for number in range(turns):
        if number in (0, 2):
            chat.upload_img(torch.full((3, 28, 28), 0.1 + number), conv, photos)
        chat.ask(QUESTION, conv)
        said.append(chat.answer(conv, photos, max_new_tokens=12)[1].tolist())
    return said


def test_earlier_turns_are_computed_once_and_no_token_changes(model, chat, monkeypatch):
    fed = []
    forward = type(model.llm_model).forward

    def counted(*args, **kwargs):
        rows = kwargs.get("inputs_embeds")
        fed.append(1 if rows is None else rows.shape[1])
        return forward(model.llm_model, *args, **kwargs)

    forgetful = Chat(model, chat.vis_processor)
    monkeypatch.setattr(forgetful.engine, "new_memory", lambda: None)
    expected = converse(forgetful)
    monkeypatch.setattr(model.llm_model, "forward", counted)
    assert converse(chat) == expected
    prefills = [rows for rows in fed if rows > 1]
    assert max(prefills[1:]) < prefills[0] + 40  # the whole conversation grows by far more
    assert sum(prefills) < 400


def test_caches_of_a_fixed_size_change_no_token(model, chat):
    """What a compiled step works on (a CPU compiles nothing unless it is forced to)."""
    fixed = Chat(model, chat.vis_processor)
    fixed.engine = TransformersEngine(model, compiling=CompileConfig())
    assert converse(fixed, turns=3) == converse(chat, turns=3)


def test_draws_share_a_prefill_and_say_what_each_seed_says_alone(model):
    engine = TransformersEngine(model)
    prompt = ["Look: ", model.encode_img(torch.rand(1, 3, 28, 28)).detach(), QUESTION]
    settings = {"max_new_tokens": 10, "temperature": 1.2}
    seeds = [3, 4, 5]
    alone = [answer_ids(model, prompt, 10, temperature=1.2, seed=seed) for seed in seeds]
    drawn = dict(engine.draw(engine.prompts.encode(prompt), Decoding(**settings), seeds))
    assert drawn == dict(enumerate(alone))
    assert len(set(map(tuple, alone))) > 1


def test_prompts_of_any_length_are_answered_together_as_alone(model):
    engine = TransformersEngine(model)
    photo = model.encode_img(torch.rand(1, 3, 28, 28)).detach()
    prompts = [["Look: ", photo, QUESTION], [QUESTION * 3], ["Look: ", photo, QUESTION], ["So?"]]
    encoded = [engine.prompts.encode(prompt) for prompt in prompts]
    together = engine.generate_batch(encoded, Decoding(max_new_tokens=10))
    for prompt, answer in zip(prompts, together, strict=True):
        assert answer.token_ids.tolist() == answer_ids(model, prompt, 10)


def test_likelihoods_are_those_of_one_pass_over_the_whole_text(model):
    engine = TransformersEngine(model)
    photo = model.encode_img(torch.rand(1, 3, 28, 28)).detach()
    prompts = [["Look: ", photo, QUESTION], [QUESTION * 2], ["Look: ", 2 * photo, QUESTION]]
    encode = engine.prompts.encode
    scores = engine.log_likelihoods([encode(prompt) for prompt in prompts], " A plaque.")
    for prompt, score in zip(prompts, scores, strict=True):
        whole = encode([*prompt[:-1], prompt[-1] + " A plaque."])
        before, after = encode(prompt).parts[-1], whole.parts[-1]
        targets = torch.tensor(after[len(before) :])
        with torch.no_grad():
            logits = model.llm_model(inputs_embeds=engine.prompts.embed(whole)).logits[0]
        own = logits[-1 - len(targets) : -1].log_softmax(-1)
        expected = own[torch.arange(len(targets)), targets].mean().item()
        assert score == pytest.approx(expected, abs=1e-5)
    assert scores[0] != scores[2]
