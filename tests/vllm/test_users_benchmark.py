"""``benchmarks/users.py`` counts what it says it counts."""

import sys
from itertools import chain

from transformers import AutoModelForCausalLM

from benchmarks import users
from skingpt4.conversation.engines import Decoding
from skingpt4.models.llm import load_tokenizer


def test_tokens_and_waits_are_those_of_the_answers(in_process, photos, monkeypatch):
    monkeypatch.setattr(users, "EXAMPLES", list(photos))
    load = users.measure(in_process, 3, 6)
    assert (load.engine, load.users) == ("transformers", 3)
    assert len(load.first_tokens) == 3 * 4
    assert 0 < load.percentile(50) <= load.percentile(95)
    assert load.tokens_a_second > 0
    meter = users.Meter(in_process.engine)
    prompt = meter.prompts.encode(["Describe this image."])
    assert len(list(chain.from_iterable(meter.stream(prompt, Decoding(max_new_tokens=6))))) == 6
    assert meter.tokens == [6]
    assert len(meter.waits) == 1


def test_the_written_language_model_speaks_with_the_embedded_tokenizer(tmp_path):
    users.write_llm("random:tiny", tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert model.config.vocab_size == len(load_tokenizer(str(tmp_path)))


def test_it_prints_and_draws_both_engines(tmp_path, monkeypatch, capsys, make_chat, server, photos):
    monkeypatch.setattr(users, "EXAMPLES", list(photos))
    monkeypatch.setattr(
        users,
        "load_chat",
        lambda _, options: make_chat(server.url, engine=options[0].partition("=")[2]),
    )
    monkeypatch.setattr(
        sys,
        "argv",
        [
            "users.py",
            "--url",
            server.url,
            "--users",
            "1",
            "2",
            "--tokens",
            "4",
            "--plot",
            str(tmp_path / "users.png"),
        ],
    )
    users.main()
    rows = capsys.readouterr().out.splitlines()[2:]
    names = [row.split("|")[1].strip() for row in rows]
    assert names == ["in this process"] * 2 + ["vLLM"] * 2
    assert (tmp_path / "users.png").stat().st_size > 5000
