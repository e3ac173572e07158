"""``evaluate.py consistency``: ten diagnoses of each of some photos, sampled and greedy."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache

import torch

from skingpt4.conversation.chat import Chat, load_chat
from skingpt4.evaluation.answerers import RepeatedQuestion
from skingpt4.evaluation.commands.options import add_common_arguments, load_cases
from skingpt4.evaluation.commands.run import (
    add_decoding_arguments,
    add_system_arguments,
    decoding_of,
)
from skingpt4.evaluation.inference import Contender, answer_all, choose_named, join_processes
from skingpt4.evaluation.responses import read_responses
from skingpt4.evaluation.scoring.repeatability import (
    DRAWS,
    IMAGES_PER_CLASS,
    ConsistencyScore,
    choose_images,
    measure_consistency,
)
from skingpt4.evaluation.scoring.statistics import Interval
from skingpt4.evaluation.systems import BUILTIN_SYSTEMS, System, describe_system, parse_system

CONSISTENCY_NAME = "consistency.jsonl"
GREEDY = "greedy"
SAMPLED = "sampled"
HEADER = (
    "| system | images | draws with the image's usual diagnosis | pairs that agree | all the same |"
    "\n|---|---|---|---|---|\n"
)


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    add_common_arguments(parser)
    add_system_arguments(parser)
    add_decoding_arguments(parser, temperature=1.0)
    parser.add_argument(
        "--per-class", type=int, default=IMAGES_PER_CLASS, help="images of each class"
    )
    parser.add_argument("--draws", type=int, default=DRAWS, help="diagnoses of each image")


def main(args: Namespace) -> None:
    """Draw what is not drawn yet, then count."""
    state = join_processes(args.cpu)
    with state.main_process_first():
        cases = load_cases(args)
    added = [parse_system(text) for text in args.system]
    only = args.only or [system.name for system in added] or [BUILTIN_SYSTEMS[0].name]
    contenders = [
        contender
        for system in choose_named([*BUILTIN_SYSTEMS, *added], only)
        for contender in _contenders(system, args, state.device)
    ]
    path = args.output / CONSISTENCY_NAME
    at_once = max(1, args.batch_size // args.draws)
    images = choose_images(cases, args.per_class)[: args.limit]
    answer_all(path, cases, contenders, at_once, state, images)
    if state.is_main_process:
        scores = measure_consistency(read_responses(path).rows)
        sys.stdout.write(consistency_table(scores) + f"\nwritten: {path}\n")


def _contenders(system: System, args: Namespace, device: torch.device) -> Iterator[Contender]:
    """Yield a system with sampled answers and the same with greedy ones."""

    @cache
    def chat() -> Chat:
        return load_chat(system.cfg_path, system.options, device)

    sampled = decoding_of(args)
    for kind, decoding in ((SAMPLED, sampled), (GREEDY, replace(sampled, temperature=0.0))):
        yield Contender(
            f"{system.name} ({kind})",
            describe=lambda decoding=decoding: {  # type: ignore[misc]
                **describe_system(system, decoding),
                "draws": args.draws,
            },
            make=lambda decoding=decoding: RepeatedQuestion(chat(), decoding, args.draws),  # type: ignore[misc]
        )


def consistency_table(scores: Mapping[str, ConsistencyScore]) -> str:
    """Return the figures of every system as a Markdown table."""
    return HEADER + "\n".join(
        f"| {name} | {len(score.images)} | {_percent(score.modal)} | {_percent(score.pairwise)} | "
        f"{score.all_same} |"
        for name, score in scores.items()
    )


def _percent(interval: Interval) -> str:
    return f"{interval.estimate:.1%} ({interval.low:.1%}–{interval.high:.1%})"
