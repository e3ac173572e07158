"""A ratings file of the paper's counts gives the paper's percentages to two decimals, and Fig. 4a.

The paper states no counts; these are the k of 160 that its percentages equal (test_audit.py). How
160 came about it does not say: here 5 raters × 32 cases. Of item 1's two parts, the larger is
taken as "strongly agree".
"""

import pytest

from skingpt4.evaluation.commands import run_command
from skingpt4.evaluation.report.analysis import analyse, bars
from skingpt4.evaluation.report.figures import fig_4a
from skingpt4.evaluation.report.reference import published_shares
from skingpt4.evaluation.study.ratings import ITEMS, Rating, read_ratings, write_ratings

RATERS, CASES = 5, 32
# Ratings of 5, 4, 3, 2 and 1 by item.
COUNTS = {
    1: (120, 9, 11, 10, 10),
    2: (100, 32, 14, 10, 4),
    3: (100, 37, 13, 10, 0),
    4: (100, 40, 10, 10, 0),
    5: (100, 34, 16, 10, 0),
    6: (100, 48, 12, 0, 0),
    7: (100, 24, 20, 10, 6),
}
# 83.70 % is no k of 160; 134 comes nearest.
UNREACHABLE = 5


def golden_ratings():
    for item, counts in COUNTS.items():
        levels = zip((5, 4, 3, 2, 1), counts, strict=True)
        scores = [level for level, count in levels for _ in range(count)]
        assert len(scores) == RATERS * CASES
        for place, score in enumerate(scores):
            case, rater = divmod(place, RATERS)
            yield Rating(f"Dr {rater}", "dermatologist", str(case), "SkinGPT-4", item, score)


@pytest.fixture
def golden(tmp_path):
    path = tmp_path / "golden.csv"
    write_ratings(path, golden_ratings())
    return path


def test_the_papers_percentages_to_two_decimals(golden):
    rows = analyse(read_ratings(golden)).likert
    assert [row.item for row in rows] == list(ITEMS)
    percents = {row.item: row.agree.percent for row in rows}
    assert percents.pop(UNREACHABLE) == "83.75 %"
    assert percents == {item: f"{next(published_shares(item))} %" for item in percents}
    assert percents[1] == "80.63 %"


def test_the_command_prints_and_draws_them(golden, tmp_path, capsys):
    run_command("analyse", ["--ratings", str(golden), "--output", str(tmp_path / "out")])
    printed = capsys.readouterr().out
    table = printed.partition("Agreement between raters")[0]
    lines = {line[2]: line for line in table.splitlines() if line.startswith("| ")}
    assert "| 80.63 % (129/160; 73.8–86.0) |" in lines["1"]
    assert "| 75.00 % (120) | 5.63 % (9) |" in lines["1"]
    for item, percent in zip("23467", ("82.50", "85.63", "87.50", "92.50", "77.50"), strict=True):
        assert f"| {percent} % (" in lines[item]
    assert "†" in printed.split("| 6 ")[1].split("|")[0]
    assert "SIMULATED" not in printed
    figure = tmp_path / "out" / "figures" / "fig_4a_skingpt_4_dermatologist.png"
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "out" / "analysis.md").read_text(encoding="utf-8") in printed


def test_fig_4a_has_the_papers_bars(golden):
    ((title, rows),) = bars(analyse(read_ratings(golden)).likert)
    assert title == "SkinGPT-4, rated by 5 dermatologists"
    (axes,) = fig_4a(rows, title).axes
    strongly, agree = ([bar.get_width() for bar in axes.containers[index]] for index in (0, 1))
    assert (strongly[0], agree[0]) == pytest.approx((0.75, 0.05625))
    shares = [sum(COUNTS[item][:2]) / 160 for item in ITEMS]
    ends = [bar.get_x() + bar.get_width() for bar in axes.containers[1]]
    assert ends == pytest.approx(shares)


def test_the_same_file_gives_the_same_bytes(golden, tmp_path, capsys):
    outputs = []
    for name in ("one", "two"):
        run_command("analyse", ["--ratings", str(golden), "--output", str(tmp_path / name)])
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        outputs.append([(path.relative_to(tmp_path / name), path.read_bytes()) for path in files])
    assert outputs[0] == outputs[1]
    assert len(outputs[0]) == 2
