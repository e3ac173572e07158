"""``evaluate.py audit``: hold printed percentages against denominators."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence

from skingpt4.evaluation.report.published import DENOMINATORS, PUBLISHED
from skingpt4.evaluation.report.tables import audit_table, to_markdown
from skingpt4.evaluation.scoring.percentages import best_denominators, smallest_denominators, sums

LIMIT = 1000
SHOWN = 6


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--percentages", nargs="+", metavar="P",
        help="as printed, with all decimals; by default those of the paper and its preprint",
    )  # fmt: skip
    parser.add_argument(
        "--denominators", nargs="+", type=int, metavar="N", default=list(DENOMINATORS),
        help=f"default: {', '.join(f'{n} ({what})' for n, what in DENOMINATORS.items())}",
    )  # fmt: skip


def main(args: Namespace) -> None:
    """Write a table for each list, and what else follows by arithmetic, to standard output."""
    lists = [[(text, text) for text in args.percentages]] if args.percentages else _published()
    for entries in lists:
        sys.stdout.write(to_markdown([audit_table(entries, args.denominators)]) + "\n")
        lines = remarks([percent for _, percent in entries])
        sys.stdout.write("".join(f"- {line}\n" for line in lines) + "\n")


def _published() -> list[list[tuple[str, str]]]:
    """Return the printed figures, a list for each source, with their places."""
    lists: dict[str, list[tuple[str, str]]] = {}
    for entry in PUBLISHED:
        item = f", item {entry.item}" if entry.item else ""
        what = f"{entry.source}, {entry.place}{item}: {entry.what}"
        lists.setdefault(entry.source, []).append((what, entry.percent))
    return list(lists.values())


def remarks(percents: Sequence[str]) -> Iterator[str]:
    """Yield what the percentages have in common, and the small denominators of each."""
    distinct = list(dict.fromkeys(percents))
    most, common = best_denominators(distinct, LIMIT)
    yield (
        f"Up to {LIMIT}, a denominator fits {most} of the {len(distinct)} percentages at most: "
        f"{', '.join(map(str, common[:SHOWN]))}{', …' if len(common) > SHOWN else ''}."
    )
    for whole, one, other in sums(distinct):
        yield f"{whole} = {one} + {other}, as printed."
    for text in distinct:
        fits = ", ".join(map(str, smallest_denominators(text, LIMIT, SHOWN))) or "none"
        yield f"{text} %: the smallest fractions that give it are {fits}."
