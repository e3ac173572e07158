"""The benchmark scripts at their smallest size; what they say where there is no GPU."""

import sys

import pytest
import torch

from tests.scripts import load_script


@pytest.fixture(scope="module")
def vision():
    return load_script("benchmarks/vision.py")


@pytest.fixture(scope="module")
def llm():
    return load_script("benchmarks/llm.py")


def test_both_ways_compute_the_same_from_the_same_weights(vision, tmp_path):
    config = vision.SHAPES["tiny"]
    vision.write_weights(config, tmp_path)
    duel = vision.measure_encoding(config, tmp_path, 2, torch.device("cpu"))
    assert duel.difference < 1e-5
    assert len(duel.ours) == len(duel.theirs) == 2
    loadings = {name: vision.Loading(0.5, 2.0, 0.5) for name in vision.LOADERS}
    table = vision.report(loadings, duel, 10.0, 4.4)
    assert "| this package | 0.50 |" in table
    assert "construction and loading take 0.050 of that" in table
    assert 0 < duel.limit < 1
    assert "of that rate" in table


def test_the_ratio_is_the_median_of_pairs(vision):
    assert vision.Duel([1.0, 4.0, 9.0], [2.0, 4.0, 3.0], 0.0, 1.0).ratio() == 1.0


def test_a_language_model_is_measured(llm):
    row = llm.Row("random:tiny")
    outcome = llm.measure(row, torch.device("cpu"), 8)
    assert outcome.rate > 0
    assert outcome.first_token > 0
    assert llm.line(row, outcome).startswith("| random:tiny unquantised |")


def test_without_a_gpu_it_says_what_it_would_measure(llm, monkeypatch, capsys):
    monkeypatch.setattr(llm, "best_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(sys, "argv", ["llm.py"])
    llm.main()
    said = capsys.readouterr().out
    for row in llm.ROWS:
        assert str(row) in said


@pytest.fixture(scope="module")
def conversation():
    return load_script("benchmarks/conversation.py")


@pytest.fixture(scope="module")
def talk(conversation):
    return conversation.load("random:tiny", torch.device("cpu"))


def test_turns_are_timed_beside_a_plain_generate(conversation, talk, tmp_path):
    turns = conversation.measure_turns(talk, turns=3, tokens=4, repeats=2)
    assert [turn.tokens for turn in turns] == sorted({turn.tokens for turn in turns})
    assert all(min(*turn.ours, *turn.plain) > 0 for turn in turns)
    table = conversation.turn_table(turns)
    assert table.count("\n| 3 |") == 1
    assert "first token of turn 3 over turn 1" in table
    conversation.plot({"random:tiny": turns}, tmp_path / "turns.png")
    assert (tmp_path / "turns.png").stat().st_size > 1000


def test_every_forward_pass_is_a_token(conversation, talk):
    conv, photos = conversation.open_question(talk)
    with conversation.timed(talk) as steps:
        talk.answer(conv, photos, max_new_tokens=5, min_length=5)
    assert len(steps.ends) == 5
    assert steps.start < steps.ends[0] < steps.ends[-1]


def test_draws_and_batches_are_compared_with_one(conversation, talk):
    for compare in (conversation.measure_draws, conversation.measure_batch):
        outcome = compare(talk, 2, 3, 1)
        assert outcome.one > 0
        assert outcome.several > 0


def test_both_ways_hold_the_same_conversation(conversation, talk):
    ours, plain = (
        conversation.converse(talk, 3, 4, answer)
        for answer in (conversation.answer_with_memory, conversation.answer_plainly)
    )
    assert [length for length, _ in ours] == [length for length, _ in plain]


@pytest.fixture(scope="module")
def decode():
    return load_script("benchmarks/decode.py")


def test_the_machines_limits_are_measured():
    machine = load_script("benchmarks/machine.py")
    device = torch.device("cpu")
    assert 0.1 < machine.copy_bandwidth(device, size=2**20, repeats=2) < 100_000
    assert 1e8 < machine.matrix_rate(device, torch.float32, repeats=1) < 1e15
    assert 0.1 < machine.peak_gigabytes(device) < 100


def test_reading_and_writing_are_set_against_their_limits(decode):
    outcome = decode.measure("random:tiny", "bf16", torch.device("cpu"), 6, "plain")
    layers = 2 * (4 * 64 * 64 + 3 * 64 * 128)
    norms, head = 2 * 2 * 64 + 64, 512 * 64
    assert outcome.gigabytes == pytest.approx(2 * (layers + norms + head) / 1e9)
    assert 500 <= outcome.prompt < 520
    assert outcome.flops == 2 * layers * outcome.prompt
    assert outcome.reading > 0
    row = decode.line(
        "bf16", "plain", decode.Outcome(2.0, 5.0, 500, 0.1, 2e9), decode.Limits(40.0, 4e10)
    )
    assert row == "| bf16 | plain | 2.00 | 5.0 | 20.0 | 25% | 500 | 100 | 50 | 50% |"
