import csv
import re
from pathlib import Path

import pytest

from skingpt4.common.files import PACKAGE_ROOT
from skingpt4.dermatology import CLASSES, CONCEPTS, CONDITIONS
from skingpt4.labeler import MALIGNANT, MALIGNANT_TERMS, VOCABULARY, diagnoses, label_text
from skingpt4.synthetic.text import PHRASES

LABELLED = Path(__file__).with_name("hand_labelled.csv")
LEAST_AGREEMENT = 0.95
MALIGNANT_ELSEWHERE = (
    "melanoma",
    "melanomas",
    "malignant melanoma",
    "lentigo maligna",
    "kaposi sarcoma",
    "kaposi's sarcoma",
    "angiosarcoma",
)
# Of the label tables, what is no disease but a finding or a group of many.
NO_DISEASE = {
    "a hair disease",
    "a systemic disease",
    "an abrasion, ulceration or physical injury",
    "cyst",
    "drug induced pigmentary changes",
    "hyperpigmentation",
    "neurotic excoriations",
    "scar",
    "telangiectasia",
    "tuberous sclerosis",
    "verruciform xanthoma",
}


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
    agree = sum(JUDGED[judged](label_text(row["text"]), row) for row in rows) / len(rows)
    record_property(f"agreement_{judged}", agree)
    assert agree >= LEAST_AGREEMENT


def test_the_labels_are_varied():
    rows = labelled()
    assert {row["top"] for row in rows} == {entry.name for entry in CLASSES} | {""}
    shown = set().union(*(words(row["concepts"]) for row in rows))
    assert len(shown) == len(CONCEPTS)
    assert sum(row["abstained"] == "yes" for row in rows) >= 10


def test_the_vocabulary_covers_the_tables():
    assert VOCABULARY["version"] == 1
    assert set(VOCABULARY["classes"]) == {entry.name for entry in CLASSES}
    assert set(VOCABULARY["concepts"]) == {entry.name for entry in CONCEPTS}
    terms = [term for own in VOCABULARY["classes"].values() for term in own]
    assert len(terms) == len(set(terms))
    # Scores of version 1 rest on these.
    assert {*VOCABULARY["classes"][MALIGNANT], *MALIGNANT_ELSEWHERE} == MALIGNANT_TERMS
    assert set(terms) <= {term for one in CONDITIONS.values() for term in one.terms}


def test_every_word_of_the_vocabulary_is_text_and_every_cue_compiles():
    terms = [*VOCABULARY["classes"].values(), *VOCABULARY["concepts"].values()]
    cues = [*VOCABULARY["cues_before"].values(), *VOCABULARY["cues_after"].values()]
    lists = ("ignored", "not_misspelt", "clause_ends", "new_statement", "refusals")
    for words in [*terms, *cues, *(VOCABULARY[name] for name in lists)]:
        # YAML reads a bare "no" as false.
        assert words and all(isinstance(word, str) and word for word in words)
        assert len(words) == len(set(words))
    for cue in [cue for own in cues for cue in own]:
        # A cue that matches nothing would weigh every term, and capitals never occur in plain text.
        assert not re.fullmatch(cue, "")
        assert re.sub(r"\\.", "", cue) == re.sub(r"\\.", "", cue).lower()


@pytest.mark.parametrize("entry", CLASSES, ids=lambda entry: entry.name)
def test_every_class_is_known_by_name_and_by_its_diseases(entry):
    assert label_text(entry.name).top == entry.name
    for disease in entry.diseases:
        assert label_text(f"This could be a skin disease image of {disease}.").top == entry.name


@pytest.mark.parametrize("concept", CONCEPTS, ids=lambda concept: concept.name)
def test_every_concept_is_known_by_name_and_by_our_phrase(concept):
    assert concept.name in label_text(f"following clinical concepts: {concept.name}").concepts
    assert concept.name in label_text(f"I also observe {PHRASES[concept.name]}.").concepts


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
    match = label_text(text).trace[-1]
    assert (match.standing, match.cue) == (standing, cue)
    assert text[match.start :].startswith(match.words)
    assert match.words.lower() == "psoriasis"
    assert match.negated == (standing == "denied")


def test_a_misspelt_word_is_traced_as_it_was_written():
    (match,) = label_text("Clearly PSORIASSIS here").trace
    assert match.words == "PSORIASSIS"
    assert label_text("a popular ointment").concepts == ()


