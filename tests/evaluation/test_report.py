"""The report: what it shows, what it marks, and that the same files give the same bytes."""

import re
from pathlib import Path

import pytest

from skingpt4.common.errors import UserError
from skingpt4.documents.document import Document, Section, Table, Text, fill_template
from skingpt4.documents.pdf import render_pdf
from skingpt4.evaluation.cases import read_cases
from skingpt4.evaluation.report.build import build_document, write_report
from skingpt4.evaluation.report.inputs import MARK, SIMULATED_RATINGS, load_evaluation
from skingpt4.evaluation.report.reference import GUIDELINES, OUT_OF_REACH, Fact
from skingpt4.evaluation.scoring.comparisons import score_diagnoses
from skingpt4.evaluation.study.ratings import Rating, read_ratings, write_ratings
from skingpt4.evaluation.study.simulated import COMPARISONS, simulate_ratings, simulate_times
from skingpt4.evaluation.study.times import write_times
from tests.evaluation.small_study import SYSTEMS, make_folder


@pytest.fixture
def folder(tmp_path):
    """An evaluation folder with simulated ratings and times."""
    place = tmp_path / "evaluation"
    cases, responses = make_folder(place)
    ratings = simulate_ratings(cases, responses.rows, SYSTEMS[:1])
    write_ratings(place / "ratings.csv", ratings)
    write_times(place / "times.csv", simulate_times())
    return place


def report(folder, cases=None):
    return write_report(load_evaluation(folder, cases), folder)


def human_ratings(cases, raters=("Anna", "Ben")):
    return [
        Rating(rater, "dermatologist", case.id, SYSTEMS[0], item, 4, 1.5)
        for rater in raters
        for case in cases
        for item in range(1, 8)
    ]


def text_of(path: Path) -> str:
    return (path / "report.html").read_text(encoding="utf-8")


def test_the_report_holds_everything_and_fetches_nothing(folder):
    html, pdf = report(folder)
    page = html.read_text(encoding="utf-8")
    assert pdf.read_bytes().startswith(b"%PDF")
    for title in ("Automatic scores", "By skin type", "Reader study", "Response times", "Limits"):
        assert f">{title}</h2>" in page
    for number in (1, 2, 3):
        assert f">Case c{number}</h3>" in page
    assert page.count("data:image/jpeg") == 3
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", page)
    assert "<script" not in page and "&lt;b&gt;here" in page


def test_scores_stand_with_their_counts_and_intervals(folder):
    report(folder)
    page = text_of(folder)
    assert "100.00 % (3/3; " in page
    assert "33.33 % (1/3; " in page


def test_readings_name_the_words_behind_them(folder):
    report(folder)
    assert "Psoriasis and lichen planus (from “psoriasis”)" in text_of(folder)


def test_simulated_ratings_are_marked_wherever_they_show(folder):
    evaluation = load_evaluation(folder)
    document = build_document(evaluation)
    assert SIMULATED_RATINGS in document.notices and "A demonstration." in document.notices
    captions = [
        block.caption
        for section in document.sections
        for block in section.blocks
        if isinstance(block, Table)
    ]
    about_ratings = [c for c in captions if re.search("Ratings|raters", c)]
    assert len(about_ratings) >= 5
    assert all(MARK in caption for caption in about_ratings)


def test_human_ratings_carry_no_mark(folder):
    cases = load_evaluation(folder).cases
    write_ratings(folder / "ratings.csv", human_ratings(cases))
    (folder / "times.csv").unlink()
    report(folder)
    assert "SIMULATED" not in text_of(folder)


def test_the_same_files_give_the_same_bytes(folder, tmp_path):
    first = [path.read_bytes() for path in report(folder)]
    ratings = read_ratings(folder / "ratings.csv")
    write_ratings(tmp_path / "exported.csv", reversed(ratings))
    write_ratings(folder / "ratings.csv", read_ratings(tmp_path / "exported.csv"))
    assert [path.read_bytes() for path in report(folder)] == first


def test_another_rating_gives_another_report(folder):
    first = report(folder)[0].read_bytes()
    ratings = read_ratings(folder / "ratings.csv")
    write_ratings(folder / "ratings.csv", ratings[1:])
    assert report(folder)[0].read_bytes() != first


def test_a_report_needs_no_ratings(tmp_path):
    make_folder(tmp_path / "bare")
    report(tmp_path / "bare")
    page = text_of(tmp_path / "bare")
    assert "nobody has rated these answers yet" in page
    assert "No repeated diagnoses were drawn" in page


