"""The vocabulary equals the paper's tables, and every disease has its malignancy and names."""

import re
from typing import get_args

import pytest

from skingpt4.dermatology import (
    CLASSES,
    CONCEPTS,
    CONDITIONS,
    FITZPATRICK_TYPES,
    OTHERS_COUNT,
    QUESTIONNAIRE,
    QUESTIONS,
    Malignancy,
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


def test_conditions_have_a_known_malignancy_and_a_chinese_name():
    assert {one.malignancy for one in CONDITIONS.values()} == set(get_args(Malignancy))
    for one in CONDITIONS.values():
        assert re.search("[\u4e00-\u9fff]", one.chinese)
    chinese = [one.chinese for one in CONDITIONS.values()]
    assert len(chinese) == len(set(chinese))
    terms = [term for one in CONDITIONS.values() for term in one.terms]
    assert all(term == term.lower() for term in terms)
    assert {one.name for one in CONDITIONS.values() if one.is_general} == {
        "skin cancer",
        "benign tumor",
    }


@pytest.mark.parametrize(
    ("name", "malignancy"),
    [
        ("melanoma", "malignant"),  # 8720/3
        ("lentigo maligna", "malignant"),  # 8742/2
        ("Bowen disease", "malignant"),  # 8081/2
        ("basal cell carcinoma", "malignant"),  # 8090/3
        ("Kaposi sarcoma", "malignant"),  # 9140/3
        ("actinic keratosis", "premalignant"),  # a precursor of carcinoma
        ("lymphomatoid papulosis", "premalignant"),  # 9718/1
        ("melanocytic nevus", "benign"),  # 8720/0
        ("dysplastic nevus", "benign"),  # 8727/0
        ("hemangioma", "benign"),  # 9120/0
        ("psoriasis", "non_neoplastic"),
        ("vascular tumor", "unclear"),
    ],
)
def test_malignancy_follows_the_behaviour_codes_of_the_who(name, malignancy):
    assert CONDITIONS[name].malignancy == malignancy
