import threading
from itertools import chain

import numpy as np
import pytest
import torch
from transformers import CompileConfig, StoppingCriteria, StoppingCriteriaList

from skingpt4.conversation.engines import Decoding, TextCutter
from skingpt4.conversation.engines.decoding import GumbelNoise, TextStop
from skingpt4.conversation.engines.transformers_engine import TransformersEngine


def run(engine, segments, stops=(), cancel=None, **decoding):
    """Return the pieces of text, as a reader gets them, and the token ids of one answer."""
    prompts, cutter, pieces, ids = engine.prompts, TextCutter(stops), [], []
    for new in engine.stream(prompts.encode(segments), Decoding(**decoding), stops, cancel):
        ids += new
        pieces.append(cutter.cut(prompts.decode(ids)))
    return [piece for piece in pieces if piece], np.array(ids, dtype=np.int64)


@pytest.fixture
def engine(model):
    return TransformersEngine(model)


@pytest.fixture
def prompt(model, photo):
    return ["###Human: <Img>", model.encode_img(photo[None]), "</Img> What is it?###Assistant:"]


def embed(model, prompt):
    """The prompt as upstream wraps it: each text on its own, BOS in front where there is one."""
    first, image, last = prompt
    tokenizer = model.llm_tokenizer
    bos = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    first_ids = bos + tokenizer(first, add_special_tokens=False).input_ids
    last_ids = tokenizer(last, add_special_tokens=False).input_ids
    table = model.llm_model.get_input_embeddings()
    parts = [table(torch.tensor(first_ids)), image[0], table(torch.tensor(last_ids))]
    return torch.cat(parts)[None]


def plain_generate(model, embeds, **settings):
    mask = torch.ones(embeds.shape[:2], dtype=torch.long)
    pad = model.llm_tokenizer.eos_token_id
    ids = model.llm_model.generate(
        inputs_embeds=embeds, attention_mask=mask, pad_token_id=pad, **settings
    )
    return ids[0].tolist()


def argmax_loop(model, embeds, length):
    """The same without a cache and without generate."""
    ids, end = [], model.llm_tokenizer.eos_token_id
    for _ in range(length):
        scores = model.llm_model(inputs_embeds=embeds).logits[0, -1]
        if not ids:
            scores[end] = -torch.inf
        ids.append(int(scores.argmax()))
        if ids[-1] == end:
            break
        new = model.llm_model.get_input_embeddings()(torch.tensor([[ids[-1]]]))
        embeds = torch.cat([embeds, new], dim=1)
    return ids


@pytest.mark.parametrize("family", ["model", "falcon_model"])
@torch.no_grad()
def test_greedy_equals_plain_generate_and_an_argmax_loop(family, request, photo):
    model = request.getfixturevalue(family)
    prompt = ["###Human: <Img>", model.encode_img(photo[None]), "</Img> What?###Assistant:"]
    embeds = embed(model, prompt)
    pieces, ids = run(TransformersEngine(model), prompt, max_new_tokens=24)
    plain = plain_generate(model, embeds, max_new_tokens=24, do_sample=False, min_new_tokens=1)
    assert ids.tolist() == plain
    assert ids.tolist() == argmax_loop(model, embeds, 24)
    assert ids.dtype == np.int64
    assert len(pieces) > 1


def test_the_photo_matters(engine, model, prompt, other_photo):
    changed = [prompt[0], model.encode_img(other_photo[None]), prompt[2]]
    assert run(engine, prompt, max_new_tokens=16)[1].tolist() != (
        run(engine, changed, max_new_tokens=16)[1].tolist()
    )


@pytest.mark.parametrize("beams", [2, 4])
def test_beams_equal_plain_generate_and_come_as_one_piece(engine, model, prompt, beams):
    pieces, ids = run(engine, prompt, max_new_tokens=16, num_beams=beams, length_penalty=0.5)
    assert ids.tolist() == plain_generate(
        model,
        embed(model, prompt),
        max_new_tokens=16,
        min_new_tokens=1,
        num_beams=beams,
        length_penalty=0.5,
        do_sample=False,
    )
    assert len(pieces) == 1


def test_sampled_beams_are_repeatable_and_not_the_greedy_ones(engine, prompt):
    settings = {"max_new_tokens": 16, "num_beams": 3, "temperature": 1.5}
    first = run(engine, prompt, seed=1, **settings)[1].tolist()
    assert first == run(engine, prompt, seed=1, **settings)[1].tolist()
    assert first != run(engine, prompt, max_new_tokens=16, num_beams=3)[1].tolist()


def test_the_models_own_generation_defaults_change_nothing(engine, model, prompt, monkeypatch):
    expected = run(engine, prompt, max_new_tokens=16)[1].tolist()
    hidden = {"do_sample": True, "temperature": 3.0, "top_k": 5, "repetition_penalty": 9.0}
    for name, value in hidden.items():
        monkeypatch.setattr(model.llm_model.generation_config, name, value)
    assert run(engine, prompt, max_new_tokens=16)[1].tolist() == expected


