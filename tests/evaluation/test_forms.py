"""The study on paper: forms, tables to fill in, and their way back."""

import csv

import pytest
from openpyxl import load_workbook

from skingpt4.evaluation.study.assignment import Study
from skingpt4.evaluation.study.forms import COLUMNS, read_form, write_forms
from skingpt4.evaluation.study.ratings import RatingError
from tests.evaluation.small_study import SYSTEMS, make_folder


@pytest.fixture
def study():
    return Study(("c1", "c2", "c3"), SYSTEMS, seed=5, blinded=True)


@pytest.fixture
def forms(tmp_path, study):
    cases, responses = make_folder(tmp_path)
    write_forms(tmp_path / "forms", study, ["dermatologist", "lay"], cases, responses.rows)
    return tmp_path / "forms"


def read_rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_rows(path, rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def test_a_form_shows_photo_and_diagnosis_before_the_answers(forms, study):
    page = (forms / "form_1.html").read_text(encoding="utf-8")
    for task in study.tasks(1):
        assert page.index(f"Case {task.case}: photo") < page.index(f"Case {task.case}: answers")
    order = [page.index(f"Case {task.case}: photo") for task in study.tasks(1)]
    assert order == sorted(order)
    assert page.count("data:image/jpeg;base64,") == 3
    assert "&lt;b&gt;here&lt;/b&gt;" in page
    assert "http:" not in page and "https:" not in page


def test_a_blinded_form_names_no_system(forms):
    for path in forms.iterdir():
        if path.suffix != ".xlsx":
            assert not any(name in path.read_text(encoding="utf-8") for name in SYSTEMS)


def test_a_lay_form_has_two_items(forms):
    assert {row["item"] for row in read_rows(forms / "form_2.csv")} == {"3", "5"}
    assert len(read_rows(forms / "form_1.csv")) == 3 * 2 * 7
    assert "I am willing to use it" not in (forms / "form_2.html").read_text(encoding="utf-8")


def test_a_filled_table_finds_its_systems(forms, study):
    rows = read_rows(forms / "form_1.csv")
    for row in rows:
        row["rater"] = "Dr A"
        row["score"] = "5" if row["item"] == "1" else ""
    write_rows(forms / "filled.csv", rows)
    ratings = read_form(forms / "filled.csv", study)
    expected = {(task.case, one.system) for task in study.tasks(1) for one in task.shown}
    assert {(rating.case, rating.system) for rating in ratings} == expected
    labels = {(t.case, s.label): s.system for t in study.tasks(1) for s in t.shown}
    chosen = next(row for row in rows if row["score"])
    assert labels[chosen["case"], chosen["answer"]] in SYSTEMS
    assert {(rating.rater, rating.item, rating.score) for rating in ratings} == {("Dr A", 1, 5)}


def test_a_workbook_says_the_same_as_the_table(forms, study):
    book = load_workbook(forms / "form_1.xlsx")
    sheet = book.worksheets[0]
    assert sheet.data_validations.dataValidation[0].sqref
    for row in sheet.iter_rows(min_row=2):
        row[1].value, row[6].value = "Dr A", 4
    book.save(forms / "filled.xlsx")
    rows = read_rows(forms / "form_1.csv")
    write_rows(forms / "filled.csv", [{**row, "rater": "Dr A", "score": "4"} for row in rows])
    assert read_form(forms / "filled.xlsx", study) == read_form(forms / "filled.csv", study)


@pytest.mark.parametrize(
    ("column", "value", "sentence"),
    [
        ("score", "6", "the rating 6"),
        ("score", "four", "'four' in the column score is no whole number"),
        ("case", "c9", "form 1 has no 'Answer A' to case 'c9'"),
        ("rater", "", "rater's name ''"),
        ("rater_kind", "nurse", "unknown kind 'nurse'"),
    ],
)
def test_a_table_filled_wrongly_is_told_where(forms, study, column, value, sentence):
    row = next(r for r in read_rows(forms / "form_1.csv") if r["answer"] == "Answer A")
    write_rows(forms / "bad.csv", [{**row, "rater": "Dr A", "score": "4", column: value}])
    with pytest.raises(RatingError, match=sentence):
        read_form(forms / "bad.csv", study)


def test_files_that_are_no_filled_forms(forms, study):
    with pytest.raises(RatingError, match="does not exist"):
        read_form(forms / "none.csv", study)
    with pytest.raises(RatingError, match="has no score"):
        read_form(forms / "form_1.csv", study)
    (forms / "other.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(RatingError, match="has no column form, rater"):
        read_form(forms / "other.csv", study)
    (forms / "other.xlsx").write_text("no workbook", encoding="utf-8")
    with pytest.raises(RatingError, match="cannot be read"):
        read_form(forms / "other.xlsx", study)


def test_the_same_study_gives_the_same_bytes(forms, tmp_path, study):
    cases, responses = make_folder(tmp_path / "again")
    write_forms(tmp_path / "twice", study, ["dermatologist", "lay"], cases, responses.rows)
    for path in (tmp_path / "twice").iterdir():
        if path.suffix != ".xlsx":  # a workbook carries the time at which it was written
            assert path.read_bytes() == (forms / path.name).read_bytes()
