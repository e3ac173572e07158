import csv
import json
from unittest.mock import Mock

import pytest

from skingpt4.common.errors import EvaluationError
from skingpt4.dermatology import QUESTIONS
from skingpt4.evaluation import cases as case_lists
from skingpt4.evaluation.cases import read_cases
from skingpt4.evaluation.commands import COMMANDS, run_command
from skingpt4.evaluation.commands.protocol import fill_in_ratings
from skingpt4.evaluation.responses import read_responses
from tests.scripts import run_script


@pytest.fixture
def answered(drawn_cases, tmp_path):
    """An output folder with a made-up system that is right about every second case."""
    answers = tmp_path / "answers.csv"
    with answers.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("case", "question", "answer"))
        for number, case in enumerate(read_cases(drawn_cases)):
            said = case.label if number % 2 else "an unknown disease"
            writer.writerow((case.id, 1, f"This could be {said}."))
            writer.writerow((case.id, 2, ", ".join(case.concepts)))
    shared = ["--cases", str(drawn_cases), "--output", str(tmp_path / "out")]
    run_command("run", [*shared, "--import", f"made up={answers}", "--only", "made up"])
    return shared, tmp_path / "out"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_there_and_explains_itself(name, capsys):
    with pytest.raises(SystemExit) as stop:
        run_command(name, ["--help"])
    assert stop.value.code == 0
    assert "--help" in capsys.readouterr().out


def test_run_checks_every_system_without_answering(tmp_path, capsys):
    missing = f"lost=eval_configs/skingpt4_eval_tiny.yaml,model.ckpt={tmp_path}/lost.safetensors"
    command = ["--check", "--cpu", "--output", str(tmp_path / "out"), "--system", missing]
    for only, code in (("two-step", 0), ("lost", 1)):
        with pytest.raises(SystemExit) as stop:
            run_command("run", [*command, "--only", only])
        assert stop.value.code == code
        assert capsys.readouterr().out.startswith(f"{only}\n")
    with pytest.raises(EvaluationError, match="'nobody'"):
        run_command("run", [*command, "--only", "nobody"])
    assert not (tmp_path / "out").exists()


def test_cases_are_checked_and_leaks_reported(drawn_cases, tmp_path, capsys):
    folder = drawn_cases.parent / "cases"
    run_command(
        "cases",
        ["--cases", str(drawn_cases), "--output", str(tmp_path), "--training", str(folder)],
    )
    printed = capsys.readouterr().out
    assert "150 cases, as in the paper (15 x 10)" in printed
    assert "150 the same file" in printed
    checked = json.loads((tmp_path / "cases_checked.json").read_text(encoding="utf-8"))
    assert len(checked["images"]) == 150
    assert checked["is_15_by_10"] is True


def test_scores_are_written_with_the_words_behind_them(answered, capsys):
    shared, output = answered
    run_command("score", shared)
    content = json.loads((output / "scores.json").read_text(encoding="utf-8"))
    own = content["systems"]["made up"]
    assert (own["hits"], own["n"]) == (75, 150)
    low, high = own["intervals"]["hits"]
    # Wilson's interval of 75 of 150, by hand: centre 1/2, half width z sqrt(n/4 + z²/4) / (n + z²).
    half = 1.959964 * (150 / 4 + 1.959964**2 / 4) ** 0.5 / (150 + 1.959964**2)
    assert (low, high) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-6)
    assert own["concepts"]["f1"] > 0.95
    readings = {row["case"]: row for row in content["readings"]}
    case = read_cases(shared[1])[1]
    assert readings[case.id]["top"] == case.disease_class
    assert readings[case.id]["trace"][0]["words"].lower() in case.label
    printed = capsys.readouterr().out
    assert "| skin type | made up |" in printed
    first = (output / "scores.json").read_bytes()
    run_command("score", shared)
    assert (output / "scores.json").read_bytes() == first


def test_answers_about_another_case_list_are_refused(answered, tmp_path):
    _, output = answered
    other = tmp_path / "other"
    before = (output / "responses.jsonl").read_bytes()
    cases = read_cases(answered[0][1])[:1]
    other.mkdir()
    (other / "1.jpg").write_bytes(cases[0].image.read_bytes())
    short = other / "short.csv"
    short.write_text(f'id,image,class\n1,1.jpg,"{cases[0].disease_class}"\n', encoding="utf-8")
    for command in (["score"], ["run", "--only", "two-step"]):
        with pytest.raises(EvaluationError, match="another case list"):
            run_command(command[0], ["--cases", str(short), "--output", str(output), *command[1:]])
    assert (output / "responses.jsonl").read_bytes() == before
    assert not (output / "scores.json").exists()


