"""The audit is exact arithmetic, and finds in the paper's figures what the issue says of them."""

import pytest

from skingpt4.common.errors import EvaluationError
from skingpt4.evaluation.commands import run_command
from skingpt4.evaluation.report.reference import FIGURES, published_shares
from skingpt4.evaluation.scoring.statistics import (
    audit,
    best_denominators,
    fit,
    percent_text,
    smallest_denominators,
    sums,
)

# Nine percentages are quoted for Fig. 4a (paper).
FIG_4A = ["80.63", "75.00", "5.63", "82.50", "85.63", "87.50", "83.70", "92.50", "77.50"]


def test_the_data_hold_the_nine_percentages():
    printed = [e.percent for e in FIGURES if (e.source, e.place) == ("paper", "Fig. 4a")]
    assert sorted(printed) == sorted(FIG_4A)
    assert list(published_shares(6)) == ["92.50", "91.88"]
    assert list(published_shares(7)) == ["77.50", None]


def test_eight_of_nine_are_k_of_160_and_none_is_of_150_or_750():
    rows = audit(FIG_4A, [150, 160, 750])
    of_160 = {row[1].percent: row[1].counts for row in rows}
    assert [percent for percent, counts in of_160.items() if not counts] == ["83.70"]
    assert all(len(counts) == 1 for percent, counts in of_160.items() if percent != "83.70")
    assert of_160["80.63"] == (129,)
    assert not any(row[0].counts or row[2].counts for row in rows)


def test_83_70_comes_nearest_to_134_of_160():
    found = fit("83.70", 160)
    assert (found.nearest, found.nearest_percent) == (134, "83.75")
    assert str(found) == "no; 134/160 = 83.75"


def test_93_73_is_of_750_and_not_of_450():
    assert fit("93.73", 750).counts == (703,)
    assert fit("93.73", 450).counts == ()
    assert fit("93.73 %", 450).nearest_percent == "93.78"


def test_every_count_fits_its_own_percentage():
    for n in (7, 150, 160, 750):
        for k in range(n + 1):
            assert k in fit(percent_text(k, n), n).counts


def test_a_tie_counts_rounded_either_way():
    # 129/160 is 80.625 exactly.
    assert fit("80.62", 160).counts == fit("80.63", 160).counts == (129,)
    assert fit("80.6", 160).counts == (129,)
    assert fit("80.64", 160).counts == ()


def test_few_decimals_fit_many_counts():
    assert fit("50", 1000).counts == tuple(range(495, 506))
    assert fit("0", 10).counts == (0,)
    assert fit("100.00", 10).counts == (10,)


def test_denominators_that_fit():
    assert [str(one) for one in smallest_denominators("87.50", 100, 3)] == ["7/8", "14/16", "21/24"]
    assert smallest_denominators("83.70", 50, 3) == []
    assert best_denominators(["80.63", "83.70", "5.63"], 200) == (2, [160])


def test_sums_of_printed_parts():
    assert list(sums(FIG_4A)) == [("80.63", "75.00", "5.63")]
    # The preprint's 78.76 is no k of 160: it is the sum of two rounded parts, 126/160 is 78.75.
    assert list(sums(["78.76", "73.13", "5.63"])) == [("78.76", "73.13", "5.63")]
    assert fit("78.76", 160).nearest_percent == "78.75"


@pytest.mark.parametrize("text", ["", "eighty", "-1", "100.01", "1e2", "80,63", "nan"])
def test_what_is_no_percentage_is_one_sentence(text):
    with pytest.raises(EvaluationError, match="is no percentage; write a number"):
        fit(text, 160)


def test_what_is_no_denominator_is_one_sentence():
    for n in (0, -5, 10**9):
        with pytest.raises(EvaluationError, match=f"{n} is no denominator"):
            fit("50", n)


def test_the_command_prints_the_paper_by_default_without_accusation(capsys):
    run_command("audit", [])
    text = capsys.readouterr().out
    assert "| paper, Fig. 4a, item 5: agree or strongly agree | 83.70 % | no; 126/150" in text
    assert "a denominator fits 8 of the 10 percentages at most: 160, 320, 480" in text
    for word in ("wrong", "false", "error", "suspicious", "fabricat", "fraud"):
        assert word not in text.lower()


def test_the_command_takes_any_list(capsys):
    run_command("audit", ["--percentages", "33.3", "66.7", "--denominators", "3", "4"])
    text = capsys.readouterr().out
    assert "| 33.3 | 33.3 % | 1/3 | no; 1/4 = 25.0 |" in text
    assert "fits 2 of the 2 percentages at most: 3, 6, 9, 12, 15, 18, …." in text
