"""``evaluate.py score``: read the answers, count, and keep the words behind each decision."""

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any, cast

from skingpt4.common.files import write_atomically
from skingpt4.evaluation.cases import case_list_hash
from skingpt4.evaluation.commands.options import add_common_arguments, load_cases
from skingpt4.evaluation.commands.run import CONCEPTS_NAME, RESPONSES_NAME
from skingpt4.evaluation.responses import Response, responses_about, rows_about
from skingpt4.evaluation.scoring.classes import SystemScore, read_response, score
from skingpt4.evaluation.scoring.concepts import ConceptScore, score_asked
from skingpt4.evaluation.scoring.statistics import wilson
from skingpt4.labeler import VERSION

SCORES_NAME = "scores.json"
TABLE_HEADER = (
    "| system | right class | right class mentioned | concept F1 | precision | recall | missed "
    "malignancy | four different answers | abstained | failed |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)


ASKED_HEADER = "| system, asked for concepts | concept F1 | precision | recall |\n|---|---|---|---|"


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    add_common_arguments(parser)


def main(args: Namespace) -> None:
    """Score all systems, write everything, and print the tables."""
    cases = load_cases(args)
    responses = responses_about(args.output / RESPONSES_NAME, cases)
    scores = score(cases, responses.rows)
    asked = score_asked(cases, rows_about(args.output / CONCEPTS_NAME, cases))
    content = {
        "vocabulary": VERSION,
        "case_list": case_list_hash(cases),
        "systems": {name: _with_intervals(own) for name, own in scores.items()},
        "asked_concepts": {name: asdict(own) for name, own in asked.items()},
        "readings": [_reading(row) for row in responses.rows],
    }
    path = args.output / SCORES_NAME
    body = json.dumps(content, ensure_ascii=False, indent=1) + "\n"
    write_atomically(path, lambda file: cast(None, file.write_text(body, encoding="utf-8")))
    sys.stdout.write("\n".join(_tables(scores, asked)) + f"\nwritten: {path}\n")


def _with_intervals(own: SystemScore) -> dict[str, Any]:
    """Return a score as plain data, with 95 % intervals of every share."""
    groups = {"per_class": own.per_class, "per_skin_type": own.per_skin_type}
    groups |= {"per_quality": own.per_quality}
    shares = {"hits": (own.hits, own.n), "mentioned_hits": (own.mentioned_hits, own.n)}
    shares |= {"missed_malignancy": own.missed_malignancy, "abstained": (own.abstained, own.n)}
    intervals: dict[str, Any] = {name: _bounds(*pair) for name, pair in shares.items()}
    for group, rows in groups.items():
        intervals[group] = {name: _bounds(*pair) for name, pair in rows.items()}
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


def _tables(scores: Mapping[str, SystemScore], asked: Mapping[str, ConceptScore]) -> Iterator[str]:
    """Yield the lines of the Markdown tables: all, concepts asked for, and by three groups."""
    yield TABLE_HEADER
    yield from (_row(name, own) for name, own in scores.items())
    if asked:
        yield f"\n{ASKED_HEADER}"
        yield from (f"| {name} | {_concept_cells(own)} |" for name, own in asked.items())
    for title, groups in (
        ("class", {name: own.per_class for name, own in scores.items()}),
        ("skin type", {name: own.per_skin_type for name, own in scores.items()}),
        ("photo quality", {name: own.per_quality for name, own in scores.items()}),
    ):
        yield ""
        yield from group_table(title, groups)


def _row(name: str, own: SystemScore) -> str:
    return (
        f"| {name} | {wilson(own.hits, own.n)} | {wilson(own.mentioned_hits, own.n)} | "
        f"{_concept_cells(own.concepts)} | {wilson(*own.missed_malignancy)} | "
        f"{own.all_different}/{own.n} | {own.abstained}/{own.n} | {own.failed}/{own.n} |"
    )


def _concept_cells(own: ConceptScore) -> str:
    f1 = f"{own.f1:.3f} ({own.low:.3f}–{own.high:.3f})"
    return f"{f1} | {own.precision:.3f} | {own.recall:.3f}"


def group_table(title: str, systems: Mapping[str, Mapping[str, tuple[int, int]]]) -> Iterator[str]:
    """Yield the lines of a table of right classes: a row for each group, a column per system."""
    yield f"| {title} | {' | '.join(systems)} |"
    yield "|---" * (len(systems) + 1) + "|"
    names = dict.fromkeys(name for groups in systems.values() for name in groups)
    for name in names:
        cells = [wilson(*groups.get(name, (0, 0))) for groups in systems.values()]
        yield f"| {name} | {' | '.join(map(str, cells))} |"
