"""The iMRMC export has the form of that program's manual (sections 4.1.1 and 4.1.3)."""

import pytest

from skingpt4.evaluation.study.ratings import Rating, RatingError, write_imrmc

RATINGS = [
    Rating("Dr B, MD", "dermatologist", case, system, 1, score)
    for case, system, score in [("1", "s", 5), ("1", "t", 4), ("2", "s", 1), ("2", "t", 3)]
] + [Rating("Dr A", "dermatologist", "1", "s", 2, 5), Rating("Dr A", "dermatologist", "", "", 6, 5)]


def test_the_whole_file(tmp_path):
    path = tmp_path / "ratings.imrmc"
    write_imrmc(path, RATINGS, {"1": True, "2": False, "3": True}, 1, "malignant")
    assert path.read_text(encoding="utf-8").splitlines() == [
        "Ratings of item 1: The diagnosis is correct or relevant.",
        "Truth 1: malignant",
        "NR: 1",
        "N0: 1",
        "N1: 1",
        "NM: 2",
        "BEGIN DATA:",
        "-1,1,0,1",
        "-1,2,0,0",
        "Dr B; MD,1,s,5",
        "Dr B; MD,1,t,4",
        "Dr B; MD,2,s,1",
        "Dr B; MD,2,t,3",
    ]


@pytest.mark.parametrize(
    ("truth", "item", "said"),
    [
        ({"1": True}, 1, "Case '2' of the ratings is not in the case list"),
        ({"1": True, "2": True}, 1, "needs cases of both truths"),
        ({"1": True, "2": False}, 4, "the 0 rated cases for item 4"),
    ],
)
def test_what_cannot_be_written_is_one_sentence(tmp_path, truth, item, said):
    with pytest.raises(RatingError, match=said):
        write_imrmc(tmp_path / "ratings.imrmc", RATINGS, truth, item, "malignant")
    assert list(tmp_path.iterdir()) == []
