"""``evaluate.py run``: the four questions, of every system, about every case."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from skingpt4.check import Report
from skingpt4.check.preflight import preflight
from skingpt4.common.cli import add_check_argument, finish_check
from skingpt4.common.config import Config
from skingpt4.conversation.chat import load_chat
from skingpt4.conversation.engines import Decoding
from skingpt4.evaluation.answerers import Interview, RepeatedQuestion
from skingpt4.evaluation.cases import EvalCase
from skingpt4.evaluation.commands.options import add_common_arguments, load_cases
from skingpt4.evaluation.foreign import (
    ImportedAnswers,
    ServerClient,
    describe_folder,
    folder_interview,
)
from skingpt4.evaluation.inference import Contender, answer_all, choose_named, join_processes
from skingpt4.evaluation.responses import read_responses
from skingpt4.evaluation.systems import (
    BUILTIN_SYSTEMS,
    System,
    describe_system,
    parse_system,
    split_pair,
)
from skingpt4.synthetic.text import CONCEPT_QUESTION


@dataclass(frozen=True)
class SystemsReport:
    """What a check found, by system."""

    reports: Mapping[str, Report]

    @property
    def ok(self) -> bool:
        """Tell whether every system can answer."""
        return all(report.ok for report in self.reports.values())

    def table(self) -> str:
        """Return each system's findings under its name."""
        return "\n\n".join(f"{name}\n\n{r.table()}" for name, r in self.reports.items())


def check_systems(systems: Sequence[System], device: torch.device) -> SystemsReport:
    """Check everything that the systems need on a device; no weights are loaded.

    Raises:
        ConfigError: If a system's config is wrong.
    """
    return SystemsReport(
        {
            system.name: preflight(Config.load(system.cfg_path, system.options), device)
            for system in systems
        }
    )


RESPONSES_NAME = "responses.jsonl"

CONCEPTS_NAME = "concepts.jsonl"

MAX_NEW_TOKENS = 160
"""Longest answer: the paper's longest training text."""

BATCH_SIZE = 25


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options."""
    add_common_arguments(parser)
    add_system_arguments(parser)
    many: dict[str, Any] = {"action": "append", "default": []}
    parser.add_argument("--import", dest="imports", metavar="NAME=CSV", help="add answers", **many)
    parser.add_argument("--hf", metavar="NAME=FOLDER", help="add a transformers model", **many)
    parser.add_argument("--server", metavar="NAME=URL", help="add an OpenAI-like server", **many)
    parser.add_argument("--allow-remote", action="store_true", help="servers elsewhere may be used")
    parser.add_argument(
        "--ask-concepts",
        action="store_true",
        help="also ask our own models the question of step 1, in a conversation of its own",
    )
    add_decoding_arguments(parser, temperature=0.0)
    add_check_argument(parser)


def add_system_arguments(parser: ArgumentParser) -> None:
    """Declare which models of ours take part."""
    many: dict[str, Any] = {"action": "append", "default": []}
    parser.add_argument("--system", metavar="NAME=YAML[,KEY=VALUE…]", help="add a system", **many)
    parser.add_argument("--only", metavar="NAME", help="answer with this system only", **many)


def add_decoding_arguments(parser: ArgumentParser, temperature: float) -> None:
    """Declare how answers are chosen, and how many at once."""
    parser.add_argument("--batch-size", type=int, default=BATCH_SIZE, help="conversations at once")
    parser.add_argument("--max-new-tokens", type=int, default=MAX_NEW_TOKENS)
    parser.add_argument("--temperature", type=float, default=temperature, help="0 is greedy")
    parser.add_argument("--top-p", type=float, default=0.9)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="only the first cases")
    parser.add_argument("--cpu", action="store_true", help="leave GPUs alone")


def decoding_of(args: Namespace) -> Decoding:
    """Return how answers are chosen."""
    return Decoding(
        max_new_tokens=args.max_new_tokens,
        temperature=args.temperature,
        top_p=args.top_p,
        seed=args.seed,
    )


def main(args: Namespace) -> None:
    """Answer what is not answered yet."""
    state = join_processes(args.cpu)
    if args.check:
        finish_check(check_systems(choose_named(_systems(args), args.only), state.device))
    with state.main_process_first():
        cases = load_cases(args)
    contenders = choose_named(list(_contenders(args, cases, state.device)), args.only)
    path = args.output / RESPONSES_NAME
    asked = cases[: args.limit]
    answer_all(path, cases, contenders, args.batch_size, state, asked)
    if args.ask_concepts:
        describers = [
            concept_contender(system, decoding_of(args), state.device)
            for system in _systems(args)
            if system.name in {contender.name for contender in contenders}
        ]
        answer_all(args.output / CONCEPTS_NAME, cases, describers, args.batch_size, state, asked)
    if state.is_main_process:
        rows = read_responses(path).rows
        failed = sum(bool(row.error) for row in rows)
        sys.stdout.write(f"{len(rows)} conversations ({failed} failed): {path}\n")


def _systems(args: Namespace) -> list[System]:
    """Return our own models that take part."""
    return [*BUILTIN_SYSTEMS, *map(parse_system, args.system)]


def _contenders(
    args: Namespace, cases: Sequence[EvalCase], device: torch.device
) -> Iterator[Contender]:
    """Yield the built-in systems, then the added ones in the order of the options."""
    for system in _systems(args):
        yield system_contender(system, decoding_of(args), device)
    for text in args.hf:
        yield _folder_contender(*split_pair(text, "--hf", "folder"), args.max_new_tokens, device)
    for text in args.server:
        name, address = split_pair(text, "--server", "http://127.0.0.1:PORT")
        client = ServerClient(address, args.max_new_tokens, args.allow_remote)
        yield Contender(name, client.describe, client.interview)
    for text in args.imports:
        yield _import_contender(*split_pair(text, "--import", "answers.csv"), cases)


def system_contender(system: System, decoding: Decoding, device: torch.device) -> Contender:
    """Return a SkinGPT-4 as one that takes part."""
    return Contender(
        system.name,
        describe=lambda: describe_system(system, decoding),
        make=lambda: Interview(system, decoding, device),
    )


def concept_contender(system: System, decoding: Decoding, device: torch.device) -> Contender:
    """Return a SkinGPT-4 that is asked for the concepts it sees, and nothing else."""

    def make() -> RepeatedQuestion:
        chat = load_chat(system.cfg_path, system.options, device)
        return RepeatedQuestion(chat, decoding, draws=1, question=CONCEPT_QUESTION)

    return Contender(
        system.name,
        describe=lambda: {**describe_system(system, decoding), "question": CONCEPT_QUESTION},
        make=make,
    )


def _folder_contender(
    name: str, place: str, max_new_tokens: int, device: torch.device
) -> Contender:
    folder = Path(place)
    return Contender(
        name,
        describe=lambda: describe_folder(folder, max_new_tokens),
        make=lambda: folder_interview(folder, device, max_new_tokens),
    )


def _import_contender(name: str, place: str, cases: Sequence[EvalCase]) -> Contender:
    answers = ImportedAnswers(Path(place), cases)
    return Contender(name, describe=answers.describe, make=lambda: answers)
