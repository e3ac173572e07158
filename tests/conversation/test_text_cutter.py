import pytest
from hypothesis import given
from hypothesis import strategies as st

from skingpt4.common.errors import ChatError
from skingpt4.conversation.engines import Decoding, TextCutter


def pieces(text, stops):
    cutter = TextCutter(stops)
    return [cutter.cut(text[: end + 1]) for end in range(len(text))]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a plaque###Human: and?", "a plaque"),
        ("a plaque####", "a plaque"),
        ("a plaque\n###", "a plaque"),
        ("a # b ## c###", "a # b ## c"),
        ("###", ""),
        ("a plaque##", "a plaque"),
        ("  a plaque \n", "a plaque"),
        ("a plaque\ufffd\ufffd", "a plaque"),
        ("", ""),
    ],
)
def test_stop_string_its_beginnings_and_outer_space_are_never_shown(text, shown):
    assert "".join(pieces(text, ["###"])) == shown


def test_a_held_back_beginning_is_shown_once_it_turns_out_to_be_text():
    assert pieces("a## b", ["###"]) == ["a", "", "", "##", " b"]


def test_a_character_is_shown_only_when_all_its_bytes_are_there():
    cutter = TextCutter([])
    growing = ["a", "a\ufffd", "a\ufffd\ufffd", "a皮"]
    assert [cutter.cut(text) for text in growing] == ["a", "", "", "皮"]


def test_the_earliest_of_several_stops_counts():
    assert "".join(pieces("one</s>two###three", ["###", "</s>"])) == "one"


@given(st.text(alphabet="#ab ", max_size=30))
def test_pieces_join_to_the_text_cut_at_once(text):
    assert "".join(pieces(text, ["###"])) == TextCutter(["###"]).cut(text)


@given(st.text(alphabet="#a ", max_size=30))
def test_no_prefix_of_the_stream_holds_the_stop(text):
    assert "###" not in "".join(pieces(text, ["###"]))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_new_tokens", 0),
        ("num_beams", 0),
        ("min_length", 999),
        ("top_p", 0.0),
        ("repetition_penalty", 0.0),
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("top_k", -1),
    ],
)
def test_a_setting_out_of_range_is_named_with_its_value(name, value):
    with pytest.raises(ChatError, match=f"{name} is {value}"):
        Decoding(**{name: value})
