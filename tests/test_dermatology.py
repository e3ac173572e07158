"""The vocabulary equals the paper's tables."""

from skingpt4.dermatology import (
    CLASSES,
    CONCEPTS,
    FITZPATRICK_TYPES,
    OTHERS_COUNT,
    QUESTIONNAIRE,
    QUESTIONS,
)


def test_concepts_are_the_papers():
    names = [concept.name for concept in CONCEPTS]
    assert len(names) == len(set(names)) == 48
    assert (names[0], names[1], names[-1]) == ("Erythema", "Plaque", "Pigmented")
    counts = [concept.count for concept in CONCEPTS]
    assert counts == sorted(counts, reverse=True)
    assert (counts[0], counts[2], counts[-1]) == (2139, 1169, 5)
    # The sum of the 48 counts that the paper lists.
    assert sum(counts) == 10050


def test_classes_are_the_papers():
    assert len(CLASSES) == 15
    # The paper's step 2 holds 49,043 images.
    assert sum(entry.step2_count for entry in CLASSES) + OTHERS_COUNT == 49043
    assert CLASSES[8].name == "Melanoma skin cancer, nevi, moles"
    assert CLASSES[8].step2_count == 23373
    diseases = [name for entry in CLASSES for name in entry.diseases]
    assert len(diseases) == len(set(diseases))
    assert all(name == name.lower() for name in diseases)


def test_questions_and_types():
    assert len(QUESTIONS) == 4
    assert len(QUESTIONNAIRE) == 7
    assert FITZPATRICK_TYPES == ("I", "II", "III", "IV", "V", "VI")
