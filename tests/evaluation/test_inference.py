import dataclasses
import json
import sys
from pathlib import Path

import pytest
import torch

from skingpt4.common.errors import EvaluationError, PhotoError
from skingpt4.conversation.engines import Decoding
from skingpt4.dermatology import QUESTIONS
from skingpt4.evaluation.cases import read_cases
from skingpt4.evaluation.commands.ask import choose
from skingpt4.evaluation.inference import answer_all, respond
from skingpt4.evaluation.responses import Answer, read_responses
from skingpt4.evaluation.systems import (
    BUILTIN_CHECKPOINTS,
    Checkpoint,
    SystemUnderTest,
    describe_checkpoint,
    parse_checkpoint,
    seed_for,
    skingpt4_system,
)
from tests.conftest import PROJECT
from tests.scripts import run_script


class Process:
    """One of several processes that take turns; nobody waits."""

    def __init__(self, index=0, count=1):
        self.process_index, self.num_processes = index, count
        self.device = torch.device("cpu")

    @property
    def is_main_process(self):
        return self.process_index == 0

    def wait_for_everyone(self):
        pass


@pytest.fixture
def cases(drawn_cases):
    return read_cases(drawn_cases)[:7]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "responses.jsonl"


def echo(log=None, fail_at=None):
    """Make a system that answers with the case's id, and may fail at one."""

    def answer(batch):
        if log is not None:
            log.append([case.id for case in batch])
        if any(case.id == fail_at for case in batch):
            raise PhotoError(f"The photo of {fail_at} is broken.")
        return [[Answer("?", f"case {case.id}")] for case in batch]

    return SystemUnderTest("echo", describe=lambda: {"kind": "echo"}, load=lambda: answer)


def texts(path):
    return {(r.system, r.case): [a.text for a in r.answers] for r in read_responses(path).rows}


def test_every_case_is_answered_in_order(path, cases):
    log = []
    answer_all(path, cases, [echo(log)], 3, Process())
    assert log == [["1", "2", "3"], ["4", "5", "6"], ["7"]]
    assert [row.case for row in read_responses(path).rows] == [case.id for case in cases]
    assert list(path.parent.glob("*.part*")) == []


def test_a_case_that_fails_is_recorded_and_the_others_are_answered(path, cases):
    answer_all(path, cases, [echo(fail_at="2")], 4, Process())
    rows = {row.case: row for row in read_responses(path).rows}
    assert len(rows) == len(cases)
    assert rows["2"].error == "PhotoError: The photo of 2 is broken."
    assert rows["2"].answers == []
    assert all(row.answers for case, row in rows.items() if case != "2")


def test_an_interrupted_run_goes_on_where_it_stopped(path, cases):
    class Crash(BaseException):
        pass

    def breaks():
        answered = echo().load()

        def answer(batch):
            if batch[0].id == "5":
                raise Crash
            return answered(batch)

        return answer

    crashing = dataclasses.replace(echo(), load=breaks)
    with pytest.raises(Crash):
        answer_all(path, cases, [crashing], 2, Process())
    log = []
    answer_all(path, cases, [echo(log)], 2, Process())
    assert log == [["5", "6"], ["7"]]
    assert len(read_responses(path).rows) == len(cases)
    again = []
    answer_all(path, cases, [echo(again)], 2, Process())
    assert again == []


def test_processes_share_the_cases_and_the_result_is_the_same(path, cases, tmp_path):
    answer_all(path, cases, [echo()], 2, Process())
    shared = tmp_path / "shared.jsonl"
    log = []
    # The main process has not merged yet when the other begins, as both wait for each other.
    main = Process(0, 2)
    other = Process(1, 2)
    main.wait_for_everyone = lambda: None
    answer_all(shared, cases, [echo(log)], 2, main)
    answer_all(shared, cases, [echo(log)], 2, other)
    answer_all(shared, cases, [echo(log)], 2, main)
    assert sorted(case for batch in log for case in batch) == [case.id for case in cases]
    assert read_responses(shared).rows == read_responses(path).rows


def test_only_some_cases_may_be_asked_and_the_rest_later(path, cases):
    answer_all(path, cases, [echo()], 2, Process(), cases[:3])
    assert len(read_responses(path).rows) == 3
    answer_all(path, cases, [echo()], 2, Process())
    assert len(read_responses(path).rows) == len(cases)


def test_another_case_list_is_refused_before_anything_is_answered(path, cases):
    answer_all(path, cases, [echo()], 2, Process())
    before = path.read_bytes()
    log = []
    with pytest.raises(EvaluationError, match="another case list"):
        answer_all(path, cases[:2], [echo(log)], 2, Process())
    assert (path.read_bytes(), log) == (before, [])


