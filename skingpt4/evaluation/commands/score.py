"""``evaluate.py score``: read the answers, count, and keep the words behind each decision."""

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from skingpt4.common.checkpoint import write_atomically
from skingpt4.evaluation.cases import EvalCase, case_list_hash
from skingpt4.evaluation.commands.common import add_common_arguments, load_cases
from skingpt4.evaluation.commands.run import RESPONSES_NAME
from skingpt4.evaluation.errors import EvaluationError
from skingpt4.evaluation.responses import Response, Responses, read_responses
from skingpt4.evaluation.scoring import SystemScore, f1_interval, read_response, score
from skingpt4.evaluation.statistics import wilson
from skingpt4.evaluation.vocabulary import VERSION

SCORES_NAME = "scores.json"
TABLE_HEADER = (
    "| system | right class | right class mentioned | concept F1 | precision | recall | missed "
    "malignancy | abstained | failed |\n|---|---|---|---|---|---|---|---|---|"
)


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    add_common_arguments(parser)


def main(args: Namespace) -> None:
    """Score all systems, write everything, and print the tables."""
    cases = load_cases(args)
    responses = responses_about(args.output / RESPONSES_NAME, cases)
    scores = score(cases, responses.rows)
    content = {
        "vocabulary": VERSION,
        "case_list": case_list_hash(cases),
        "systems": {name: _with_intervals(own) for name, own in scores.items()},
        "readings": [_reading(row) for row in responses.rows],
    }
    path = args.output / SCORES_NAME
    body = json.dumps(content, ensure_ascii=False, indent=1) + "\n"
    write_atomically(path, lambda file: cast(None, file.write_text(body, encoding="utf-8")))
    sys.stdout.write("\n".join(_tables(scores)) + f"\nwritten: {path}\n")


def responses_about(path: Path, cases: Sequence[EvalCase]) -> Responses:
    """Read answers that belong to a case list.

    Raises:
        EvaluationError: If they belong to another.
    """
    responses = read_responses(path)
    if responses.header["case_list"] != case_list_hash(cases):
        raise EvaluationError(
            f"'{path}' has answers about another case list than the one given; name the list "
            "that they belong to with --cases."
        )
    return responses


def _with_intervals(own: SystemScore) -> dict[str, Any]:
    """Return a score as plain data, with 95 % intervals of every share."""
    groups = {"per_class": own.per_class, "per_skin_type": own.per_skin_type}
    groups |= {"per_quality": own.per_quality}
    shares = {"hits": (own.hits, own.n), "mentioned_hits": (own.mentioned_hits, own.n)}
    shares |= {"missed_malignancy": own.missed_malignancy, "abstained": (own.abstained, own.n)}
    intervals: dict[str, Any] = {name: _bounds(*pair) for name, pair in shares.items()}
    for group, rows in groups.items():
        intervals[group] = {name: _bounds(*pair) for name, pair in rows.items()}
    intervals["f1"] = f1_interval(own.concept_counts)
    return {**asdict(own), "intervals": intervals}


def _bounds(k: int, n: int) -> tuple[float, float]:
    share = wilson(k, n)
    return share.low, share.high


def _reading(row: Response) -> dict[str, Any]:
    """Return what was read from one response, with the words behind it."""
    diagnosis, concepts = read_response(row)
    return {
        "case": row.case,
        "system": row.system,
        "top": diagnosis.top,
        "mentioned": diagnosis.mentioned,
        "concepts": sorted(concepts),
        "abstained": diagnosis.abstained,
        "trace": [asdict(match) for match in diagnosis.trace],
    }


def _tables(scores: Mapping[str, SystemScore]) -> Iterator[str]:
    """Yield the lines of the Markdown tables: all, by class, by skin type, by photo quality."""
    yield TABLE_HEADER
    yield from (_row(name, own) for name, own in scores.items())
    for title, groups in (
        ("class", {name: own.per_class for name, own in scores.items()}),
        ("skin type", {name: own.per_skin_type for name, own in scores.items()}),
        ("photo quality", {name: own.per_quality for name, own in scores.items()}),
    ):
        yield ""
        yield from group_table(title, groups)


def _row(name: str, own: SystemScore) -> str:
    low, high = f1_interval(own.concept_counts)
    return (
        f"| {name} | {wilson(own.hits, own.n)} | {wilson(own.mentioned_hits, own.n)} | "
        f"{own.f1:.3f} ({low:.3f}–{high:.3f}) | {own.precision:.3f} | {own.recall:.3f} | "
        f"{wilson(*own.missed_malignancy)} | {own.abstained}/{own.n} | {own.failed}/{own.n} |"
    )


def group_table(title: str, systems: Mapping[str, Mapping[str, tuple[int, int]]]) -> Iterator[str]:
    """Yield the lines of a table of right classes: a row for each group, a column per system."""
    yield f"| {title} | {' | '.join(systems)} |"
    yield "|---" * (len(systems) + 1) + "|"
    names = dict.fromkeys(name for groups in systems.values() for name in groups)
    for name in names:
        cells = [wilson(*groups.get(name, (0, 0))) for groups in systems.values()]
        yield f"| {name} | {' | '.join(map(str, cells))} |"
