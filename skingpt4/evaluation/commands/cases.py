"""``evaluate.py cases``: check a case list and look for its photos in training sets."""

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import cast

from skingpt4.common.files import write_atomically
from skingpt4.convert.fingerprints import read_fingerprints
from skingpt4.evaluation.cases import (
    EvalCase,
    Leak,
    case_list_hash,
    class_balance,
    find_leaks,
    is_balanced,
)
from skingpt4.evaluation.commands.options import add_common_arguments, load_cases

CHECK_NAME = "cases_checked.json"


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    add_common_arguments(parser)
    parser.add_argument(
        "--training",
        type=Path,
        nargs="+",
        default=[],
        metavar="PLACE",
        help="training sets: folders of images, or manifests (CSV or JSON) with sha256",
    )


def main(args: Namespace) -> None:
    """Check, compare, and write what was found."""
    cases = load_cases(args)
    training = [entry for place in args.training for entry in read_fingerprints(place)]
    leaks = find_leaks(cases, training) if training else []
    found = {
        "case_list": case_list_hash(cases),
        "balance": class_balance(cases),
        "is_15_by_10": is_balanced(cases),
        "images": {case.id: case.sha256 for case in cases},
        "training_images": len(training),
        "leaks": [asdict(leak) for leak in leaks],
    }
    body = json.dumps(found, ensure_ascii=False, indent=1) + "\n"
    path = args.output / CHECK_NAME
    write_atomically(path, lambda file: cast(None, file.write_text(body, encoding="utf-8")))
    sys.stdout.write("\n".join(_summary(cases, leaks, len(training))) + f"\nwritten: {path}\n")


def _summary(cases: Sequence[EvalCase], leaks: Sequence[Leak], training: int) -> list[str]:
    lines = ["| class | cases |", "|---|---|"]
    lines += [f"| {name} | {count} |" for name, count in class_balance(cases).items()]
    form = "as in the paper (15 x 10)" if is_balanced(cases) else "not balanced as in the paper"
    lines += ["", f"{len(cases)} cases, {form}; case list {case_list_hash(cases)[:12]}"]
    if training:
        same = sum(leak.same_file for leak in leaks)
        lines.append(
            f"leak audit against {training} training images: {same} the same file, "
            f"{len(leaks) - same} looking alike"
        )
    return lines
