"""Prompt strings: upstream's, exactly, and bad prompt files."""

import pytest

from skingpt4.common.errors import ConfigError
from skingpt4.prompts import (
    PROMPT_STYLES,
    UPSTREAM_SYSTEM,
    get_prompt_style,
    load_prompts,
    with_image_slot,
)
from tests.conftest import PROJECT

SLOT = "<Img><ImageHere></Img>"


def test_skingpt4_chat_string():
    style = PROMPT_STYLES["skingpt4"]
    messages = [("Human", f"{SLOT} Why?"), ("Assistant", "So."), ("Human", "And?")]
    assert style.chat([*messages, ("Assistant", None)]) == (
        f"{UPSTREAM_SYSTEM}###Human: {SLOT} Why?###Assistant: So.###Human: And?###Assistant:"
    )


def test_llama2_chat_string():
    style = PROMPT_STYLES["llama2"]
    human, assistant = style.roles
    rendered = style.chat([(human, f"{SLOT} Why?"), (assistant, None)])
    assert rendered == f"{UPSTREAM_SYSTEM}<s>[INST] {SLOT} Why? [/INST] "


def test_training_strings_are_upstreams():
    segments = PROMPT_STYLES["skingpt4"].training([(f"{SLOT} Why?", "So.")])
    assert [(s.text, s.is_target) for s in segments] == [
        (f"###Human: {SLOT} Why? ###Assistant: ", False),
        ("So.###", True),
    ]
    llama = PROMPT_STYLES["llama2"].training([("Why?", "So.")])
    assert "".join(s.text for s in llama) == "[INST] Why? [/INST] So.</s>"


def test_the_embedded_model_trains_on_what_the_chat_renders():
    style = PROMPT_STYLES["chat"]
    turns = [(f"{SLOT} Why?", "So."), ("And?", "Thus.")]
    trained = "".join(segment.text for segment in style.training(turns))
    said = [message for q, a in turns for message in (("Human", q), ("Assistant", a))]
    assert trained == style.chat(said)


def test_a_config_overrides_template_and_end_symbol():
    style = get_prompt_style("skingpt4", "### Instruction: {} ### Response: ", "</s>")
    assert style.training([("Q", "A")])[0].text == "### Instruction: Q ### Response: "
    assert style.end_sym == "</s>"
    with pytest.raises(ConfigError, match=r"has no '\{\}'"):
        get_prompt_style("skingpt4", "no slot")
    with pytest.raises(ConfigError, match="choose one of: skingpt4, minigpt4, llama2, chat, "):
        get_prompt_style("bert")


def test_minigpt4_differs_by_a_space():
    messages = [("Human", "Why?"), ("Assistant", None)]
    ours, theirs = (PROMPT_STYLES[name].chat(messages) for name in ("skingpt4", "minigpt4"))
    assert theirs == ours + " "


def test_smollm2_opens_with_the_system_line_of_its_own_template():
    style = PROMPT_STYLES["smollm2"]
    human, assistant = style.roles
    assert style.chat([(human, "Why?"), (assistant, None)]) == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
        "<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"
    )


# What each family's own chat template writes for two turns, without the beginning token.
TWO_TURNS = {
    "vicuna": (
        "A chat between a curious user and an artificial intelligence assistant. The assistant "
        "gives helpful, detailed, and polite answers to the user's questions. "
        "USER: Q1 ASSISTANT: A1</s>USER: Q2 ASSISTANT:"
    ),
    "llama3": (
        "<|start_header_id|>user<|end_header_id|>\n\nQ1<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nA1<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nQ2<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    ),
    "falcon": "User: Q1\nAssistant: A1<|endoftext|>\nUser: Q2\nAssistant:",
    "mistral": "[INST] Q1 [/INST] A1</s>[INST] Q2 [/INST]",
    "qwen": (
        "<|im_start|>user\nQ1<|im_end|>\n<|im_start|>assistant\nA1<|im_end|>\n"
        "<|im_start|>user\nQ2<|im_end|>\n<|im_start|>assistant\n"
    ),
    "gemma": (
        "<start_of_turn>user\nQ1<end_of_turn>\n<start_of_turn>model\nA1<end_of_turn>\n"
        "<start_of_turn>user\nQ2<end_of_turn>\n<start_of_turn>model\n"
    ),
    "chat": "###Human: Q1###Assistant: A1###Human: Q2###Assistant:",
}


@pytest.mark.parametrize("name", TWO_TURNS)
def test_families_are_chatted_with_in_their_own_form_and_trained_on_it(name):
    style = PROMPT_STYLES[name]
    human, assistant = style.roles
    messages = [(human, "Q1"), (assistant, "A1"), (human, "Q2"), (assistant, None)]
    chatted = style.chat(messages)
    assert chatted == TWO_TURNS[name]
    trained = style.training([("Q1", "A1"), ("Q2", "A2")])
    assert [segment.is_target for segment in trained] == [False, True, False, True]
    assert "".join(s.text for s in trained[:3]) == chatted
    assert trained[3].text.endswith("A2" + style.end_sym)


def test_no_answer_ends_twice():
    for style in PROMPT_STYLES.values():
        text = "".join(s.text for s in style.training([("Q1", "A1"), ("Q2", "A2")]))
        assert style.end_sym * 2 not in text
        assert text.count("A1" + style.end_sym) == 1


def test_the_photo_goes_before_a_question_that_does_not_place_it():
    assert with_image_slot("Why?") == f"{SLOT} Why?"
    assert with_image_slot(f"Look: {SLOT}") == f"Look: {SLOT}"


@pytest.mark.parametrize("path", sorted((PROJECT / "prompts").glob("*.txt")), ids=lambda p: p.name)
def test_shipped_prompts_load(path):
    assert all(prompt.startswith(f"{SLOT} ") for prompt in load_prompts(path))


def test_bad_prompt_files_are_refused(tmp_path):
    path = tmp_path / "prompts.txt"
    with pytest.raises(ConfigError, match="cannot be read"):
        load_prompts(path)
    path.write_text("\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="holds no prompt"):
        load_prompts(path)
    path.write_text(f"{SLOT} one\ntwo\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"Line 2 .* has no <ImageHere>"):
        load_prompts(path)
