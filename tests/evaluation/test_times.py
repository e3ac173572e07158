"""Response times: read, summed over a conversation, summarised and compared."""

import numpy as np
import pytest
from scipy import stats

from skingpt4.common.errors import EvaluationError
from skingpt4.evaluation.responses import Answer, Response
from skingpt4.evaluation.study.times import (
    compare_times,
    read_times,
    response_times,
    summarise_times,
    write_times,
)


def respond(seconds, system="s", error=""):
    return Response("1", system, [Answer("q", "a", seconds=part) for part in seconds], error)


def test_a_systems_time_is_that_of_its_whole_conversation():
    rows = [respond([1.0, 2.0]), respond([0.5, 0.5]), respond([4.0], system="t")]
    assert response_times(rows) == {"s": [3.0, 1.0], "t": [4.0]}


def test_unmeasured_and_failed_conversations_are_left_out():
    rows = [respond([1.0, None]), respond([]), respond([1.0], error="broken")]
    assert response_times(rows) == {}


def test_times_come_back(tmp_path):
    rows = [("clinic", 60.0), ("clinic", 90.5), ("phone", 1.0)]
    write_times(tmp_path / "times.csv", rows)
    assert read_times(tmp_path / "times.csv") == {"clinic": [60.0, 90.5], "phone": [1.0]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("group,minutes\nclinic,1\n", "has no column seconds"),
        ("group,seconds\nclinic,soon\n", "row 2: 'soon' is no time"),
        ("group,seconds\nclinic,1\nclinic,-3\n", "row 3: '-3' is no time"),
        ("group,seconds\nclinic\n", "row 2: '' is no time"),
        ("", "empty"),
    ],
)
def test_bad_times_are_one_sentence(tmp_path, text, said):
    path = tmp_path / "times.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(EvaluationError, match=said):
        read_times(path)
    with pytest.raises(EvaluationError, match="does not exist"):
        read_times(tmp_path / "none.csv")


def test_summary():
    (row,) = summarise_times({"s": [1.0, 2.0, 3.0, 10.0]})
    assert (row.n, row.median, row.mean) == (4, 2.5, 4.0)
    assert (row.lower_quartile, row.upper_quartile) == (1.75, 4.75)
    assert row.deviation == pytest.approx(np.sqrt(50 / 3))


def test_comparison_by_all_four_methods():
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(10, 2, 20), rng.normal(600, 200, 20)
    (row,) = compare_times({"clinic": theirs}, {"s": ours})
    assert (row.group, row.system) == ("clinic", "s")
    assert row.student.p == stats.ttest_ind(theirs, ours).pvalue < 1e-5
    assert row.welch.p == stats.ttest_ind(theirs, ours, equal_var=False).pvalue
    assert row.mann_whitney.statistic == 400  # every consultation took longer
    assert 450 < row.shift.low < row.shift.estimate < row.shift.high < 750
