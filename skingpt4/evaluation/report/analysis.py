"""From ratings to what Fig. 4a and its table show: counts, shares, intervals and agreement."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from skingpt4.dermatology import LIKERT, RATER_LEVEL_ITEMS
from skingpt4.evaluation.scoring.agreement import (
    bootstrap_units,
    gwet_ac2,
    icc,
    krippendorff_alpha,
)
from skingpt4.evaluation.scoring.statistics import (
    UNKNOWN,
    Floats,
    Interval,
    Share,
    bootstrap_mean,
    rater_interval,
    wilson,
)
from skingpt4.evaluation.study.assignment import items_for
from skingpt4.evaluation.study.ratings import Rating

AGREE = 4
"""Scores from here on are agreement (paper: agree or strongly agree)."""


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


Group = tuple[str, str, int]
"""Rater kind, system, item."""

Visits = dict[tuple[str, str], set[tuple[str, str]]]
"""By rater kind and system: which rater saw which case."""


def analyse(ratings: Sequence[Rating], seed: int = 0) -> Analysis:
    """Tabulate ratings by kind of rater, system and item; the order of ratings has no effect."""
    visits = _visits(ratings)
    groups = _groups(ratings, visits)
    return Analysis(
        likert=[_likert_row(group, rows, visits, seed) for group, rows in groups],
        agreement=[
            _agreement_row(group, rows, seed)
            for group, rows in groups
            if group[2] not in RATER_LEVEL_ITEMS
        ],
    )


def _visits(ratings: Sequence[Rating]) -> Visits:
    visits: Visits = {}
    for rating in ratings:
        if rating.case:
            seen = visits.setdefault((rating.rater_kind, rating.system), set())
            seen.add((rating.rater, rating.case))
    return visits


def _groups(ratings: Sequence[Rating], visits: Visits) -> list[tuple[Group, list[Rating]]]:
    """Sort ratings into groups; an item about answers that nobody rated has an empty one."""
    groups: dict[Group, list[Rating]] = {
        (kind, system, item): []
        for kind, system in visits
        for item in items_for(kind)
        if item not in RATER_LEVEL_ITEMS
    }
    for rating in sorted(ratings):
        groups.setdefault((rating.rater_kind, rating.system, rating.item), []).append(rating)
    return sorted(groups.items())


def _likert_row(
    group: Group,
    ratings: Sequence[Rating],
    visits: Visits,
    seed: int,
) -> LikertRow:
    kind, system, item = group
    matrix = score_matrix(ratings)
    scores = matrix[~np.isnan(matrix)]
    agreeing = np.where(np.isnan(matrix), np.nan, matrix >= AGREE)
    rater_level = item in RATER_LEVEL_ITEMS
    per_case = all(rating.case for rating in ratings)
    expected = len(visits[kind, system]) if per_case else _count_raters(visits, kind, ratings)
    return LikertRow(
        rater_kind=kind,
        system=system,
        item=item,
        rater_level=rater_level,
        counts=tuple(int(np.sum(scores == level)) for level in LIKERT),
        missing=max(expected - len(ratings), 0),
        raters=matrix.shape[0],
        cases=matrix.shape[1] if per_case else 0,
        agree=wilson(int(np.sum(scores >= AGREE)), len(scores)),
        sampled=rater_interval(agreeing) if rater_level else bootstrap_mean(agreeing, seed),
    )


def _count_raters(visits: Visits, kind: str, ratings: Sequence[Rating]) -> int:
    """Count the raters of a kind: each owes one answer to an item that is asked once a rater."""
    names = {rater for group, seen in visits.items() if group[0] == kind for rater, _ in seen}
    return len(names | {rating.rater for rating in ratings})


def _agreement_row(group: Group, ratings: Sequence[Rating], seed: int) -> AgreementRow:
    matrix = score_matrix(ratings)
    counts = np.stack([np.sum(matrix == level, axis=0) for level in LIKERT], axis=1)
    complete = matrix[:, ~np.isnan(matrix).any(axis=0)]
    return AgreementRow(
        *group,
        raters=matrix.shape[0],
        cases=int(np.sum(counts.sum(axis=1) >= 2)),
        alpha=bootstrap_units(krippendorff_alpha, counts, seed),
        ac2=bootstrap_units(gwet_ac2, counts, seed),
        icc=icc(complete.T) if complete.size else UNKNOWN,
    )


def bars(rows: Sequence[LikertRow]) -> Iterator[tuple[str, list[LikertRow]]]:
    """Yield a title and the bars of each Fig. 4a: one for each kind of raters and each system.

    Items 6 and 7, where they were asked once a rater and of no system, stand with every system.
    """
    groups: dict[tuple[str, str], list[LikertRow]] = {}
    for row in rows:
        groups.setdefault((row.rater_kind, row.system), []).append(row)
    of_systems = {key: own for key, own in groups.items() if key[1]} or groups
    for (kind, system), own in of_systems.items():
        common = groups.get((kind, ""), []) if system else []
        who = raters_text(max(row.raters for row in own), kind)
        yield f"{system or 'Items about raters'}, rated by {who}", [*own, *common]


def raters_text(count: int, kind: str) -> str:
    """Return such as ``5 dermatologists`` or ``1 lay rater``."""
    noun = "lay rater" if kind == "lay" else kind
    return f"{count} {noun}{'' if count == 1 else 's'}"


def score_matrix(ratings: Sequence[Rating]) -> Floats:
    """Return the scores of one item and system ``[raters, cases]``, nan where there is none."""
    raters = {name: row for row, name in enumerate(sorted({r.rater for r in ratings}))}
    cases = {name: column for column, name in enumerate(sorted({r.case for r in ratings}))}
    matrix = np.full((len(raters), len(cases)), np.nan)
    for rating in ratings:
        matrix[raters[rating.rater], cases[rating.case]] = rating.score
    return matrix
