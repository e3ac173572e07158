"""The case sampler and the rows of data behind it."""

from collections import Counter

import pytest

from skingpt4.dermatology import CLASSES, CONCEPTS
from skingpt4.synthetic.marks import COLOURS, MARKS
from skingpt4.synthetic.sets import held_out_cases
from skingpt4.synthetic.world import (
    CLASS_OF,
    CONCEPT_ORDER,
    DISEASES,
    MAX_CONCEPTS,
    MIN_CONCEPTS,
    Stream,
    sample_case,
)

NAMES = {concept.name for concept in CONCEPTS}


@pytest.fixture(scope="module")
def cases():
    return [sample_case(0, Stream.CONCEPT, index) for index in range(3000)]


def test_every_disease_has_a_row_and_a_class():
    assert set(DISEASES) == {name for entry in CLASSES for name in entry.diseases}
    assert set(CLASS_OF) == set(DISEASES)


@pytest.mark.parametrize("disease", DISEASES.values(), ids=DISEASES)
def test_disease_rows_are_valid(disease):
    assert disease.groups[0].probability == 1
    for group in disease.groups:
        assert set(group.marks) <= NAMES
        assert all(0 < share <= 1 for share in group.marks.values())
        assert 0 < group.probability <= 1
        assert 1 <= group.count[0] <= group.count[1]
        assert 0 < group.radius[0] <= group.radius[1] < 0.7


def test_each_concept_has_a_drawing_function():
    assert set(MARKS) == NAMES
    assert COLOURS <= NAMES


def test_sampling_depends_on_all_its_arguments_only():
    again = sample_case(3, Stream.GENERAL, 40)
    assert sample_case(3, Stream.GENERAL, 40) == again
    others = ((4, Stream.GENERAL, 40), (3, Stream.CONCEPT, 40), (3, Stream.GENERAL, 41))
    assert all(sample_case(*other) != again for other in others)


def test_concepts_are_those_of_the_groups_in_the_papers_order(cases):
    for case in cases:
        shown = {mark for group in case.groups for mark in group.marks}
        assert set(case.concepts) == shown
        assert list(case.concepts) == sorted(case.concepts, key=CONCEPT_ORDER.__getitem__)
        assert MIN_CONCEPTS <= len(case.concepts) <= MAX_CONCEPTS
        assert CLASS_OF[case.disease] == case.class_name


def test_every_concept_occurs_in_one_image_of_a_hundred(cases):
    counts = Counter(concept for case in cases for concept in case.concepts)
    rare = {name: counts[name] for name in NAMES if counts[name] < len(cases) / 100}
    assert not rare


def test_classes_and_skin_types_are_equally_frequent(cases):
    assert set(Counter(case.class_name for case in cases).values()) == {200}
    types = Counter(case.fitzpatrick for case in cases)
    assert len(types) == 6
    assert max(types.values()) - min(types.values()) < 40


def test_class_follows_from_what_is_drawn(cases):
    looks: dict[object, Counter[str]] = {}
    for case in cases:
        first = case.groups[0]
        look = (case.concepts, first.arrangement, first.shape)
        looks.setdefault(look, Counter())[case.class_name] += 1
    right = sum(max(classes.values()) for classes in looks.values())
    assert right / len(cases) > 0.97


def test_neighbouring_classes_share_concepts():
    def marks(disease):
        return {mark for group in DISEASES[disease].groups for mark in group.marks}

    assert len(marks("atopic dermatitis") & marks("psoriasis")) >= 3
    assert len(marks("melanoma") & marks("melanocytic nevus")) >= 2


def test_paper_balance_follows_the_weights():
    weights = [entry.step2_count for entry in CLASSES]
    drawn = Counter(
        sample_case(0, Stream.DIAGNOSIS, index, weights).class_name for index in range(1500)
    )
    melanoma = CLASSES[8]
    assert abs(drawn[melanoma.name] / 1500 - melanoma.step2_count / sum(weights)) < 0.05


def test_held_out_cases_are_balanced_and_apart():
    held_out = held_out_cases(seed=0, per_class=10)
    assert set(Counter(case.class_name for case in held_out).values()) == {10}
    types = Counter(case.fitzpatrick for case in held_out)
    assert set(types.values()) <= {24, 25, 26}
    seen = {
        sample_case(0, stream, index).draw_seed
        for stream in Stream
        for index in range(len(held_out))
    }
    assert not seen & {case.draw_seed for case in held_out}
    assert all(case.draw_seed[0] >= 1_000_000 for case in held_out)
