import pytest
import torch

from skingpt4.conversation.engines import Decoding
from skingpt4.dermatology import CLASS_NAMES, QUESTIONS
from skingpt4.evaluation.cases import read_cases
from skingpt4.evaluation.responses import Answer, Response
from skingpt4.evaluation.scoring.repeatability import NONE_NAMED, choose_images, measure_consistency
from skingpt4.evaluation.scoring.statistics import clustered_interval
from skingpt4.evaluation.systems import BUILTIN_CHECKPOINTS, skingpt4_system


def row(case, *texts, system="x", error=""):
    return Response(case, system, [Answer("?", text) for text in texts], error)


def test_agreement_is_counted_by_image():
    rows = [
        row("1", "acne", "acne", "acne", "acne"),
        row("2", "acne", "rosacea", "psoriasis", "I cannot tell."),
        row("3", "acne", "psoriasis", "psoriasis", "psoriasis"),
        row("4", error="broken"),
    ]
    found = measure_consistency(rows)["x"]
    # Acne and rosacea are one class: the images' usual diagnoses have 4, 2 and 3 of 4 draws.
    assert [image.counts for image in found.images] == [[4], [2, 1, 1], [3, 1]]
    assert found.images[1].tops[3] == NONE_NAMED
    assert found.modal.estimate == pytest.approx(9 / 12)
    # Pairs that agree, of 6 each: 6, 1 and 3.
    assert found.pairwise.estimate == pytest.approx(10 / 18)
    assert (found.all_same.k, found.all_same.n, found.failed) == (1, 3, 1)


def test_intervals_are_clustered_by_image():
    # The same draws in ten images instead of one image repeated: wider than 100 free draws.
    rows = [
        row(str(n), *(["acne"] * 10 if n % 2 else ["acne", "psoriasis"] * 5)) for n in range(10)
    ]
    found = measure_consistency(rows)["x"].modal
    assert found == clustered_interval([5, 10] * 5, [10] * 10)
    assert found.low < clustered_interval([1] * 75 + [0] * 25, [1] * 100).low


def test_images_are_chosen_from_every_class(drawn_cases):
    chosen = choose_images(read_cases(drawn_cases))
    assert len(chosen) == 45
    classes = [case.disease_class for case in chosen]
    assert classes == [name for name in CLASS_NAMES for _ in range(3)]


def test_greedy_draws_agree_and_sampled_ones_repeat_with_their_seed(batch_chat, drawn_cases):
    torch.set_num_threads(1)
    cases = read_cases(drawn_cases)[:2]

    def draw(decoding, cases):
        question, checkpoint = QUESTIONS[:1], BUILTIN_CHECKPOINTS[0]
        system = skingpt4_system(checkpoint, decoding, lambda: batch_chat, question, draws=3)
        return system.load()(cases)

    greedy = draw(Decoding(max_new_tokens=30), cases)
    assert [len({answer.text for answer in own}) for own in greedy] == [1, 1]
    hot = Decoding(max_new_tokens=30, temperature=3.0, top_p=1.0, seed=1)
    sampled = draw(hot, cases)
    assert len({answer.text for answer in sampled[0]}) > 1
    alone = draw(hot, cases[1:])
    assert [answer.text for answer in alone[0]] == [answer.text for answer in sampled[1]]
