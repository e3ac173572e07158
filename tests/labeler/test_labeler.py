import csv
from pathlib import Path

import pytest

from skingpt4.dermatology import CLASSES, CONCEPTS
from skingpt4.labeler import score_text, vocabulary
from skingpt4.synthetic.text import PHRASES

LABELLED = Path(__file__).with_name("hand_labelled.csv")
LEAST_AGREEMENT = 0.95


def labelled():
    with LABELLED.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def words(text):
    return {word for word in text.split(";") if word}


JUDGED = {
    "top": lambda got, row: (got.top or "") == row["top"],
    "mentioned": lambda got, row: (
        set(got.mentioned) == words(f"{row['top']};{row['also_mentioned']}")
    ),
    "concepts": lambda got, row: set(got.concepts) == words(row["concepts"]),
    "abstained": lambda got, row: got.abstained == (row["abstained"] == "yes"),
}


@pytest.mark.parametrize("judged", JUDGED)
def test_it_agrees_with_answers_labelled_by_hand(judged, record_property):
    rows = labelled()
    assert len(rows) >= 200
    agree = sum(JUDGED[judged](score_text(row["text"]), row) for row in rows) / len(rows)
    record_property(f"agreement_{judged}", agree)
    assert agree >= LEAST_AGREEMENT


def test_the_labels_are_varied():
    rows = labelled()
    assert {row["top"] for row in rows} == {entry.name for entry in CLASSES} | {""}
    shown = set().union(*(words(row["concepts"]) for row in rows))
    assert len(shown) == len(CONCEPTS)
    assert sum(row["abstained"] == "yes" for row in rows) >= 10


def test_the_vocabulary_covers_the_tables():
    assert set(vocabulary.CLASS_TERMS) == {entry.name for entry in CLASSES}
    assert set(vocabulary.CONCEPT_TERMS) == {entry.name for entry in CONCEPTS}
    terms = [term for own in vocabulary.CLASS_TERMS.values() for term in own]
    assert len(terms) == len(set(terms))


@pytest.mark.parametrize("entry", CLASSES, ids=lambda entry: entry.name)
def test_every_class_is_known_by_name_and_by_its_diseases(entry):
    assert score_text(entry.name).top == entry.name
    for disease in entry.diseases:
        assert score_text(f"This could be a skin disease image of {disease}.").top == entry.name


@pytest.mark.parametrize("concept", CONCEPTS, ids=lambda concept: concept.name)
def test_every_concept_is_known_by_name_and_by_our_phrase(concept):
    assert concept.name in score_text(f"following clinical concepts: {concept.name}").concepts
    assert concept.name in score_text(f"I also observe {PHRASES[concept.name]}.").concepts


@pytest.mark.parametrize(
    ("text", "standing", "cue"),
    [
        ("It is psoriasis.", "stated", ""),
        ("There is no sign of psoriasis.", "denied", "no"),
        ("Psoriasis is unlikely.", "denied", "is unlikely"),
        ("Psoriasis cannot be ruled out.", "open", "cannot be ruled out"),
        ("Most likely psoriasis.", "favoured", "most likely"),
        ("A possible alternative is psoriasis.", "considered", "alternative"),
        ("Not eczema but psoriasis.", "stated", ""),
        ("Not only psoriasis.", "stated", ""),
    ],
)
def test_each_decision_names_the_words_it_used(text, standing, cue):
    match = score_text(text).trace[-1]
    assert (match.standing, match.cue) == (standing, cue)
    assert text[match.start :].startswith(match.words)
    assert match.words.lower() == "psoriasis"
    assert match.negated == (standing == "denied")


def test_a_misspelt_word_is_traced_as_it_was_written():
    (match,) = score_text("Clearly PSORIASSIS here").trace
    assert match.words == "PSORIASSIS"
    assert score_text("a popular ointment").concepts == ()


def test_a_concept_inside_a_diseases_name_is_no_finding():
    assert score_text("It is an epidermoid cyst.").concepts == ()
    assert score_text("It is a cyst.").concepts == ("Cyst",)


def test_one_word_may_name_two_concepts():
    assert score_text("a maculopapular rash").concepts == ("Papule", "Macule")