def test_bos_stands_first_and_once(engine, tokenizer):
    bos = tokenizer.bos_token_id
    for prompt in (["one", "two"], ["<s>[INST] one", "two"], ["", "two"]):
        first, second = engine.prompts.encode(prompt).parts
        assert first[0] == bos
        assert [*first, *second].count(bos) == 1


def test_without_a_bos_token_nothing_is_prepended(falcon_model):
    engine = TransformersEngine(falcon_model)
    ids = falcon_model.llm_tokenizer("A plaque", add_special_tokens=False).input_ids
    assert engine.prompts.encode(["A plaque"]).parts == [ids]


def test_tokens_are_counted_as_they_are_embedded(engine, model, prompt):
    assert len(engine.prompts.encode(prompt)) == embed(model, prompt).shape[1]
    flat = engine.prompts.encode([prompt[0], prompt[1][0]])
    assert len(flat) == engine.prompts.embed(flat).shape[1]


@pytest.mark.parametrize("stop", ["###", "####", "\n###", "###Human: more", "# ###"])
@pytest.mark.parametrize("family", ["model", "falcon_model"])
def test_every_tokenisation_of_the_stop_ends_the_answer(family, stop, request, say):
    model = request.getfixturevalue(family)
    answer = model.llm_tokenizer("A plaque.", add_special_tokens=False).input_ids
    ending = model.llm_tokenizer(stop, add_special_tokens=False).input_ids
    rest = model.llm_tokenizer(" never said", add_special_tokens=False).input_ids
    steps = say(model, [*answer, *ending, *rest * 20])
    pieces, ids = run(TransformersEngine(model), ["Well?"], ["###"], max_new_tokens=80)
    assert "".join(pieces).removesuffix("#").strip() == "A plaque."
    assert steps.done == len(ids) <= len(answer) + len(ending)


def test_a_stop_written_one_character_a_token_is_held_back(model, say):
    to_ids = model.llm_tokenizer.convert_tokens_to_ids
    mark = to_ids("#") if "#" in model.llm_tokenizer.get_vocab() else to_ids("<0x23>")
    words = model.llm_tokenizer("A plaque", add_special_tokens=False).input_ids
    steps = say(model, [*words, mark, mark, mark, *words * 20])
    pieces, ids = run(TransformersEngine(model), ["Well?"], ["###"], max_new_tokens=80)
    assert "".join(pieces) == "A plaque"
    assert not [piece for piece in pieces if "#" in piece]
    assert steps.done == len(ids) == len(words) + 3


def test_rows_stop_one_by_one(tokenizer):
    rows = [tokenizer(t, add_special_tokens=False).input_ids for t in ("a plaque", "a plaque###")]
    width = max(map(len, rows))
    ids = torch.tensor([[tokenizer.unk_token_id] * (width - len(row)) + row for row in rows])
    assert TextStop(tokenizer, ["###"])(ids, None).tolist() == [False, True]
    assert TextStop(tokenizer, [])(ids, None).tolist() == [False, False]


def test_a_beam_that_reaches_the_stop_ends_there(engine, model, prompt):
    text = "".join(run(engine, prompt, max_new_tokens=30, num_beams=3)[0])
    stop = next(word for word in text.split() if word.isascii())[:2]
    pieces, ids = run(engine, prompt, [stop], max_new_tokens=30, num_beams=3)
    assert stop not in "".join(pieces)
    decoded = model.llm_tokenizer.decode(ids)
    assert decoded.count(stop) <= 1


@pytest.mark.parametrize("family", ["model", "falcon_model"])
def test_text_streams_as_written(family, request, say):
    model = request.getfixturevalue(family)
    text = "Well,  a plaque (Ünïcode, 皮膚 🩺)\nAssistant: it itches. Crust , scale"
    ids = model.llm_tokenizer(text, add_special_tokens=False).input_ids
    say(model, [*ids, model.llm_tokenizer.eos_token_id])
    pieces, answer_ids = run(TransformersEngine(model), ["Well?"], ["###"], max_new_tokens=200)
    assert "".join(pieces) == text
    assert "\ufffd" not in "".join(pieces)
    assert len(pieces) > 10
    assert answer_ids.tolist() == [*ids, model.llm_tokenizer.eos_token_id]


def test_an_answer_cut_within_a_character_shows_whole_characters_only(model, say):
    ids = model.llm_tokenizer("ab 皮", add_special_tokens=False).input_ids
    say(model, ids)
    pieces, _ = run(TransformersEngine(model), ["Well?"], max_new_tokens=len(ids) - 1)
    assert "".join(pieces) == "ab"


def test_a_leading_unknown_or_bos_id_is_kept_in_the_ids(model, say):
    words = model.llm_tokenizer("A plaque", add_special_tokens=False).input_ids
    ids = [0, 1, *words, model.llm_tokenizer.eos_token_id]
    say(model, ids)
    pieces, answer_ids = run(TransformersEngine(model), ["Well?"], max_new_tokens=30)
    assert answer_ids.tolist() == ids
    assert "".join(pieces) == "A plaque"