def test_a_batch_that_fails_is_tried_case_by_case(cases):
    log = []
    rows = respond("echo", echo(log, fail_at="3").load(), cases[:4])
    assert log[0] == ["1", "2", "3", "4"]
    assert log[1:] == [["1"], ["2"], ["3"], ["4"]]
    assert [bool(row.error) for row in rows] == [False, False, True, False]


def test_seeds_differ_by_case_and_draw_and_repeat():
    seeds = {seed_for(0, str(case), draw) for case in range(20) for draw in range(10)}
    assert len(seeds) == 200
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert seed_for(0, "1", 2) == seed_for(0, "1", 2) != seed_for(1, "1", 2)


def test_systems_are_read_from_the_command_line():
    system = parse_checkpoint("mine=a.yaml,model.ckpt=b.pth,model.max_txt_len=9")
    assert system == Checkpoint("mine", "a.yaml", ("model.ckpt=b.pth", "model.max_txt_len=9"))
    for text in ("a.yaml", "=a.yaml", "mine="):
        with pytest.raises(EvaluationError, match=r"name=config\.yaml"):
            parse_checkpoint(text)


def test_systems_are_chosen_by_name():
    assert choose(BUILTIN_CHECKPOINTS, ["step 1 only"]) == [BUILTIN_CHECKPOINTS[2]]
    assert choose(BUILTIN_CHECKPOINTS, []) == list(BUILTIN_CHECKPOINTS)
    with pytest.raises(EvaluationError, match="'other', which is none of: two-step"):
        choose(BUILTIN_CHECKPOINTS, ["other"])
    with pytest.raises(EvaluationError, match="Two systems have the name 'two-step'"):
        choose([*BUILTIN_CHECKPOINTS, BUILTIN_CHECKPOINTS[0]], [])


def test_the_record_tells_systems_apart_and_names_no_place():
    records = [describe_checkpoint(system, Decoding()) for system in BUILTIN_CHECKPOINTS]
    hashes = [record["weights"]["ckpt"] for record in records]
    assert len(set(hashes)) == 4
    assert all(len(value) == 64 for record in records for value in record["weights"].values())
    assert any(name.startswith("llm_model/") for name in records[0]["weights"])
    assert records[0]["decoding"]["temperature"] == 0
    assert str(PROJECT) not in json.dumps(records)


def test_the_interview_asks_the_four_questions_with_times(drawn_cases):
    checkpoint, decoding = BUILTIN_CHECKPOINTS[0], Decoding(max_new_tokens=40)
    system = skingpt4_system(checkpoint, decoding, lambda: checkpoint.load(torch.device("cpu")))
    answers = system.load()(read_cases(drawn_cases)[:3])
    assert [[answer.question for answer in own] for own in answers] == [list(QUESTIONS)] * 3
    for answer in answers[0]:
        assert 0 < answer.seconds_to_first <= answer.seconds
        assert 0 < answer.tokens <= 40
        assert answer.text


def launch(launcher, output, cases):
    run = ["run", "--cases", cases, "--output", output, "--cpu", "--only", "two-step"]
    run += ["--limit", 5, "--batch-size", 2, "--max-new-tokens", 30]
    return run_script("evaluate.py", *run, launcher=launcher, OMP_NUM_THREADS="1")


# --multi_gpu is accelerate's name for starting several processes; --cpu keeps GPUs out of it.
TWO_PROCESSES = [str(Path(sys.executable).with_name("accelerate")), "launch", "--multi_gpu"]
TWO_PROCESSES += ["--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no"]
TWO_PROCESSES += ["--dynamo_backend", "no", "--main_process_port", "0"]


def test_two_processes_answer_as_one_does(drawn_cases, tmp_path):
    alone = launch([sys.executable], tmp_path / "alone", drawn_cases)
    assert alone.returncode == 0, alone.stderr[-2000:]
    shared = launch(TWO_PROCESSES, tmp_path / "shared", drawn_cases)
    assert shared.returncode == 0, shared.stderr[-2000:]
    one, two = (tmp_path / name / "responses.jsonl" for name in ("alone", "shared"))
    assert texts(one) == texts(two)
    assert [row.key for row in read_responses(one).rows] == [
        row.key for row in read_responses(two).rows
    ]
    assert len(texts(one)) == 5
    processes = [entry["processes"] for entry in read_responses(two).header["environments"]]
    assert processes == [2]
    assert sorted(path.name for path in Path(two).parent.iterdir()) == ["responses.jsonl"]
