"""``evaluate.py rate`` without the page: forms, their way back, and the export."""

import csv
import json

import pytest

from skingpt4.common.errors import UserError
from skingpt4.evaluation.cases import case_list_hash
from skingpt4.evaluation.commands import run_command
from skingpt4.evaluation.study.assignment import Study
from skingpt4.evaluation.study.rating_store import RatingStore
from skingpt4.evaluation.study.ratings import read_ratings, write_ratings
from skingpt4.evaluation.study.simulated import simulate_ratings
from tests.evaluation.small_study import SYSTEMS, make_folder


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "evaluation"
    cases, responses = make_folder(place)
    write_ratings(place / "ratings.csv", simulate_ratings(cases, responses.rows, SYSTEMS))
    return place


def rate(folder, *options):
    run_command("rate", ["--output", str(folder), *map(str, options)])


def fill(folder, number, name, score):
    """Fill a form as somebody would who agrees with everything alike."""
    blank = folder / "forms" / f"form_{number}.csv"
    with blank.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    path = folder / f"{name}_{score}.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows({**row, "rater": name, "score": score} for row in rows)
    return path


def test_forms_go_out_and_come_back(folder):
    rate(folder, "--forms", 1, "--lay-forms", 1)
    assert len(list((folder / "forms").iterdir())) == 6
    rate(folder, "--import", fill(folder, 1, "Anna", 5), fill(folder, 2, "Lee", 2))
    ratings = read_ratings(folder / "ratings.csv")
    assert {(one.rater, one.rater_kind, one.score) for one in ratings} == {
        ("Anna", "dermatologist", 5),
        ("Lee", "lay", 2),
    }
    assert len(ratings) == 3 * 7 + 3 * 2
    before = (folder / "ratings.csv").read_bytes()
    rate(folder, "--import", folder / "Anna_5.csv")
    assert (folder / "ratings.csv").read_bytes() == before


def test_forms_that_contradict_what_is_there_change_nothing(folder):
    rate(folder, "--forms", 1)
    rate(folder, "--import", fill(folder, 1, "Anna", 5))
    before = (folder / "ratings.csv").read_bytes()
    with pytest.raises(UserError, match="twice"):
        rate(folder, "--import", fill(folder, 1, "Anna", 4))
    with pytest.raises(UserError, match="the rating 6"):
        rate(folder, "--import", fill(folder, 1, "Ben", 6))
    assert (folder / "ratings.csv").read_bytes() == before


def test_the_export_follows_the_store_and_keeps_other_raters(folder):
    rate(folder, "--forms", 1)
    rate(folder, "--import", fill(folder, 1, "Anna", 5))
    rate(folder, "--export")  # nobody has rated on the page yet
    assert {one.rater for one in read_ratings(folder / "ratings.csv")} == {"Anna"}
    case_list = json.loads((folder / "responses.jsonl").read_text().splitlines()[0])["case_list"]
    store = RatingStore(
        folder / "ratings.sqlite", Study(("c1", "c2", "c3"), SYSTEMS[:1]), case_list
    )
    ben = store.register("Ben", "dermatologist")
    store.lock_diagnosis(ben, "c2", "hives, most likely")
    for score in (2, 3):
        store.rate(ben, "c2", SYSTEMS[0], 1, score, 1)
        rate(folder, "--export")
    ratings = read_ratings(folder / "ratings.csv")
    assert [one.score for one in ratings if one.rater == "Ben"] == [3]
    assert sum(one.rater == "Anna" for one in ratings) == 21
    with (folder / "diagnoses.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file))[1:] == [["Ben", "c2", "hives, most likely"]]


def test_answers_to_other_cases_are_refused(folder, tmp_path):
    other, _ = make_folder(tmp_path / "other", count=2)
    assert case_list_hash(other)
    with pytest.raises(UserError, match="another case list"):
        rate(folder, "--cases", tmp_path / "other" / "cases.csv", "--export")
    assert not (folder / "ratings.sqlite").exists()


def test_a_system_without_answers_is_refused(folder):
    with pytest.raises(UserError, match="'GPT' has no responses"):
        rate(folder, "--systems", "GPT", "--export")
