"""From ratings to what Fig. 4a and its table show: counts, shares, intervals and agreement."""

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields

import numpy as np
import pandas as pd

from skingpt4.dermatology import LIKERT, RATER_LEVEL_ITEMS
from skingpt4.evaluation.scoring.agreement import bootstrap_units, gwet_ac2, icc, krippendorff_alpha
from skingpt4.evaluation.scoring.statistics import (
    UNKNOWN,
    Interval,
    Share,
    bootstrap_mean,
    rater_interval,
    wilson,
)
from skingpt4.evaluation.study.assignment import items_for
from skingpt4.evaluation.study.ratings import Rating

# Scores from here on are agreement (paper: agree or strongly agree).
AGREE = 4


@dataclass(frozen=True)
class LikertRow:
    """The ratings of one item: a bar of Fig. 4a.

    Attributes:
        rater_kind: ``dermatologist`` or ``lay``.
        system: The system rated; empty where item 6 or 7 was asked without one.
        item: Number of the item.
        rater_level: Whether the item is about the rater (6 and 7): ratings by one rater are one
            opinion, so `sampled` counts every rater once.
        counts: Ratings of 1, 2, 3, 4 and 5.
        missing: Ratings of this item that are absent where the rater rated another item of the
            same case and system.
        raters: Raters who rated the item.
        cases: Cases for which it was rated; 0 if it was asked of raters only.
        agree: The share that agrees or strongly agrees, with Wilson's interval, which takes all
            ratings as independent.
        sampled: The same share with an interval that other raters and cases would fall into: the
            rater × case bootstrap, or Wilson's with n = raters for items 6 and 7.
    """

    rater_kind: str
    system: str
    item: int
    rater_level: bool
    counts: tuple[int, ...]
    missing: int
    raters: int
    cases: int
    agree: Share
    sampled: Interval


@dataclass(frozen=True)
class AgreementRow:
    """How far raters of one kind agree on one item of one system.

    Attributes:
        rater_kind: ``dermatologist`` or ``lay``.
        system: The system rated.
        item: Number of the item.
        raters: Raters who rated it.
        cases: Cases that two or more of them rated.
        alpha: Krippendorff's α, ordinal.
        ac2: Gwet's AC2, ordinal weights.
        icc: ICC(2,1), over cases that all of them rated.
    """

    rater_kind: str
    system: str
    item: int
    raters: int
    cases: int
    alpha: Interval
    ac2: Interval
    icc: Interval


@dataclass(frozen=True)
class Analysis:
    """Everything that ratings amount to."""

    likert: list[LikertRow]
    agreement: list[AgreementRow]


def analyse(ratings: Sequence[Rating], seed: int = 0) -> Analysis:
    """Tabulate ratings by kind of rater, system and item; the order of ratings has no effect."""
    columns = [column.name for column in fields(Rating)]
    table = pd.DataFrame([astuple(rating) for rating in ratings], columns=columns)
    by_group = table.groupby(["rater_kind", "system", "item"])
    groups = {(str(kind), str(system), int(item)): rows for (kind, system, item), rows in by_group}
    seen = table[table["case"] != ""]
    # How often a rater saw a case with a system's answers: that many ratings each item is owed.
    visits = seen.drop_duplicates(["rater_kind", "system", "rater", "case"])
    owed = visits.groupby(["rater_kind", "system"]).size()
    # An item about answers that nobody rated still has a row, with all its ratings missing.
    for kind, system in owed.index:
        for item in set(items_for(kind)) - set(RATER_LEVEL_ITEMS):
            groups.setdefault((kind, system, item), table.iloc[:0])
    analysis = Analysis([], [])
    for (kind, system, item), rows in sorted(groups.items(), key=lambda group: group[0]):
        # pivot() takes one rating a place; check_ratings has refused any second one.
        scores = rows.pivot(index="rater", columns="case", values="score")
        matrix = scores.to_numpy(dtype=float)  # [raters, cases], nan where there is no rating
        raters, cases = matrix.shape
        counts = np.stack([np.sum(matrix == level, axis=0) for level in LIKERT], axis=1)  # [C, 5]
        totals = tuple(int(total) for total in counts.sum(axis=0))
        # nan stays nan: a bare comparison would make a missing rating a disagreement.
        agreeing = np.where(np.isnan(matrix), np.nan, matrix >= AGREE)
        rater_level, per_case = item in RATER_LEVEL_ITEMS, bool((rows["case"] != "").all())
        if per_case:
            expected = int(owed[kind, system])
        else:  # asked once a rater: everybody of this kind owes one answer
            of_kind = set(seen["rater"][seen["rater_kind"] == kind])
            expected = len(of_kind | set(rows["rater"]))
        likert = LikertRow(
            rater_kind=kind,
            system=system,
            item=item,
            rater_level=rater_level,
            counts=totals,
            missing=max(expected - len(rows), 0),
            raters=raters,
            cases=cases if per_case else 0,
            agree=wilson(sum(totals[AGREE - 1 :]), sum(totals)),
            # Many ratings by one rater of a matter about the rater are one opinion.
            sampled=rater_interval(agreeing) if rater_level else bootstrap_mean(agreeing, seed),
        )
        analysis.likert.append(likert)
        if not rater_level:
            complete = matrix[:, ~np.isnan(matrix).any(axis=0)]  # cases that all raters rated
            agreement = AgreementRow(
                kind,
                system,
                item,
                raters,
                cases=int(np.sum(counts.sum(axis=1) >= 2)),  # one rating agrees with nobody
                alpha=bootstrap_units(krippendorff_alpha, counts, seed),
                ac2=bootstrap_units(gwet_ac2, counts, seed),
                icc=icc(complete.T) if complete.size else UNKNOWN,
            )
            analysis.agreement.append(agreement)
    return analysis


def bars(rows: Sequence[LikertRow]) -> Iterator[tuple[str, list[LikertRow]]]:
    """Yield a title and the bars of each Fig. 4a: one for each kind of raters and each system.

    Items 6 and 7, where they were asked once a rater and of no system, stand with every system.
    """
    groups: dict[tuple[str, str], list[LikertRow]] = {}
    for row in rows:
        groups.setdefault((row.rater_kind, row.system), []).append(row)
    # Where nothing but items 6 and 7 was rated, they are all there is to draw.
    of_systems = {key: own for key, own in groups.items() if key[1]} or groups
    for (kind, system), own in of_systems.items():
        common = groups.get((kind, ""), []) if system else []
        who = raters_text(max(row.raters for row in own), kind)
        yield f"{system or 'Items about raters'}, rated by {who}", [*own, *common]


def raters_text(count: int, kind: str) -> str:
    """Return such as ``5 dermatologists`` or ``1 lay rater``."""
    noun = "lay rater" if kind == "lay" else kind
    return f"{count} {noun}{'' if count == 1 else 's'}"
