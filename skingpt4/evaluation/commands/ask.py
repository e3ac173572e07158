"""``evaluate.py run`` and ``consistency``: what asks systems, once or again and again."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

from accelerate import PartialState

from skingpt4.check import Report
from skingpt4.check.preflight import preflight
from skingpt4.common.cli import add_check_argument, finish_check
from skingpt4.common.config import Config
from skingpt4.common.errors import EvaluationError
from skingpt4.conversation.engines import Decoding
from skingpt4.dermatology import QUESTIONS
from skingpt4.documents.document import Table
from skingpt4.evaluation.commands.options import Command, add_common_arguments, load_cases
from skingpt4.evaluation.inference import answer_all, join_processes
from skingpt4.evaluation.responses import (
    CONCEPTS_NAME,
    CONSISTENCY_NAME,
    RESPONSES_NAME,
    read_responses,
)
from skingpt4.evaluation.scoring.repeatability import (
    DRAWS,
    IMAGES_PER_CLASS,
    choose_images,
    measure_consistency,
)
from skingpt4.evaluation.systems import (
    BUILTIN_CHECKPOINTS,
    Checkpoint,
    SystemUnderTest,
    imported_system,
    parse_checkpoint,
    server_system,
    skingpt4_system,
    split_pair,
    transformers_system,
)
from skingpt4.synthetic.text import CONCEPT_QUESTION

# Longest answer, in tokens: the paper's longest training text.
MAX_NEW_TOKENS = 160

# Six batches answer the 150 cases.
BATCH_SIZE = 25

# Of no effect on greedy answers, but part of the record that tells systems apart.
TOP_P = 0.9

N = TypeVar("N", Checkpoint, SystemUnderTest)


@dataclass(frozen=True)
class CheckedSystems:
    """What ``--check`` found, by system."""

    reports: Mapping[str, Report]

    @property
    def ok(self) -> bool:
        """Tell whether every system can answer."""
        # One that cannot would end the run when its turn comes, perhaps hours later.
        return all(report.ok for report in self.reports.values())

    def table(self) -> str:
        """Return each system's findings under its name."""
        return "\n\n".join(f"{name}\n\n{r.table()}" for name, r in self.reports.items())


def add_run_arguments(parser: ArgumentParser) -> None:
    """Declare the options of ``run``."""
    add_common_arguments(parser)
    # One list as the default of several options is safe: argparse copies it before it appends.
    many: dict[str, Any] = {"action": "append", "default": []}
    add_asking_arguments(parser, temperature=0.0)
    parser.add_argument("--import", dest="imports", metavar="NAME=CSV", help="add answers", **many)
    parser.add_argument("--hf", metavar="NAME=FOLDER", help="add a transformers model", **many)
    parser.add_argument("--server", metavar="NAME=URL", help="add an OpenAI-like server", **many)
    parser.add_argument("--allow-remote", action="store_true", help="servers elsewhere may be used")
    parser.add_argument(
        "--ask-concepts",
        action="store_true",
        help="also ask our own models the question of step 1, in a conversation of its own",
    )
    add_check_argument(parser)


def add_asking_arguments(parser: ArgumentParser, temperature: float) -> None:
    """Declare which models of ours take part, how answers are chosen, and how many at once."""
    many: dict[str, Any] = {"action": "append", "default": []}
    parser.add_argument("--system", metavar="NAME=YAML[,KEY=VALUE…]", help="add a system", **many)
    parser.add_argument("--only", metavar="NAME", help="answer with this system only", **many)
    parser.add_argument("--batch-size", type=int, default=BATCH_SIZE, help="conversations at once")
    parser.add_argument("--max-new-tokens", type=int, default=MAX_NEW_TOKENS)
    parser.add_argument("--temperature", type=float, default=temperature, help="0 is greedy")
    parser.add_argument("--top-p", type=float, default=TOP_P)
    parser.add_argument("--seed", type=int, default=0)
    # None by default, since cases[:None] is all of them.
    parser.add_argument("--limit", type=int, help="only the first cases")
    parser.add_argument("--cpu", action="store_true", help="leave GPUs alone")


def choose(named: Sequence[N], only: Sequence[str]) -> list[N]:
    """Return the systems that are named, or all.

    Raises:
        EvaluationError: If two share a name, or a name is none of theirs.
    """
    names = [one.name for one in named]
    for name in names:
        if names.count(name) > 1:
            raise EvaluationError(f"Two systems have the name '{name}'; give each its own.")
    # Refused rather than passed over: a run that lacks a system looks like a complete one.
    for name in only:
        if name not in names:
            raise EvaluationError(
                f"--only names the system '{name}', which is none of: {', '.join(names)}."
            )
    return [one for one in named if not only or one.name in only]


