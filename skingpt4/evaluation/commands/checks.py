"""``evaluate.py cases`` and ``audit``: what is checked before, or without, asking any system."""

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from skingpt4.common.files import write_text
from skingpt4.convert.fingerprints import (
    Fingerprint,
    Match,
    find_matches,
    fingerprints,
    read_fingerprints,
)
from skingpt4.documents.document import Table
from skingpt4.evaluation.cases import (
    CHECK_NAME,
    EvalCase,
    case_list_hash,
    class_balance,
    is_balanced,
)
from skingpt4.evaluation.commands.options import Command, add_common_arguments, load_cases
from skingpt4.evaluation.report.reference import DENOMINATORS, FIGURES
from skingpt4.evaluation.report.result_tables import audit_table
from skingpt4.evaluation.scoring.statistics import best_denominators, smallest_denominators, sums

# The largest denominator that is tried.
LIMIT = 1000

# How many denominators are named of those that fit.
SHOWN = 6


def add_cases_arguments(parser: ArgumentParser) -> None:
    """Declare the options of ``cases``."""
    add_common_arguments(parser)
    parser.add_argument(
        "--training",
        type=Path,
        nargs="+",
        default=[],
        metavar="PLACE",
        help="training sets: folders of images, or manifests (CSV or JSON) with sha256",
    )


def check_cases(args: Namespace) -> None:
    """Check a case list, look for its photos in training sets, and write what was found."""
    cases = load_cases(args)
    training = [entry for place in args.training for entry in read_fingerprints(place)]
    # Without a training set there is nothing to compare with, which is not the same as no leak.
    leaks = find_leaks(cases, training) if training else []
    balance, case_list = class_balance(cases), case_list_hash(cases)
    found = {
        "case_list": case_list,
        "balance": balance,
        "is_15_by_10": is_balanced(cases),
        # Hashes of the files, which tell later whether a photo was exchanged.
        "images": {case.id: case.sha256 for case in cases},
        "training_images": len(training),
        "leaks": [
            {
                "case": leak.left,
                "training": leak.right,
                "distance": leak.distance,
                "same_file": leak.same_file,
            }
            for leak in leaks
        ],
    }
    path = args.output / CHECK_NAME
    write_text(path, json.dumps(found, ensure_ascii=False, indent=1) + "\n")
    rows = tuple((name, str(count)) for name, count in balance.items())
    form = "as in the paper (15 x 10)" if is_balanced(cases) else "not balanced as in the paper"
    lines = [
        Table("", ("class", "cases"), rows).markdown(),
        f"{len(cases)} cases, {form}; case list {case_list[:12]}",  # enough to compare by eye
    ]
    if training:
        # A repeated file is proof of a leak; one that looks alike is for a person to judge.
        same = sum(leak.same_file for leak in leaks)
        lines.append(
            f"leak audit against {len(training)} training images: {same} the same file, "
            f"{len(leaks) - same} looking alike"
        )
    sys.stdout.write("\n".join([*lines, f"written: {path}\n"]))


def find_leaks(cases: Sequence[EvalCase], training: Sequence[Fingerprint]) -> list[Match]:
    """Return every pair of a case and a training photo that are the same, or look it."""
    photos = fingerprints([case.image for case in cases], [case.id for case in cases], "cases")
    return find_matches(photos, training)


def add_audit_arguments(parser: ArgumentParser) -> None:
    """Declare the options of ``audit``."""
    parser.add_argument(
        "--percentages", nargs="+", metavar="P",
        help="as printed, with all decimals; by default those of the paper and its preprint",
    )  # fmt: skip
    parser.add_argument(
        "--denominators", nargs="+", type=int, metavar="N", default=list(DENOMINATORS),
        help=f"default: {', '.join(f'{n} ({what})' for n, what in DENOMINATORS.items())}",
    )  # fmt: skip


def audit(args: Namespace) -> None:
    """Write a table for each list of percentages, and what else follows by arithmetic."""
    lists: dict[str, list[tuple[str, str]]] = {}
    if args.percentages:
        lists["given"] = [(text, text) for text in args.percentages]
    else:
        for figure in FIGURES:
            item = f", item {figure.item}" if figure.item else ""
            what = f"{figure.source}, {figure.place}{item}: {figure.what}"
            # Paper and preprint apart: what fits the one's figures need not fit the other's.
            lists.setdefault(figure.source, []).append((what, figure.percent))
    for entries in lists.values():
        # One percentage may be printed in two places; counting it twice would bend the remarks.
        percents = list(dict.fromkeys(percent for _, percent in entries))
        most, common = best_denominators(percents, LIMIT)
        remarks = [
            f"Up to {LIMIT}, a denominator fits {most} of the {len(percents)} percentages at most: "
            f"{', '.join(map(str, common[:SHOWN]))}{', …' if len(common) > SHOWN else ''}."
        ]
        # A printed sum of two rounded parts need not be any k of n itself.
        remarks += [f"{whole} = {a} + {b}, as printed." for whole, a, b in sums(percents)]
        for text in percents:
            fits = ", ".join(map(str, smallest_denominators(text, LIMIT, SHOWN))) or "none"
            remarks.append(f"{text} %: the smallest fractions that give it are {fits}.")
        sys.stdout.write(audit_table(entries, args.denominators).markdown() + "\n")
        sys.stdout.write("".join(f"- {line}\n" for line in remarks) + "\n")


COMMANDS = {
    "cases": Command(add_cases_arguments, check_cases),
    "audit": Command(add_audit_arguments, audit),
}