def test_humans_ratings_are_left_alone_and_missing_ones_are_simulated(answered):
    shared, output = answered
    cases = read_cases(shared[1])
    fill_in_ratings(output, cases)
    made_up = (output / "ratings.csv").read_text(encoding="utf-8")
    assert "simulated" in made_up
    (output / "ratings.csv").write_text("as entered\n", encoding="utf-8")
    fill_in_ratings(output, cases)
    assert (output / "ratings.csv").read_text(encoding="utf-8") == "as entered\n"


def test_one_system_answers_and_repeats_itself(drawn_cases, tmp_path, capsys):
    shared = ["--cases", str(drawn_cases), "--output", str(tmp_path), "--max-new-tokens", "30"]
    run_command("run", [*shared, "--only", "step 1 only", "--limit", "2"])
    rows = read_responses(tmp_path / "responses.jsonl").rows
    assert [[a.question for a in row.answers] for row in rows] == [list(QUESTIONS)] * 2
    run_command("consistency", [*shared, "--limit", "2", "--draws", "3"])
    drawn = read_responses(tmp_path / "consistency.jsonl")
    assert list(drawn.header["systems"]) == ["two-step (sampled)", "two-step (greedy)"]
    assert [len(row.answers) for row in drawn.rows] == [3] * 4
    assert "two-step (greedy) | 2 |" in capsys.readouterr().out


def test_the_script_lists_its_commands_and_turns_mistakes_into_one_sentence(tmp_path):
    listing = run_script("evaluate.py", "--help")
    assert listing.returncode == 0
    assert all(name in listing.stdout for name in COMMANDS)
    absent = ("--cases", tmp_path / "none.csv", "--output", tmp_path)
    missing = run_script("evaluate.py", "score", *absent)
    assert missing.returncode == 2
    assert missing.stderr.startswith("error: The case list")
    assert "Traceback" not in missing.stderr


def test_scores_of_other_answers_are_called_stale(answered, caplog):
    shared, output = answered
    run_command("score", shared)
    run_command("report", shared)
    assert "evaluate.py score" not in caplog.text
    scores = output / "scores.json"
    old = scores.read_text(encoding="utf-8").replace('"vocabulary": 1', '"vocabulary": 0')
    scores.write_text(old, encoding="utf-8")
    run_command("report", shared)
    assert "make it again with 'evaluate.py score'" in caplog.text
    assert scores.read_text(encoding="utf-8") == old


def test_the_whole_protocol_runs_and_says_that_nobody_rated(drawn_cases, tmp_path, monkeypatch):
    # One case of each class, of which all four systems answer four.
    rows = drawn_cases.read_text(encoding="utf-8").splitlines()
    cases = drawn_cases.with_name("fifteen.csv")
    cases.write_text("\n".join(rows[:16]) + "\n", encoding="utf-8")
    spies = {name: Mock(wraps=getattr(case_lists, name)) for name in ("sha256_of", "open_photo")}
    for name, spy in spies.items():
        monkeypatch.setattr(case_lists, name, spy)
    run_command("protocol", ["--cases", str(cases), "--output", str(tmp_path), "--limit", "4"])
    # Beside what the models see, every photo is hashed once and opened once.
    for spy in spies.values():
        paths = [call.args[0] for call in spy.call_args_list]
        assert len(paths) == len(set(paths)) == 15
    responses = read_responses(tmp_path / "responses.jsonl")
    assert len(responses.rows) == 4 * 4
    assert "simulated" in (tmp_path / "report.html").read_text(encoding="utf-8").lower()
    asked = read_responses(tmp_path / "concepts.jsonl").rows
    assert len(asked) == 4 * 4
    assert all("medical concepts" in row.answers[0].question for row in asked)
    scored = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
    assert all(0 < own["f1"] <= 1 for own in scored["asked_concepts"].values())
    for name in ("scores.json", "consistency.jsonl", "ratings.csv", "times.csv", "report.pdf"):
        assert (tmp_path / name).is_file()
