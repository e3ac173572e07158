import json
from types import SimpleNamespace

import pytest

from skingpt4.common.errors import EvaluationError
from skingpt4.evaluation.inference import merge_parts
from skingpt4.evaluation.responses import (
    Answer,
    Response,
    Responses,
    ResponseWriter,
    read_responses,
    write_responses,
)

HEADER = {"case_list": "a" * 64, "systems": {"x": {"weights": "1"}}, "environments": [{"cpus": 2}]}


def response(case, system="x", text="psoriasis"):
    return Response(case, system, [Answer("What?", text, 0.1, 0.5, 7)])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "responses.jsonl"


def test_what_is_written_is_read(path):
    writer = ResponseWriter(path, HEADER)
    rows = [response("1"), Response("2", "x", [], "PhotoError: broken")]
    for row in rows:
        writer.write(row)
    read = read_responses(path)
    assert read.rows == rows
    assert read.header == {"kind": "header", **HEADER}
    assert writer.done == {("1", "x"), ("2", "x")}


def test_every_response_is_on_the_disk_before_the_next(path):
    writer = ResponseWriter(path, HEADER)
    for number in range(3):
        writer.write(response(str(number)))
        assert len(read_responses(path).rows) == number + 1


def test_a_line_cut_short_by_a_crash_is_left_out_and_written_over(path):
    writer = ResponseWriter(path, HEADER)
    writer.write(response("1"))
    with path.open("a", encoding="utf-8") as file:
        file.write('{"case": "2", "system": "x", "answ')
    resumed = ResponseWriter(path, HEADER)
    assert resumed.done == {("1", "x")}
    resumed.write(response("2"))
    assert [row.case for row in read_responses(path).rows] == ["1", "2"]


def test_another_case_list_is_refused_and_nothing_is_changed(path):
    ResponseWriter(path, HEADER).write(response("1"))
    before = path.read_bytes()
    with pytest.raises(EvaluationError, match="another case list") as raised:
        ResponseWriter(path, {**HEADER, "case_list": "b" * 64})
    assert str(path) in str(raised.value)
    assert path.read_bytes() == before


def test_a_system_set_up_otherwise_is_refused(path):
    ResponseWriter(path, HEADER).write(response("1"))
    before = path.read_bytes()
    with pytest.raises(EvaluationError, match="'x' with another weights"):
        ResponseWriter(path, {**HEADER, "systems": {"x": {"weights": "2"}}})
    assert path.read_bytes() == before


def test_a_further_system_and_another_machine_are_added_to_the_header(path):
    ResponseWriter(path, HEADER).write(response("1"))
    ResponseWriter(path, {**HEADER, "systems": {"y": {}}, "environments": [{"cpus": 8}]})
    header = read_responses(path).header
    assert list(header["systems"]) == ["x", "y"]
    assert header["environments"] == [{"cpus": 2}, {"cpus": 8}]


@pytest.mark.parametrize(
    "text", ["", "no json\n", '{"kind": "other"}\n', "[1]\n", '{"a": 1}\n{}\n']
)
def test_a_file_of_another_kind_is_one_sentence(path, text):
    path.write_text(text, encoding="utf-8")
    with pytest.raises(EvaluationError, match="no file of answers"):
        read_responses(path)


def test_a_missing_file_says_how_to_make_it(path):
    with pytest.raises(EvaluationError, match=r"evaluate\.py run"):
        read_responses(path)


def test_answers_keep_their_letters(path):
    ResponseWriter(path, HEADER).write(response("1", text="naïve “quotes” – ü\n\u2028 line"))
    assert read_responses(path).rows[0].answers[0].text == "naïve “quotes” – ü\n\u2028 line"
    assert "naïve" in path.read_text(encoding="utf-8")
    assert all(json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1])


def test_parts_are_merged_by_system_then_case_and_the_last_of_two_counts(path):
    header = {"kind": "header", **HEADER, "systems": {"x": {}, "y": {}}}
    write_responses(path, Responses(header, [response("2"), response("1", "y")]))
    part = path.with_name(f"{path.name}.part0")
    write_responses(part, Responses(header, [response("1"), response("2", text="eczema")]))
    merge_parts(path, [SimpleNamespace(id="1"), SimpleNamespace(id="2")])
    rows = read_responses(path).rows
    assert [row.key for row in rows] == [("1", "x"), ("2", "x"), ("1", "y")]
    assert rows[1].answers[0].text == "eczema"
    assert not part.exists()