def test_cancel_ends_generation_within_one_token(model, tokenizer, say):
    cancel = threading.Event()
    word = tokenizer("plaque", add_special_tokens=False).input_ids[-1]
    steps = say(model, [word], on_step=lambda step: cancel.set() if step == 5 else None)
    _, ids = run(TransformersEngine(model), ["Well?"], cancel=cancel, max_new_tokens=300)
    assert steps.done == len(ids) == 6


def test_closing_ends_generation_and_leaves_no_thread(engine, prompt):
    before = threading.active_count()
    for _ in range(50):
        decoding = Decoding(max_new_tokens=400, min_length=400)
        stream = engine.stream(engine.prompts.encode(prompt), decoding)
        next(stream)
        stream.close()
        assert threading.active_count() == before


def test_an_error_while_generating_reaches_the_reader(model, tokenizer, say):
    def fail(step):
        if step == 3:
            raise MemoryError("no room")

    word = tokenizer("plaque", add_special_tokens=False).input_ids[-1]
    say(model, [word], on_step=fail)
    before = threading.active_count()
    engine = TransformersEngine(model)
    stream = engine.stream(engine.prompts.encode(["Well?"]), Decoding(max_new_tokens=50))
    ids = []
    with pytest.raises(MemoryError, match="no room"):
        for new in stream:
            ids += new
    assert ids == [word] * 3
    assert threading.active_count() == before


def test_sampling_repeats_with_a_seed_and_leaves_global_randomness_alone(engine, prompt):
    state = torch.get_rng_state()
    settings = {"max_new_tokens": 24, "temperature": 1.5}
    first = run(engine, prompt, seed=1, **settings)[1].tolist()
    torch.rand(3)
    assert run(engine, prompt, seed=1, **settings)[1].tolist() == first
    assert run(engine, prompt, seed=2, **settings)[1].tolist() != first
    torch.set_rng_state(state)
    run(engine, prompt, **settings)
    assert torch.equal(torch.get_rng_state(), state)


def test_sampling_without_a_seed_varies(engine, prompt):
    answers = {
        tuple(run(engine, prompt, max_new_tokens=16, temperature=2.0)[1].tolist()) for _ in range(3)
    }
    assert len(answers) > 1


def test_noise_makes_the_greedy_choice_follow_the_distribution():
    p = torch.tensor([0.5, 0.3, 0.15, 0.05, 0.0])
    noise = GumbelNoise([torch.Generator().manual_seed(0)])
    drawn = noise(None, p.log().expand(20_000, -1)).argmax(dim=-1)
    shares = torch.bincount(drawn, minlength=5) / 20_000
    assert torch.allclose(shares, p, atol=0.015)
    assert shares[4] == 0


def test_sampling_hides_no_top_k(engine, model, monkeypatch):
    forward = type(model.llm_model).forward

    def undecided(*args, **kwargs):
        output = forward(model.llm_model, *args, **kwargs)
        ramp = torch.linspace(0, 1e-3, output.logits.shape[-1])
        output.logits = ramp.expand_as(output.logits)
        return output

    monkeypatch.setattr(model.llm_model, "forward", undecided)
    settings = {"max_new_tokens": 200, "min_length": 200, "temperature": 1.0, "seed": 0}
    assert len(set(run(engine, ["Well?"], top_p=1.0, **settings)[1].tolist())) > 100
    assert len(set(run(engine, ["Well?"], top_p=1.0, top_k=3, **settings)[1].tolist())) <= 3
    assert len(set(run(engine, ["Well?"], top_p=0.02, **settings)[1].tolist())) < 20


def test_extra_stopping_criteria_of_upstreams_kind_end_the_answer(model, tokenizer, say):
    class ThreeTokens(StoppingCriteria):
        def __call__(self, input_ids, scores, **kwargs):
            return input_ids.shape[1] >= 3

    say(model, tokenizer("plaque", add_special_tokens=False).input_ids[-1:])
    engine = TransformersEngine(model, StoppingCriteriaList([ThreeTokens()]))
    assert len(run(engine, ["Well?"], max_new_tokens=50)[1]) == 3


def test_the_compiled_step_is_compiled_once_for_all_turns(model, prompt):
    graphs = []
    compiling = CompileConfig(backend=lambda graph, *_, **__: graphs.append(1) or graph.forward)
    compiling._compile_all_devices = True
    compiled, plain = TransformersEngine(model, compiling=compiling), TransformersEngine(model)
    memory = compiled.new_memory()
    for turns in (1, 2, 3):
        question = [*prompt[:-1], prompt[-1] + "And why?###Assistant:" * turns]
        encoded = compiled.prompts.encode(question)
        stream = compiled.stream(encoded, Decoding(max_new_tokens=8), memory=memory)
        assert (
            list(chain.from_iterable(stream)) == run(plain, question, max_new_tokens=8)[1].tolist()
        )
    assert 0 < len(graphs) < 4