@pytest.mark.parametrize(
    ("change", "sentence"),
    [({"case": "c9"}, "case 'c9'"), ({"system": "other"}, "system 'other'")],
)
def test_ratings_of_something_else_are_refused(folder, change, sentence):
    before = report(folder)[0].read_bytes()
    row = {"rater": "Anna", "rater_kind": "dermatologist", "case": "c1", "system": SYSTEMS[0]}
    write_ratings(folder / "ratings.csv", [Rating(**{**row, "item": 1, "score": 4, **change})])
    with pytest.raises(UserError, match=sentence):
        report(folder)
    assert (folder / "report.html").read_bytes() == before


def test_answers_to_another_case_list_are_refused(folder, tmp_path):
    make_folder(tmp_path / "other", count=2)
    with pytest.raises(UserError, match="another case list"):
        report(folder, read_cases(tmp_path / "other" / "cases.csv"))


def test_guidelines_tell_what_a_run_answers():
    facts = frozenset(Fact) - OUT_OF_REACH
    items = {(name, item.number): item for name, own in GUIDELINES.items() for item in own}
    assert [len(own) for own in GUIDELINES.values()] == [25, 27, 49]
    assert len(items) == sum(map(len, GUIDELINES.values()))
    assert items["CLEAR Derm", "8"].answer(facts) == (True, "By skin type")
    assert not items["CLEAR Derm", "8"].answer(facts - {Fact.SKIN_TYPES})[0]
    assert not items["DECIDE-AI", "III"].answer(facts)[0]


def test_every_answered_item_names_a_section_of_the_report(folder):
    titles = {section.title for section in build_document(load_evaluation(folder)).sections}
    for item in (item for own in GUIDELINES.values() for item in own):
        # What no run can answer names no place; all else does, and the place is there.
        assert (item.where == "") == (item.needs in OUT_OF_REACH)
        assert item.where in titles | {""}


def test_simulated_ratings_do_not_answer_for_humans(folder):
    assert Fact.RATINGS not in load_evaluation(folder).facts
    write_ratings(folder / "ratings.csv", human_ratings(load_evaluation(folder).cases, ("Anna",)))
    facts = load_evaluation(folder).facts
    assert Fact.RATINGS in facts and Fact.AGREEMENT not in facts


def test_simulated_ratings_lean_on_the_answers_and_repeat(folder):
    evaluation = load_evaluation(folder)
    both = simulate_ratings(evaluation.cases, evaluation.responses.rows, SYSTEMS)
    assert both == simulate_ratings(evaluation.cases, evaluation.responses.rows, SYSTEMS)
    mean = {
        system: sum(r.score for r in both if r.system == system)
        / sum(r.system == system for r in both)
        for system in SYSTEMS
    }
    assert mean["two-step"] > mean["step 1 only"] + 0.5
    assert {r.item for r in both if r.rater_kind == "lay"} == {3, 5}
    assert len(simulate_times()) == COMPARISONS


def test_documents_escape_and_keep_hard_characters():
    table = Table("α ≥ 0.8", ("a", "b"), (("<i>", "“–”"),), numbers=False)
    document = Document("T & T", [], [Section("One", [Text("x < y"), table])])
    page = fill_template("report.html", document=document)
    assert "T &amp; T" in page and "x &lt; y" in page and "&lt;i&gt;" in page
    assert render_pdf(document) == render_pdf(document)


DIAGNOSES = """rater,case,diagnosis
Anna,c1,Plaque psoriasis
Anna,c2,eczema
Ben,c2,"hives, no sign of acne"
"""


def test_raters_own_diagnoses_stand_beside_the_systems_on_the_same_cases(folder):
    (folder / "diagnoses.csv").write_text(DIAGNOSES, encoding="utf-8")
    evaluation = load_evaluation(folder)
    counts = score_diagnoses(evaluation.cases, evaluation.diagnoses, [])
    assert counts == {"Anna": {"own": (1, 2)}, "Ben": {"own": (1, 1)}}
    report(folder)
    page = text_of(folder)
    assert "locked before any answer was shown" in page
    assert "50.00 % (1/2" in page and "100.00 % (2/2" in page


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rater,case\nAnna,c1\n", "has no column diagnosis"),
        ("rater,case,diagnosis\nAnna,c9,acne\n", "case 'c9', which is not in the case list"),
    ],
)
def test_diagnoses_of_other_cases_are_refused(folder, text, said):
    (folder / "diagnoses.csv").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=said):
        report(folder)
