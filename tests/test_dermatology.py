"""The vocabulary equals the paper's tables, and names are found in free text."""

from skingpt4.dermatology import (
    CLASSES,
    CONCEPTS,
    FITZPATRICK_TYPES,
    OTHERS_COUNT,
    QUESTIONNAIRE,
    QUESTIONS,
    classes_named,
    concepts_named,
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


def test_each_disease_names_its_own_class_only():
    for entry in CLASSES:
        for disease in entry.diseases:
            answer = f"This could be a skin disease image of {disease}."
            assert classes_named(answer) == (entry.name,)


def test_classes_named_respects_words_case_and_plural():
    assert classes_named("MELANOMAS or Psoriasis?") == (CLASSES[8].name, CLASSES[10].name)
    assert classes_named("a molecule, remnants of acnestis") == ()
    assert classes_named("It may be hives.") == (CLASSES[12].name,)


def test_concepts_named_in_captions_and_sentences():
    caption = "concepts: Scale, Warty/Papillomatous, Brown(Hyperpigmentation), Flat topped"
    assert concepts_named(caption) == (
        "Brown(Hyperpigmentation)",
        "Scale",
        "Warty/Papillomatous",
        "Flat topped",
    )
    assert concepts_named("I see papules, bullae and yellow colour.") == (
        "Papule",
        "Yellow",
        "Bulla",
    )
    assert concepts_named("scaleless") == ()


def test_no_concept_phrase_names_another_concept():
    for concept in CONCEPTS:
        assert concepts_named(concept.phrase) == (concept.name,)
        assert concepts_named(concept.name) == (concept.name,)
