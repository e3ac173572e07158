"""``evaluate.py analyse`` over a whole evaluation folder: tables, figures, export, refusals."""

import pytest

from skingpt4.evaluation.commands import run_command
from skingpt4.evaluation.responses import Answer, Response, Responses, write_responses
from skingpt4.evaluation.study.ratings import Rating, RatingError, write_ratings
from skingpt4.evaluation.study.simulated import simulate_ratings, simulate_times
from skingpt4.evaluation.study.times import write_times
from tests.evaluation.small_study import SYSTEMS, header, make_folder


@pytest.fixture
def study(tmp_path):
    cases, responses = make_folder(tmp_path / "evaluation")
    return tmp_path / "evaluation", cases, responses


@pytest.fixture
def analyse(study, capsys):
    def analyse():
        run_command("analyse", ["--output", str(study[0]), "--cases", str(study[0] / "cases.csv")])
        return capsys.readouterr().out

    return analyse


def drawn(folder):
    return {path.stem for path in (folder / "figures").iterdir()}


def test_a_whole_folder(study, analyse):
    folder, cases, responses = study
    write_ratings(folder / "ratings.csv", simulate_ratings(cases, responses.rows, SYSTEMS[:1]))
    write_times(folder / "times.csv", simulate_times())
    draws = [Response(case.id, "two-step (greedy)", [Answer("q", "hives")] * 10) for case in cases]
    write_responses(folder / "consistency.jsonl", Responses(header(cases), draws))
    text = analyse()
    assert drawn(folder) == {
        "fig_4a_two_step_dermatologist",
        "fig_4a_two_step_lay",
        "fig_4b",
        "fig_4c",
        "confusion_two_step",
        "confusion_step_1_only",
    }
    assert "SIMULATED BY A SCRIPT" in text
    assert "| simulated online consultation | two-step |" in text
    assert "Krippendorff's α (ordinal)" in text
    export = (folder / "ratings_item1.imrmc").read_text(encoding="utf-8").splitlines()
    assert {"NR: 5", "N0: 2", "N1: 1", "NM: 1", "-1,c3,0,1"} <= set(export)


def test_a_folder_without_raters_has_what_there_is(study, analyse):
    text = analyse()
    assert drawn(study[0]) == {"fig_4b", "confusion_two_step", "confusion_step_1_only"}
    assert "| two-step | 3 | 1.05 |" in text
    # The second system is right about hives only.
    assert "| two-step | step 1 only | 2/3 | 0/3 | +66.7 points (" in text
    assert "Fig. 4a" not in text and "SIMULATED" not in text
    assert not (study[0] / "ratings_item1.imrmc").exists()


def test_ratings_of_other_cases_are_refused_and_nothing_is_overwritten(study, analyse):
    folder = study[0]
    analyse()
    before = (folder / "analysis.md").read_bytes()
    write_ratings(folder / "ratings.csv", [Rating("A", "lay", "elsewhere", "two-step", 3, 5)])
    with pytest.raises(RatingError, match="'elsewhere'"):
        analyse()
    assert (folder / "analysis.md").read_bytes() == before


def test_cases_of_one_truth_leave_out_the_export(study, analyse, caplog):
    folder, cases, _ = study
    write_ratings(
        folder / "ratings.csv",
        [Rating("A", "dermatologist", cases[0].id, "two-step", 1, 5)],
    )
    analyse()
    assert "No file for iMRMC" in caplog.text
    assert not (folder / "ratings_item1.imrmc").exists()
