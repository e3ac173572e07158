"""The benchmark scripts at their smallest size; what they say where there is no GPU."""

import importlib.util
import sys

import pytest
import torch

from tests.conftest import PROJECT


def script(name):
    path = PROJECT / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def vision():
    return script("vision")


@pytest.fixture(scope="module")
def llm():
    return script("llm")


def test_both_ways_compute_the_same_from_the_same_weights(vision, tmp_path):
    config = vision.SHAPES["tiny"]
    vision.write_weights(config, tmp_path)
    duel = vision.measure_encoding(config, tmp_path, 2)
    assert duel.difference < 1e-5
    assert len(duel.ours) == len(duel.theirs) == 2
    loadings = {name: vision.Loading(0.5, 2.0, 0.5) for name in vision.LOADERS}
    table = vision.report(loadings, duel, 10.0, 4.4)
    assert "| this package | 0.50 |" in table
    assert "construction and loading take 0.050 of that" in table


def test_the_ratio_is_the_median_of_pairs(vision):
    assert vision.Duel([1.0, 4.0, 9.0], [2.0, 4.0, 3.0], 0.0).ratio() == 1.0


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
