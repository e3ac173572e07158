"""What several subcommands share: options, and the case list that they stand for."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from tqdm import tqdm

from skingpt4.common.tables import write_table
from skingpt4.evaluation.cases import CASE_LIST_NAME, CASES_PER_CLASS, COLUMNS, EvalCase, read_cases
from skingpt4.synthetic.render import jpeg_bytes
from skingpt4.synthetic.sets import held_out_cases

DEFAULT_OUTPUT = Path("output/evaluation")

# Fixed, so that everybody's built-in cases are the same and results can be compared.
BUILTIN_SEED = 0

# In the list's column "source", so that nobody takes the drawings for photos of patients.
BUILTIN_SOURCE = "drawn"


class Command(NamedTuple):
    """A subcommand: what declares its options, and what does it."""

    add_arguments: Callable[[ArgumentParser], None]
    main: Callable[[Namespace], None]


def add_common_arguments(parser: ArgumentParser) -> None:
    """Add ``--cases`` and ``--output``."""
    parser.add_argument(
        "--cases", type=Path, help="case list (CSV); by default the 150 drawn cases"
    )
    parser.add_argument(
        "--output", type=Path, default=DEFAULT_OUTPUT, help=f"folder (default {DEFAULT_OUTPUT})"
    )


def load_cases(args: Namespace) -> list[EvalCase]:
    """Read the case list, or the drawn cases, which are drawn first where they are not there."""
    return read_cases(args.cases or builtin_cases(args.output))


def builtin_cases(folder: Path) -> Path:
    """Draw the 150 built-in cases into a folder, if they are not there; return their list.

    They are those of ``dataset/make_synthetic.py`` with seed 0, which no training set holds.
    """
    path = folder / CASE_LIST_NAME
    if not path.is_file():
        (folder / "cases").mkdir(parents=True, exist_ok=True)
        drawn = held_out_cases(BUILTIN_SEED, CASES_PER_CLASS)
        rows = []
        bar = tqdm(drawn, desc="drawing", unit="case", disable=None)
        for number, case in enumerate(bar, start=1):
            image = f"cases/{number}.jpg"  # relative to the list, so that the folder may move
            (folder / image).write_bytes(jpeg_bytes(case))
            kind = (case.class_name, case.disease, ";".join(case.concepts), case.fitzpatrick)
            rows.append((number, image, *kind, BUILTIN_SOURCE))
        # Written last: a list that is there tells that all its photos are.
        write_table(path, pd.DataFrame(rows, columns=COLUMNS))
    return path
