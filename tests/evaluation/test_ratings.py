"""Ratings files: read, checked and written; every mistake is one sentence that names it."""

import dataclasses

import pytest

from skingpt4.evaluation.study.ratings import (
    COLUMNS,
    ITEMS,
    Rating,
    RatingError,
    check_ratings,
    read_ratings,
    write_ratings,
)

GOOD = Rating("Dr A", "dermatologist", "7", "two-step", 1, 5, 3.25)
RATINGS = [
    Rating("Lea", "lay", "7", "two-step", 3, 4),
    GOOD,
    Rating("Dr A", "dermatologist", "", "", 6, 2, 1.0),
]
HEADER = ",".join(COLUMNS)


@pytest.fixture
def write(tmp_path):
    def write(*lines, name="ratings.csv"):
        path = tmp_path / name
        path.write_text("\n".join([HEADER, *lines]) + "\n", encoding="utf-8")
        return path

    return write


def test_items_are_the_questionnaires():
    assert list(ITEMS) == [1, 2, 3, 4, 5, 6, 7]
    assert "useful" in ITEMS[3]


@pytest.mark.parametrize("suffix", [".csv", ".xlsx"])
def test_ratings_come_back_sorted(tmp_path, suffix):
    path = tmp_path / f"ratings{suffix}"
    write_ratings(path, RATINGS)
    assert read_ratings(path) == sorted(RATINGS)


def test_reading_and_writing_again_gives_the_same_bytes(tmp_path):
    first, second = tmp_path / "a.csv", tmp_path / "b.csv"
    write_ratings(first, RATINGS)
    write_ratings(second, read_ratings(first))
    assert first.read_bytes() == second.read_bytes()
    write_ratings(tmp_path / "c.xlsx", read_ratings(first))
    write_ratings(second, read_ratings(tmp_path / "c.xlsx"))
    assert first.read_bytes() == second.read_bytes()


def test_spreadsheets_habits_are_understood(write):
    path = write("Dr A,Dermatologist, 7 ,two-step,1.0,5.0,", "", ",,,,,,")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_ratings(path) == [dataclasses.replace(GOOD, seconds=0.0)]


def test_the_seconds_column_may_be_absent(tmp_path):
    path = tmp_path / "ratings.csv"
    path.write_text("rater,rater_kind,case,system,item,score\nDr A,dermatologist,7,two-step,1,5\n")
    assert read_ratings(path)[0].seconds == 0.0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"score": 6}, "the rating 6 by 'Dr A' of item 1, case '7', system 'two-step'"),
        ({"score": 0}, "the rating 0"),
        ({"item": 8}, "item 8 of rater 'Dr A' does not exist"),
        ({"rater_kind": "nurse"}, "unknown kind 'nurse'"),
        ({"rater_kind": "lay"}, "items 3 and 5 only"),
        ({"case": ""}, "names no case"),
        ({"system": ""}, "names no case or no system"),
        ({"rater": ""}, "does not begin with a letter or digit"),
        ({"rater": "=cmd()"}, "does not begin with a letter or digit"),
        ({"seconds": -1.0}, "took -1.0 seconds"),
        ({"seconds": float("nan")}, "took nan seconds"),
    ],
)
def test_a_bad_rating_is_named(changes, said):
    check_ratings([GOOD], "here")
    with pytest.raises(RatingError, match=r"^here: ") as caught:
        check_ratings([dataclasses.replace(GOOD, **changes)], "here")
    assert said in str(caught.value)
    assert str(caught.value).count(". ") == 0


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["Dr A,dermatologist,7,s,1,5,1", "Dr A,dermatologist,7,s,1,4,1"], "twice (5 and 4)"),
        (["Sam,dermatologist,7,s,3,5,1", "Sam,lay,8,s,3,4,1"], "one name for two raters"),
        (["Dr A,dermatologist,7,s,1,5,", "dr  a,dermatologist,8,s,1,5,"], "one name for two"),
        (
            ["Dr A,dermatologist,7,s,1,good,1"],
            "row 2: 'good' in the column score is no whole number",
        ),
        (["Dr A,dermatologist,7,s,1,4.5,1"], "'4.5' in the column score is no whole number"),
        (["Dr A,dermatologist,7,s,1,inf,1"], "'inf' in the column score is no whole number"),
        (["Dr A,dermatologist,7,s"], "'' in the column item is no whole number"),
    ],
)
def test_a_bad_file_is_one_sentence_with_its_place(write, lines, said):
    path = write(*lines)
    with pytest.raises(RatingError) as caught:
        read_ratings(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_two_systems_and_two_cases_are_no_duplicates():
    others = [dataclasses.replace(GOOD, case="8"), dataclasses.replace(GOOD, system="step 1 only")]
    check_ratings([GOOD, *others], "here")


def test_unusable_files(tmp_path, write):
    broken = tmp_path / "broken.xlsx"
    broken.write_bytes(b"no spreadsheet")
    latin = tmp_path / "latin.csv"
    latin.write_bytes(HEADER.encode() + b"\nJos\xe9,lay,7,s,3,4,1\n")
    empty = tmp_path / "empty.csv"
    empty.touch()
    for path, said in [
        (tmp_path / "none.csv", "does not exist"),
        (tmp_path / "ratings.txt", "neither a .csv nor an .xlsx"),
        (broken, "cannot be read"),
        (latin, "cannot be read"),
        (empty, "empty"),
    ]:
        with pytest.raises(RatingError, match=said):
            read_ratings(path)


def test_bad_ratings_overwrite_nothing(tmp_path):
    path = tmp_path / "ratings.csv"
    write_ratings(path, RATINGS)
    before = path.read_bytes()
    with pytest.raises(RatingError, match="the rating 6"):
        write_ratings(path, [dataclasses.replace(GOOD, score=6)])
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["ratings.csv"]
