"""The results as tables of text, for the terminal, Markdown files and the report alike."""

from collections.abc import Sequence

from skingpt4.documents.document import Table
from skingpt4.evaluation.report.analysis import AgreementRow, LikertRow, raters_text
from skingpt4.evaluation.report.reference import published_shares
from skingpt4.evaluation.scoring.comparisons import PairedComparison
from skingpt4.evaluation.scoring.statistics import Interval, audit, percent_text
from skingpt4.evaluation.study.ratings import ITEMS
from skingpt4.evaluation.study.times import TimeComparison, TimeSummary

# An empty cell would look as if something had gone wrong.
NO_VALUE = "–"

RATER_LEVEL_NOTE = (
    "† Items 6 and 7 are about the rater: several ratings by one rater are one opinion, so the "
    "second interval counts each rater once. With few raters a bootstrap interval is too narrow."
)

INTERVALS = "95 % intervals"

# Smaller ones are printed as below it (the paper prints "P < 0.00001").
SMALLEST_P = 1e-5


def likert_table(rows: Sequence[LikertRow]) -> Table:
    """Show Fig. 4a as figures, beside those of the paper and the preprint."""
    cells = []
    for row in rows:
        n = row.agree.n
        # Without any rating there is no share to round.
        bounds = f"{100 * row.sampled.low:.1f}–{100 * row.sampled.high:.1f}" if n else NO_VALUE
        levels = [f"{percent_text(k, n)} % ({k})" if n else NO_VALUE for k in row.counts]
        item = (
            f"{row.item} {ITEMS[row.item]}{' †' if row.rater_level else ''}",
            raters_text(row.raters, row.rater_kind),
            row.system or "all",
            str(row.agree),
            bounds,
            *reversed(levels),  # from strongly agree down, as the paper's bars stand
            str(row.missing),
            *(f"{share} %" if share else NO_VALUE for share in published_shares(row.item)),
        )
        cells.append(item)
    return Table(
        caption=f"Ratings by item; {INTERVALS}. {RATER_LEVEL_NOTE}",
        head=(
            "item",
            "raters",
            "system",
            "agree or strongly agree (k/n; Wilson)",
            "rater × case bootstrap (†: Wilson, n = raters)",
            *("strongly agree", "agree", "neutral", "disagree", "strongly disagree"),
            "missing",
            *("paper", "preprint"),  # as published_shares() yields them
        ),
        rows=tuple(cells),
    )


def agreement_table(rows: Sequence[AgreementRow]) -> Table:
    """Show how far raters agree with each other."""
    # α and AC2 take scores as ordered categories, the ICC takes them as numbers.
    measures = ("Krippendorff's α (ordinal)", "Gwet's AC2 (ordinal)", "ICC(2,1)")
    return Table(
        caption=(
            f"Agreement between raters; {INTERVALS}: bootstrap over cases for α and AC2, Shrout "
            "and Fleiss for ICC(2,1). Where nearly all ratings are one score, α and ICC fall "
            "although raters agree; AC2 does not."
        ),
        head=("item", "raters", "system", "cases", *measures),
        rows=tuple(
            (
                f"{row.item} {ITEMS[row.item]}",
                raters_text(row.raters, row.rater_kind),
                row.system,
                str(row.cases),
                *(interval_text(value) for value in (row.alpha, row.ac2, row.icc)),
            )
            for row in rows
        ),
    )


def time_table(rows: Sequence[TimeSummary]) -> Table:
    """Show the response times of systems and groups."""
    # Quartiles beside the mean, which a single long wait pulls upwards.
    return Table(
        caption="Response times in seconds.",
        head=("group", "n", "median", "quartiles", "mean", "standard deviation"),
        rows=tuple(
            (
                row.group,
                str(row.n),
                f"{row.median:.2f}",
                f"{row.lower_quartile:.2f}–{row.upper_quartile:.2f}",
                f"{row.mean:.2f}",
                f"{row.deviation:.2f}",
            )
            for row in rows
        ),
    )


def comparison_table(rows: Sequence[TimeComparison]) -> Table:
    """Show the tests between entered groups and systems."""
    # The paper's test is Student's; the others do not assume equal spread or a bell curve.
    tests = ("Welch", "Student", "Mann–Whitney")
    cells = []
    for row in rows:
        results = (("t", row.welch), ("t", row.student), ("U", row.mann_whitney))
        # p is nan where a group has too few times for the test.
        texts = [
            NO_VALUE
            if result.p != result.p
            else f"{symbol} = {result.statistic:.2f}, {p_text(result.p)}"
            for symbol, result in results
        ]
        cells.append((row.group, row.system, interval_text(row.shift), *texts))
    return Table(
        caption=f"By how much a group takes longer than a system; {INTERVALS}; p two-sided.",
        head=("group", "system", "Hodges–Lehmann difference (s)", *tests),
        rows=tuple(cells),
    )


def paired_table(rows: Sequence[PairedComparison]) -> Table:
    """Show the systems against each other on the same cases."""
    cells = []
    for row in rows:
        # In percentage points: "%" would read as a share of a share.
        ahead, low, high = (
            100 * x for x in (row.difference.estimate, row.difference.low, row.difference.high)
        )
        points = f"{ahead:+.1f} points ({low:+.1f} to {high:+.1f})" if row.n else NO_VALUE
        only = (f"{row.only_system}/{row.n}", f"{row.only_other}/{row.n}")
        cells.append((row.system, row.other, *only, points, p_text(row.p)))
    return Table(
        caption=(
            f"Cases whose class the first answer names, system against system; {INTERVALS} of the "
            "paired difference; p of the exact McNemar test, not corrected for several comparisons."
        ),
        head=("system", "other", "only the system", "only the other", "difference", "p"),
        rows=tuple(cells),
    )


def audit_table(entries: Sequence[tuple[str, str]], denominators: Sequence[int]) -> Table:
    """Show which percentages are k of n.

    Args:
        entries: What each percentage is, and the percentage as printed.
        denominators: The denominators to hold them against.
    """
    # A row for each percentage, a cell for each denominator.
    fits = audit([percent for _, percent in entries], denominators)
    return Table(
        caption="Whether each printed percentage is some k of n, rounded; else what comes nearest.",
        head=("figure", "printed", *(f"of {n}" for n in denominators)),
        rows=tuple(
            (what, f"{percent} %", *map(str, row))
            for (what, percent), row in zip(entries, fits, strict=True)
        ),
    )


def interval_text(value: Interval) -> str:
    """Return such as ``0.815 (0.483 to 1.000)``; a dash where the data do not determine it."""
    if value.estimate != value.estimate:  # nan
        return NO_VALUE
    if value.low != value.low:  # an estimate that has no interval
        return f"{value.estimate:.3f}"
    return f"{value.estimate:.3f} ({value.low:.3f} to {value.high:.3f})"


def p_text(p: float) -> str:
    """Return such as ``p = 0.0003``."""
    # Five decimals, since "1e-05" is not how papers print it.
    return f"p = {p:.2g}" if p >= SMALLEST_P else f"p < {SMALLEST_P:.5f}"