def test_a_concept_inside_a_diseases_name_is_no_finding():
    assert label_text("It is an epidermoid cyst.").concepts == ()
    assert label_text("It is a cyst.").concepts == ("Cyst",)


def test_one_word_may_name_two_concepts():
    assert label_text("a maculopapular rash").concepts == ("Papule", "Macule")


def test_classes_are_named_by_whole_words_of_any_case_and_number():
    assert label_text("MELANOMAS or Psoriasis?").mentioned == (CLASSES[8].name, CLASSES[10].name)
    assert label_text("a molecule, remnants of acnestis").mentioned == ()
    assert label_text("It may be hives.").mentioned == (CLASSES[12].name,)


def test_concepts_are_named_in_captions_and_sentences():
    caption = "concepts: Scale, Warty/Papillomatous, Brown(Hyperpigmentation), Flat topped"
    assert label_text(caption).concepts == (
        "Brown(Hyperpigmentation)",
        "Scale",
        "Warty/Papillomatous",
        "Flat topped",
    )
    seen = label_text("I see papules, bullae and yellow colour.").concepts
    assert seen == ("Papule", "Yellow", "Bulla")
    assert label_text("scaleless").concepts == ()


def test_what_a_text_denies_it_does_not_name():
    assert label_text("This is not melanoma.").mentioned == ()
    assert label_text("This is not melanoma but eczema.").mentioned == (CLASSES[2].name,)
    assert label_text("There is no scale.").concepts == ()


def test_a_disease_names_its_own_class_only():
    for entry in CLASSES:
        for disease in entry.diseases:
            answer = f"This could be a skin disease image of {disease}."
            assert label_text(answer).mentioned == (entry.name,)


def test_no_concept_phrase_names_another_concept():
    for concept in CONCEPTS:
        assert label_text(concept.phrase).concepts == (concept.name,)
        assert label_text(concept.name).concepts == (concept.name,)


def test_every_disease_of_the_label_tables_is_known():
    names = set()
    for path in (PACKAGE_ROOT / "data" / "labels").glob("*.csv"):
        with path.open(encoding="utf-8", newline="") as file:
            names |= {row["name"].lower() for row in csv.DictReader(file)}
    assert {name for name in names if not diagnoses(name)[1]} <= NO_DISEASE


@pytest.mark.parametrize("condition", CONDITIONS.values(), ids=lambda one: one.name)
def test_every_term_of_a_disease_names_it(condition):
    for term in condition.terms:
        for spelling in (re.sub(r"\(\w+\)", "", term), re.sub("[()]", "", term)):
            assert diagnoses(f"It is {spelling}.") == ([condition], [condition])


@pytest.mark.parametrize(
    ("text", "settled", "named"),
    [
        ("It is a melanoma.", ["melanoma"], ["melanoma"]),
        ("Not a melanoma but a mole.", ["melanocytic nevus"], ["melanocytic nevus"]),
        ("A mole or an early melanoma.", ["melanocytic nevus", "melanoma"], None),
        ("Melanoma Skin Cancer Nevi and Moles", ["melanoma", "melanocytic nevus"], None),
        ("A melanoma that arose in a mole.", ["melanoma"], ["melanoma", "melanocytic nevus"]),
        ("Basal cell carcinoma, a kind of skin cancer.", ["basal cell carcinoma"], None),
        ("Eczema (psoriasis).", ["eczema", "psoriasis"], None),
        ("Most likely a mole. Melanoma is less likely.", ["melanocytic nevus"], None),
        ("A mole; melanoma cannot be ruled out.", ["melanocytic nevus"], None),
        ("Possibly psoriasis or eczema.", ["psoriasis", "eczema"], ["psoriasis", "eczema"]),
        ("Psoriasis. Eczema looks alike.", ["psoriasis"], ["psoriasis", "eczema"]),
        ("A PSORIASSIS.", ["psoriasis"], ["psoriasis"]),
        ("A scar.", [], []),
        ("", [], []),
    ],
)
def test_an_answer_settles_on_one_disease_or_on_those_it_puts_side_by_side(text, settled, named):
    top, said = diagnoses(text)
    assert [one.name for one in top] == settled
    assert named is None or [one.name for one in said] == named
