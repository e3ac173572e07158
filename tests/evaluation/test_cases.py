import csv
import shutil

import pytest
from PIL import Image

from skingpt4.common.errors import EvaluationError
from skingpt4.dermatology import CLASSES
from skingpt4.evaluation.cases import case_list_hash, class_balance, is_balanced, read_cases
from skingpt4.evaluation.commands.options import builtin_cases

PSORIASIS = "Psoriasis and lichen planus"


@pytest.fixture
def write_list(tmp_path):
    """Write a case list of rows over a first valid case, beside two images."""
    for number, colour in enumerate(("red", "blue"), start=1):
        Image.new("RGB", (32, 32), colour).save(tmp_path / f"{number}.png")

    def write(*rows, columns=("id", "image", "class", "concepts", "fitzpatrick")):
        path = tmp_path / "list.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([columns, *rows])
        return path

    return write


def test_a_list_is_read_with_hashes_and_optional_columns(write_list):
    path = write_list(
        ("a", "1.png", PSORIASIS, "Plaque; Scale", "V"), ("b", "2.png", CLASSES[0].name, "", "")
    )
    first, second = read_cases(path)
    assert (first.concepts, first.fitzpatrick, first.label) == (("Plaque", "Scale"), "V", "")
    assert second.concepts == ()
    assert len(first.sha256) == 64
    assert first.sha256 != second.sha256


def test_the_column_disease_is_the_label(write_list):
    path = write_list(
        ("a", "1.png", PSORIASIS, "psoriasis"), columns=("id", "image", "class", "disease")
    )
    assert read_cases(path)[0].label == "psoriasis"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (("b", "2.png", "Psoriasis", "", ""), ["unknown class 'Psoriasis'", f"'{PSORIASIS}'"]),
        (("b", "3.png", PSORIASIS, "", ""), ["'3.png'", "does not exist", "'b'"]),
        (("a", "2.png", PSORIASIS, "", ""), ["id 'a'", "more than once"]),
        (("", "2.png", PSORIASIS, "", ""), ["no id"]),
        (("b", "2.png", PSORIASIS, "Plague", ""), ["unknown concept 'Plague'", "'Plaque'"]),
        (("b", "2.png", PSORIASIS, "", "VII"), ["unknown Fitzpatrick type 'VII'"]),
    ],
)
def test_bad_rows_are_one_sentence(write_list, row, words):
    path = write_list(("a", "1.png", PSORIASIS, "", ""), row)
    with pytest.raises(EvaluationError) as raised:
        read_cases(path)
    message = str(raised.value)
    assert all(word in message for word in words)
    assert str(path) in message
    assert "\n" not in message


def test_bad_files_are_one_sentence(write_list, tmp_path):
    with pytest.raises(EvaluationError, match="does not exist"):
        read_cases(tmp_path / "none.csv")
    with pytest.raises(EvaluationError, match="no column 'class'"):
        read_cases(write_list(("a", "1.png"), columns=("id", "image")))
    with pytest.raises(EvaluationError, match="no case"):
        read_cases(write_list())
    (tmp_path / "bytes.csv").write_bytes(b"id,image,class\n\xff\xfe\n")
    with pytest.raises(EvaluationError, match=r"cannot be read .* save it as UTF-8 CSV"):
        read_cases(tmp_path / "bytes.csv")


def test_the_hash_tells_lists_apart_but_not_places(write_list, tmp_path):
    cases = read_cases(
        write_list(("a", "1.png", PSORIASIS, "", ""), ("b", "2.png", PSORIASIS, "", ""))
    )
    moved = tmp_path / "moved"
    shutil.copytree(tmp_path, moved)
    assert case_list_hash(read_cases(moved / "list.csv")) == case_list_hash(cases)
    assert case_list_hash(cases[:1]) != case_list_hash(cases)
    Image.new("RGB", (32, 32), "green").save(moved / "1.png")
    assert case_list_hash(read_cases(moved / "list.csv")) != case_list_hash(cases)


def test_the_builtin_list_is_fifteen_by_ten_and_drawn_once(drawn_cases):
    cases = read_cases(drawn_cases)
    assert len(cases) == 150
    assert is_balanced(cases)
    assert set(class_balance(cases)) == {entry.name for entry in CLASSES}
    assert all(case.concepts and case.fitzpatrick and case.source == "drawn" for case in cases)
    assert not is_balanced(cases[:-1])
    before = drawn_cases.stat().st_mtime_ns
    assert builtin_cases(drawn_cases.parent) == drawn_cases
    assert drawn_cases.stat().st_mtime_ns == before
