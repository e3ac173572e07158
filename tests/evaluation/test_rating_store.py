"""The store of ratings: what is saved at once, what is refused, what survives."""

import sqlite3

import pytest

from skingpt4.evaluation.study.assignment import Study
from skingpt4.evaluation.study.rating_store import RatingStore
from skingpt4.evaluation.study.ratings import Rating, RatingError

STUDY = Study(("c1", "c2"), ("two-step",))


def count_raters(store):
    with sqlite3.connect(store.path) as database:
        return database.execute("SELECT COUNT(*) FROM rater").fetchone()[0]


@pytest.fixture
def store(tmp_path):
    return RatingStore(tmp_path / "ratings.sqlite", STUDY, "hash")


def rate_case(store, rater, case, score=4):
    store.lock_diagnosis(rater, case, "psoriasis")
    for item in (3, 5) if rater.kind == "lay" else range(1, 8):
        store.rate(rater, case, "two-step", item, score, 1.5)


def test_every_call_is_on_the_disk_when_it_returns(store):
    anna = store.register("Anna", "dermatologist")
    store.lock_diagnosis(anna, "c1", "psoriasis")
    store.rate(anna, "c1", "two-step", 1, 5, 2.04)
    again = RatingStore(store.path, STUDY, "hash")
    assert again.resume("anna ") == anna
    assert again.diagnosis(anna, "c1") == "psoriasis"
    assert again.ratings() == [Rating("Anna", "dermatologist", "c1", "two-step", 1, 5, 2.0)]


def test_a_later_rating_replaces_the_score_and_adds_the_time(store):
    anna = store.register("Anna", "dermatologist")
    store.lock_diagnosis(anna, "c1", "psoriasis")
    store.rate(anna, "c1", "two-step", 1, 5, 2.1)
    store.rate(anna, "c1", "two-step", 1, 3, 0.1)
    assert [(one.score, one.seconds) for one in store.ratings()] == [(3, 2.2)]


def test_a_rater_goes_on_at_the_first_unfinished_case(store):
    anna = store.register("Anna", "dermatologist")
    first, second = (task.case for task in STUDY.tasks(anna.number))
    assert store.next_place(anna) == 0
    rate_case(store, anna, first)
    assert store.next_place(anna) == 1
    store.lock_diagnosis(anna, second, "x")
    store.rate(anna, second, "two-step", 1, 5, 0)
    missing = store.missing(anna, STUDY.tasks(anna.number)[1])
    assert missing == [("two-step", item) for item in range(2, 8)]
    assert store.next_place(anna) == 1


def test_lay_raters_are_done_after_two_items(store):
    lee = store.register("Lee", "lay")
    for case in STUDY.cases:
        rate_case(store, lee, case)
    assert store.next_place(lee) == 2
    with pytest.raises(RatingError, match="item 1"):
        store.rate(lee, "c1", "two-step", 1, 5, 0)


@pytest.mark.parametrize("name", ["Anna", "anna", " ANNA ", "Ａnna"])
def test_two_raters_with_one_name_are_told_so(store, name):
    store.register("Anna", "dermatologist")
    with pytest.raises(RatingError, match="is already taken"):
        store.register(name, "lay")
    assert count_raters(store) == 1


@pytest.mark.parametrize("name", ["", "   ", "-x", "a" * 81, "Simulated dermatologist 1"])
def test_names_that_cannot_be_used(store, name):
    with pytest.raises(RatingError):
        store.register(name, "dermatologist")
    assert count_raters(store) == 0


def test_nobody_resumes_who_did_not_begin(store):
    with pytest.raises(RatingError, match="Nobody called 'Bob'"):
        store.resume("Bob")


def test_a_locked_diagnosis_stays(store):
    anna = store.register("Anna", "dermatologist")
    store.lock_diagnosis(anna, "c1", " lichen  planus ")
    store.lock_diagnosis(anna, "c1", "lichen planus")
    with pytest.raises(RatingError, match="is locked"):
        store.lock_diagnosis(anna, "c1", "psoriasis")
    assert store.diagnoses() == [("Anna", "c1", "lichen planus")]
    with pytest.raises(RatingError, match="0 characters"):
        store.lock_diagnosis(anna, "c2", "  ")


@pytest.mark.parametrize(
    ("case", "system", "item", "score", "sentence"),
    [
        ("c1", "two-step", 1, 6, "rating 6"),
        ("c1", "two-step", 8, 5, "item 8"),
        ("c1", "other", 1, 5, "no answers of 'other'"),
        ("c9", "two-step", 1, 5, "case 'c9'"),
        ("c2", "two-step", 1, 5, "Lock your own diagnosis of case c2"),
    ],
)
def test_ratings_that_cannot_be(store, case, system, item, score, sentence):
    anna = store.register("Anna", "dermatologist")
    store.lock_diagnosis(anna, "c1", "x")
    with pytest.raises(RatingError, match=sentence):
        store.rate(anna, case, system, item, score, 1)
    assert store.ratings() == []


@pytest.mark.parametrize(
    ("study", "case_list"), [(STUDY, "other hash"), (Study(("c1", "c2"), ("other",)), "hash")]
)
def test_a_store_of_another_study_is_refused_and_kept(store, study, case_list):
    store.register("Anna", "dermatologist")
    before = store.path.read_bytes()
    with pytest.raises(RatingError, match="another case list"):
        RatingStore(store.path, study, case_list)
    assert store.path.read_bytes() == before


def test_a_foreign_file_is_refused_and_kept(tmp_path):
    path = tmp_path / "notes.sqlite"
    path.write_text("my notes, long enough not to be taken for an empty database\n" * 20)
    with pytest.raises(RatingError, match="not a file of ratings"):
        RatingStore(path, STUDY, "hash")
    assert path.read_text().startswith("my notes")


def test_an_error_inside_a_transaction_leaves_nothing_behind(store):
    anna = store.register("Anna", "dermatologist")
    with pytest.raises(sqlite3.IntegrityError), store._open() as database:
        database.execute("INSERT INTO diagnosis VALUES (?, 'c1', 'x')", (anna.number,))
        database.execute("INSERT INTO rating VALUES (?, 'c1', 'two-step', 9, 1, 0)", (1,))
    assert store.diagnosis(anna, "c1") is None
