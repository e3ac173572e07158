"""The assembled model: shapes, loss, labels, freezing."""

import pickle
import random

import pytest
import torch
from torch.nn import functional

from skingpt4.common.errors import ConfigError, DatasetError, WeightsError

PROMPT = "###Human: <Img><ImageHere></Img> What's wrong with my skin? ###Assistant: "
ANSWER = "This could be psoriasis."


def photos(number, seed=0):
    return torch.randn(number, 3, 28, 28, generator=torch.Generator().manual_seed(seed))


def one_prompt(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("<Img><ImageHere></Img> What's wrong with my skin?\n", encoding="utf-8")
    return str(path)


def loss_written_out(model, image, prompt, answer):
    """Upstream's recipe: BOS, prompt around the image, answer + end symbol; loss on the answer."""

    def ids(text):
        return model.llm_tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids

    before, after = prompt.split("<ImageHere>")
    target = ids(answer + model.end_sym)
    embed = model.llm_model.get_input_embeddings()
    bos = torch.tensor([[model.llm_tokenizer.bos_token_id]])
    parts = [embed(bos), embed(ids(before)), model.encode_img(image), embed(ids(after))]
    embeds = torch.cat([*parts, embed(target)], dim=1)
    logits = model.llm_model(inputs_embeds=embeds).logits
    length = target.shape[1]
    return functional.cross_entropy(logits[0, -length - 1 : -1], target[0])


def test_photos_become_language_model_inputs(make_model):
    assert make_model().encode_img(photos(3)).shape == (3, 4, 32)


def test_loss_equals_the_recipe_written_out(make_model, tmp_path):
    model = make_model(prompt_path=one_prompt(tmp_path))
    with torch.no_grad():
        loss = model({"image": photos(1), "text_input": [ANSWER]})["loss"]
        expected = loss_written_out(model, photos(1), PROMPT, ANSWER)
        other = loss_written_out(model, photos(1), PROMPT, "This could be psoriasis")
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-6)
    assert abs(loss - other) > 1e-3


def test_padding_changes_nothing(make_model, tmp_path):
    model = make_model(prompt_path=one_prompt(tmp_path))
    texts = [ANSWER, "This is a much longer answer: Plaque, Crust, Erythema, and more of it."]
    with torch.no_grad():
        both = model({"image": photos(2), "text_input": texts})["loss"]
        alone = [
            loss_written_out(model, photos(2)[i : i + 1], PROMPT, text)
            for i, text in enumerate(texts)
        ]
    lengths = [len(model.dialogue_encoder.answer_ids(text + "###")) for text in texts]
    expected = sum(a * n for a, n in zip(alone, lengths, strict=True)) / sum(lengths)
    torch.testing.assert_close(both, expected, rtol=1e-5, atol=1e-6)


def test_a_real_end_token_is_learned(make_model):
    """Upstream masks labels by id, and its padding id is the end token's."""
    model = make_model(prompt_style="llama2")
    turn = ("Hello", ANSWER)
    batch = model.dialogue_encoder({"dialogue": [[turn], [turn, turn]]})
    labels = batch["labels"][0]
    assert labels.tolist().count(model.llm_tokenizer.eos_token_id) == 1
    padded = batch["attention_mask"][0] == 0
    assert padded.any()
    assert (labels[padded] == -100).all()


@pytest.mark.parametrize("template", ["[INST] {} [/INST] ", "<s>[INST] {} [/INST] "])
def test_the_begin_token_comes_once_whoever_writes_it(make_model, template):
    model = make_model(prompt_style="llama2", prompt_template=template)
    batch = model.dialogue_encoder({"dialogue": [[("Hello", ANSWER)]]})
    ids = batch["input_ids"][0].tolist()
    begin = model.llm_tokenizer.bos_token_id
    assert (ids[0], ids.count(begin)) == (begin, 1)
    assert len(ids) == len(batch["labels"][0]) == len(batch["image_mask"][0])


def test_long_answers_keep_their_end_symbol(make_model):
    encoder = make_model(max_txt_len=12).dialogue_encoder
    whole = encoder.tokenizer("word " * 40 + "###", add_special_tokens=False).input_ids
    short = encoder.answer_ids("word " * 40 + "###")
    assert len(short) == 12
    assert short[-1] == whole[-1]
    assert short[:8] == whole[:8]


