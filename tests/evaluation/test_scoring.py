from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skingpt4.dermatology import CLASS_NAMES
from skingpt4.evaluation.cases import EvalCase
from skingpt4.evaluation.responses import Answer, Response
from skingpt4.evaluation.scoring.accuracy import count_concepts, f1_difference, score, score_asked
from skingpt4.labeler import MALIGNANT

MELANOCYTIC, PSORIASIS = CLASS_NAMES[8], CLASS_NAMES[10]


def case(
    number, disease_class=PSORIASIS, label="psoriasis", concepts=("Plaque", "Scale"), skin="I"
):
    return EvalCase(
        str(number), Path("none.jpg"), disease_class, label, concepts, skin, "", "0" * 64
    )


def answered(number, *texts, system="x", error=""):
    return Response(str(number), system, [Answer("?", text) for text in texts], error)


@pytest.fixture
def scored():
    cases = [
        case(1),
        case(2, skin="VI"),
        case(3, MALIGNANT, "basal cell carcinoma", ("Nodule",)),
        case(4, MELANOCYTIC, "melanoma", ()),
        case(5, MELANOCYTIC, "melanocytic nevus", ()),
    ]
    rows = [
        answered(1, "psoriasis with plaques", "I observe scale and crust.", "Papules cause it."),
        answered(2, "I cannot diagnose this."),
        answered(3, "Eczema; basal cell carcinoma is less likely.", "A nodule."),
        answered(4, "A harmless melanocytic nevus."),
        answered(5, error="PhotoError: broken"),
    ]
    return score(cases, rows)["x"]


def test_hits_and_failures_are_counted_over_all_cases(scored):
    assert (scored.n, scored.hits, scored.mentioned_hits) == (5, 2, 3)
    assert (scored.abstained, scored.failed) == (1, 1)
    assert scored.per_class == {MALIGNANT: (0, 1), MELANOCYTIC: (1, 2), PSORIASIS: (1, 2)}
    assert scored.per_skin_type == {"I": (2, 4), "VI": (0, 1)}


def test_concepts_are_read_from_the_first_two_answers(scored):
    # Case 1: Plaque and Scale right, Crust wrong. Case 2: two missed. Case 3: one right.
    concepts = scored.concepts
    assert concepts.counts == {"1": (2, 3, 2), "2": (0, 0, 2), "3": (1, 1, 1)}
    assert (concepts.precision, concepts.recall) == (3 / 4, 3 / 5)
    assert concepts.f1 == pytest.approx(2 * 3 / (4 + 5))


def test_answers_that_repeat_one_another_are_counted(scored):
    assert scored.all_different == 4  # the failed case has no answers
    rows = [answered(1, "acne", "acne")]
    assert score([case(1)], rows)["x"].all_different == 0


def test_the_confusion_matrix_has_a_row_for_none(scored):
    table = np.array(scored.confusion)
    assert table.shape == (16, 15)
    assert table.sum() == 5
    psoriasis, melanocytic = CLASS_NAMES.index(PSORIASIS), CLASS_NAMES.index(MELANOCYTIC)
    assert table[psoriasis, psoriasis] == 1
    assert table[15, psoriasis] == 1
    assert (table[melanocytic, melanocytic], table[15, melanocytic]) == (1, 1)


def test_a_malignant_disease_is_missed_only_if_none_is_named(scored):
    # Of the carcinoma (named, second) and the melanoma (called a nevus), the second is missed.
    assert scored.missed_malignancy == (1, 2)


def test_systems_are_scored_apart():
    rows = [answered(1, "psoriasis", system="b"), answered(1, "acne", system="a")]
    scores = score([case(1)], rows)
    assert {name: own.hits for name, own in scores.items()} == {"b": 1, "a": 0}
    assert list(scores) == ["b", "a"]


def named(concepts, times=20):
    """The same concepts named about many cases that show Plaque and Scale."""
    return count_concepts((case(number), frozenset(concepts)) for number in range(times))


def test_the_f1_interval_repeats_and_holds_the_estimate():
    mixed = [frozenset({"Plaque"}), frozenset({"Plaque", "Scale"}), frozenset({"Crust"})] * 10
    scores = [count_concepts(zip(map(case, range(30)), mixed, strict=True)) for _ in range(2)]
    assert scores[0] == scores[1]
    assert scores[0].low < scores[0].f1 == 2 * 30 / (40 + 60) < scores[0].high
    nothing = count_concepts([(case(1, concepts=()), frozenset({"Plaque"}))])
    assert np.isnan([nothing.f1, nothing.low, nothing.high, nothing.precision]).all()


def test_f1_is_compared_on_the_cases_of_both():
    both, half, none = named({"Plaque", "Scale"}), named({"Plaque", "Crust"}), named({"Crust"})
    difference = f1_difference(both, half)
    assert (difference.estimate, difference.low, difference.high) == (0.5, 0.5, 0.5)
    assert f1_difference(none, both).estimate == -1
    assert f1_difference(named({"Plaque"}, times=3), named({"Plaque"}, times=9)).estimate == 0
    assert np.isnan(f1_difference(named({"Plaque"}, times=0), both).estimate)


def test_the_question_of_step_1_is_scored_from_all_its_answers():
    rows = [answered(1, "This image shows plaque and scale."), answered(2, "I see crust.")]
    scores = score_asked([case(1), case(2)], rows)
    assert scores["x"].counts == {"1": (2, 2, 2), "2": (0, 1, 2)}


def test_photo_quality_is_the_pages_first_hint(tmp_path):
    rng = np.random.default_rng(0)
    sharp = rng.integers(60, 200, (256, 256, 3), dtype=np.uint8)
    sharp[..., 2] //= 2  # skin is more red than blue
    photos = {
        "good": sharp,
        "small": sharp[:100],
        "dark": sharp // 10,
        "bright": np.full((256, 256, 3), 255, dtype=np.uint8),
        "flat": np.full((256, 256, 3), 128, dtype=np.uint8),
        "blurred": np.linspace([80, 60, 40], [200, 150, 90], 256 * 256).reshape(256, 256, 3),
        "no skin": sharp[..., ::-1],
    }
    cases = []
    for expected, pixels in photos.items():
        path = tmp_path / f"{expected}.png"
        Image.fromarray(pixels.astype(np.uint8)).save(path)
        cases.append(replace(case(expected), image=path))
    cases.append(replace(case("unreadable"), image=tmp_path / "none.png"))
    for one in cases:
        found = score([one], [answered(one.id, "psoriasis")])["x"].per_quality
        assert found == {one.id: (1, 1)}
