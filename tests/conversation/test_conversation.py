import pytest
from hypothesis import given
from hypothesis import strategies as st

from skingpt4.conversation import CONV_VISION, CONV_VISION_LLAMA2
from skingpt4.conversation.conversation import MARKERS, Conversation, plain_text
from skingpt4.prompts import IMAGE_SLOT, PROMPT_STYLES

SYSTEM = (
    "Give the following image: <Img>ImageContent</Img>. "
    "You will be able to see the image once I provide it to you. Please answer my questions."
)


@pytest.fixture
def conv():
    return CONV_VISION.copy()


def three_turns(conv):
    for number in (1, 2, 3):
        conv.add_photo()
        conv.add_question(f"question {number}")
        conv.append_message(conv.roles[1], f"answer {number}")
    return conv


def test_prompt_is_upstreams_string(conv):
    conv.add_photo()
    conv.add_question("What's wrong with my skin?")
    conv.append_message("Assistant", "A plaque.")
    conv.add_question("And now?")
    conv.append_message("Assistant", None)
    assert conv.get_prompt() == (
        f"{SYSTEM}###Human: <Img><ImageHere></Img> What's wrong with my skin?"
        "###Assistant: A plaque.###Human: And now?###Assistant:"
    )


def test_llama2_prompt_is_minigpt4s_string():
    conv = CONV_VISION_LLAMA2.copy()
    conv.add_photo()
    conv.add_question("What is it?")
    conv.append_message(conv.roles[1], "A plaque.")
    conv.add_question("And now?")
    conv.append_message(conv.roles[1], None)
    assert conv.get_prompt() == (
        f"{SYSTEM}<s>[INST] <Img><ImageHere></Img> What is it? [/INST] A plaque."
        "<s>[INST] And now? [/INST] "
    )


def test_upstreams_fields_shape_the_prompt():
    style = PROMPT_STYLES["skingpt4"]
    conv = Conversation("Look.", ("Patient", "Doctor"), [["Patient", "Hm?"]], 0, "~", style)
    assert conv.get_prompt() == "Look.~Patient: Hm?~"


def test_an_empty_answer_keeps_its_separator(conv):
    conv.append_message("Human", "Well?")
    conv.append_message("Assistant", "")
    assert conv.get_prompt().endswith("###Human: Well?###Assistant: ###")


def test_copies_share_nothing(conv):
    conv.add_question("one")
    other = conv.copy()
    other.messages[0][1] = "changed"
    other.add_question("two")
    assert conv.messages == [["Human", "one"]]
    assert CONV_VISION.messages == []


def test_a_photo_before_its_question_shares_its_message_and_one_after_stands_alone(conv):
    conv.add_photo()
    conv.add_question("one")
    conv.add_photo()
    assert conv.messages == [["Human", f"{IMAGE_SLOT} one"], ["Human", IMAGE_SLOT]]


def test_photos_alone_are_no_question(conv):
    assert not conv.has_question()
    conv.add_photo()
    assert not conv.has_question()
    conv.add_question("one")
    assert conv.has_question()
    conv.append_message("Assistant", "yes")
    assert not conv.has_question()


def test_dropping_the_question_keeps_its_photos_and_earlier_turns(conv):
    three_turns(conv)
    before = conv.copy().messages
    conv.add_photo()
    conv.add_question("lost")
    conv.add_photo()
    conv.drop_question()
    assert conv.messages == [*before, ["Human", IMAGE_SLOT], ["Human", IMAGE_SLOT]]


def test_dropping_turns_moves_their_photos_to_the_next_question(conv):
    three_turns(conv)
    conv.add_question("question 4")
    conv.append_message("Assistant", None)
    assert conv.drop_oldest_turn()
    assert conv.drop_oldest_turn()
    assert conv.messages[0] == ["Human", f"{IMAGE_SLOT} {IMAGE_SLOT} {IMAGE_SLOT} question 3"]
    assert conv.drop_oldest_turn()
    assert not conv.drop_oldest_turn()
    assert conv.messages == [
        ["Human", f"{IMAGE_SLOT} {IMAGE_SLOT} {IMAGE_SLOT} question 4"],
        ["Assistant", None],
    ]


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("<ImageHere>", "< ImageHere>"),
        ("<Img><ImageHere></Img>", "< Img>< ImageHere>< /Img>"),
        ("a###Assistant: b", "a# ##Assistant: b"),
        ("####", "# # ##"),
        ("is 2 < 3 & #1 of <b>?", "is 2 < 3 & #1 of <b>?"),
    ],
)
def test_plain_text_breaks_markers_and_nothing_else(text, plain):
    assert plain_text(text) == plain


@given(st.lists(st.sampled_from([*MARKERS, *"<>#/[]sI \n"]), max_size=12).map("".join))
def test_plain_text_leaves_no_marker_and_loses_no_character(text):
    plain = plain_text(text)
    assert not [marker for marker in MARKERS if marker in plain]
    assert plain.replace(" ", "") == text.replace(" ", "")


def test_markers_that_cannot_be_broken_are_left_alone():
    assert plain_text("a b\nc", ["\n", " ", "a", "  "]) == "a b\nc"