def test_dialogues_bring_their_own_questions_and_several_losses(make_model):
    model = make_model()
    dialogue = [("What's wrong with my skin?", "Psoriasis."), ("Why?", "Unknown.")]
    batch = model.dialogue_encoder({"image": photos(1), "dialogue": [dialogue]})
    learned = batch["labels"][batch["labels"] != -100]
    assert model.llm_tokenizer.decode(learned) == "Psoriasis.### Unknown.###"
    assert batch["image_mask"].sum() == 4


def test_a_prompt_may_show_the_photo_twice(make_model):
    model = make_model()
    dialogue = [("<Img><ImageHere></Img> and again <Img><ImageHere></Img>", "Same.")]
    loss = model({"image": photos(2), "dialogue": [dialogue, [("Once?", "Yes.")]]})["loss"]
    assert torch.isfinite(loss)


def test_without_prompts_the_answer_follows_the_photo(make_model):
    model = make_model(prompt_path="")
    batch = model.dialogue_encoder({"image": photos(1), "text_input": [ANSWER]})
    ids, mask = batch["input_ids"][0], batch["image_mask"][0]
    assert (ids[0], mask.tolist()[:6]) == (model.llm_tokenizer.bos_token_id, [0, 1, 1, 1, 1, 0])
    assert model.llm_tokenizer.decode(ids[5:]) == ANSWER + "###"


def test_text_only_samples_need_their_question(make_model):
    model = make_model()
    assert torch.isfinite(model({"dialogue": [[("Hello", "Hello.")]]})["loss"])
    with pytest.raises(DatasetError, match="no question"):
        model({"dialogue": [[(None, "Hello.")]]})


def test_encoded_texts_and_plain_ones_have_the_same_loss(make_model):
    """A loading process encodes; who calls the model as upstream does need not."""
    model = make_model()
    batch = {"image": photos(2), "text_input": [ANSWER, "A mole."]}
    encoder = pickle.loads(pickle.dumps(model.dialogue_encoder))
    tensors = encoder(batch, number=0)
    assert {key: value.shape[0] for key, value in tensors.items()} == dict.fromkeys(tensors, 2)
    with torch.no_grad():
        encoded = model({"image": batch["image"], **tensors})["loss"]
        assert encoded == model(batch)["loss"]


def test_forward_draws_no_random_number(make_model):
    model = make_model()
    states = random.getstate(), torch.get_rng_state()
    model({"image": photos(1), "text_input": [ANSWER]})
    assert random.getstate() == states[0]
    assert torch.equal(torch.get_rng_state(), states[1])


def test_a_batchs_number_tells_its_prompt_whoever_encodes_it(make_model):
    encoder = make_model().dialogue_encoder
    batch = {"image": photos(1), "text_input": [ANSWER]}

    def ids(encoder, number=None):
        return encoder(batch, number)["input_ids"].tolist()

    drawn = [ids(encoder.with_seed(3), number) for number in range(20)]
    one = encoder.with_seed(3)
    assert [ids(one) for _ in range(20)] == drawn
    assert [ids(encoder.with_seed(4), number) for number in range(20)] != drawn
    rng = random.Random(3)
    prompts = [rng.choice(encoder.prompts) for _ in range(20)]
    assert len(set(prompts)) > 1
    for left, right in zip(range(19), range(1, 20), strict=True):
        assert (drawn[left] == drawn[right]) == (prompts[left] == prompts[right])


def test_only_the_projection_is_trained(make_model):
    model = make_model().train()
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trainable == {"llama_proj.weight", "llama_proj.bias"}
    assert not model.llm_model.training
    assert not model.Qformer.training
    assert model.llama_proj.training
    model({"image": photos(1), "text_input": [ANSWER]})["loss"].backward()
    assert model.llama_proj.weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in model.llm_model.parameters())


def test_parts_can_be_set_free(make_model):
    model = make_model(freeze_vit=False, freeze_qformer=False, freeze_llm=False).train()
    assert all(p.requires_grad for p in model.parameters())
    assert model.Qformer.training


def test_unusable_language_models_are_named(make_model, tmp_path):
    with pytest.raises(ConfigError, match=r"model.llm_model is empty"):
        make_model(llm_model="")
    with pytest.raises(WeightsError, match=r"is no folder"):
        make_model(llm_model=str(tmp_path / "absent"))
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(WeightsError, match=r"could not be loaded"):
        make_model(llm_model=str(tmp_path))