def run(args: Namespace) -> None:
    """Answer what is not answered yet; with ``--check`` only tell whether that can work."""
    state = join_processes(args.cpu)
    device, longest = state.device, args.max_new_tokens
    decoding = Decoding(
        max_new_tokens=longest, temperature=args.temperature, top_p=args.top_p, seed=args.seed
    )
    checkpoints = [*BUILTIN_CHECKPOINTS, *map(parse_checkpoint, args.system)]
    # Before any case is drawn: a check leaves nothing on the disk.
    if args.check:
        chosen = choose(checkpoints, args.only)
        configs = {one.name: Config.load(one.cfg_path, one.options) for one in chosen}
        reports = {name: preflight(config, device) for name, config in configs.items()}
        finish_check(CheckedSystems(reports))
    with state.main_process_first():  # one process draws the cases, the others find them drawn
        cases = load_cases(args)
    # Loaders, not models: one model at a time is in memory, and none where all is answered.
    systems = [skingpt4_system(one, decoding, partial(one.load, device)) for one in checkpoints]
    for text in args.hf:
        name, folder = split_pair(text, "--hf", "folder")
        systems.append(transformers_system(name, Path(folder), device, longest))
    for text in args.server:
        name, address = split_pair(text, "--server", "http://127.0.0.1:PORT")
        systems.append(server_system(name, address, longest, args.allow_remote))
    for text in args.imports:
        name, path = split_pair(text, "--import", "answers.csv")
        systems.append(imported_system(name, Path(path), cases))
    # Chosen last, so that an added system with a built-in one's name is refused.
    systems = choose(systems, args.only)
    # The file's header has the whole list's hash, so that a run without the limit can go on.
    asked, responses = cases[: args.limit], args.output / RESPONSES_NAME
    answer_all(responses, cases, systems, args.batch_size, state, asked)
    # Only our own models were trained on the question of step 1.
    if args.ask_concepts:
        names = {system.name for system in systems}
        own = [one for one in checkpoints if one.name in names]
        describers = concept_systems(own, decoding, state)
        answer_all(args.output / CONCEPTS_NAME, cases, describers, args.batch_size, state, asked)
    if state.is_main_process:
        # From the file, which holds the answers of all processes and of earlier runs.
        rows = read_responses(responses).rows
        failed = sum(bool(row.error) for row in rows)
        sys.stdout.write(f"{len(rows)} conversations ({failed} failed): {responses}\n")


def concept_systems(
    checkpoints: Sequence[Checkpoint], decoding: Decoding, state: PartialState
) -> list[SystemUnderTest]:
    """Return SkinGPT-4 models that are asked for the concepts they see, and nothing else."""
    return [
        skingpt4_system(
            one,
            decoding,
            partial(one.load, state.device),
            questions=[CONCEPT_QUESTION],
            # In the record, so that answers to another wording are not taken for these.
            note={"question": CONCEPT_QUESTION},
        )
        for one in checkpoints
    ]


def add_consistency_arguments(parser: ArgumentParser) -> None:
    """Declare the options of ``consistency``."""
    add_common_arguments(parser)
    add_asking_arguments(parser, temperature=1.0)
    parser.add_argument(
        "--per-class", type=int, default=IMAGES_PER_CLASS, help="images of each class"
    )
    parser.add_argument("--draws", type=int, default=DRAWS, help="diagnoses of each image")


def consistency(args: Namespace) -> None:
    """Draw what is not drawn yet, then count."""
    state = join_processes(args.cpu)
    with state.main_process_first():
        cases = load_cases(args)
    added = [parse_checkpoint(text) for text in args.system]
    # Repeating every built-in system would take long and tell little: by default the full one.
    only = args.only or [one.name for one in added] or [BUILTIN_CHECKPOINTS[0].name]
    checkpoints = choose([*BUILTIN_CHECKPOINTS, *added], only)
    images = choose_images(cases, args.per_class)[: args.limit]
    path = args.output / CONSISTENCY_NAME
    # The batch size counts conversations, and each image takes as many as there are draws.
    at_once = max(1, args.batch_size // args.draws)
    decoding = Decoding(
        max_new_tokens=args.max_new_tokens,
        temperature=args.temperature,
        top_p=args.top_p,
        seed=args.seed,
    )
    systems = repeated_systems(checkpoints, decoding, args.draws, state)
    answer_all(path, cases, systems, at_once, state, images)
    if state.is_main_process:
        sys.stdout.write(f"{consistency_table(path)}written: {path}\n")


def repeated_systems(
    checkpoints: Sequence[Checkpoint], decoding: Decoding, draws: int, state: PartialState
) -> list[SystemUnderTest]:
    """Return each model twice, with sampled answers and with greedy ones, diagnosing again."""
    systems = []
    for one in checkpoints:
        load = cache(partial(one.load, state.device))  # both ways ask the same model in memory
        # Greedy draws can differ only by chance in arithmetic: they show how much that is.
        ways = {"sampled": decoding, "greedy": replace(decoding, temperature=0.0)}
        for way, own in ways.items():
            named = replace(one, name=f"{one.name} ({way})")
            note = {"draws": draws}
            systems.append(skingpt4_system(named, own, load, QUESTIONS[:1], draws, note))
    return systems


def consistency_table(path: Path) -> str:
    """Return how alike the repeated diagnoses of a file are, as a Markdown table."""
    # All three measures: the paper does not say which of them its 93.73 % is.
    rows = []
    for name, score in measure_consistency(read_responses(path).rows).items():
        shares = [
            f"{x.estimate:.1%} ({x.low:.1%}–{x.high:.1%})" for x in (score.modal, score.pairwise)
        ]
        rows.append((name, str(len(score.images)), *shares, str(score.all_same)))
    usual = "draws with the image's usual diagnosis"
    head = ("system", "images", usual, "pairs that agree", "all the same")
    return Table("", head, tuple(rows)).markdown()


COMMANDS = {
    "run": Command(add_run_arguments, run),
    "consistency": Command(add_consistency_arguments, consistency),
}
