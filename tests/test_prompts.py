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
    with pytest.raises(ConfigError, match="choose one of: skingpt4, llama2, chat"):
        get_prompt_style("vicuna")


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
