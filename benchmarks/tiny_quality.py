"""Measure the embedded model on 150 drawn cases that no training set holds.

``python benchmarks/tiny_quality.py`` measures the shipped model; with ``--ablation`` also the
other training recipes of the paper: step 1 only, step 2 only, neither. Needs the cases of
``python dataset/make_synthetic.py --output output/synthetic``. Prints Markdown tables with 95 %
intervals.
"""

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import binomtest
from torch import Tensor
from tqdm import tqdm

from skingpt4.common.cli import run_script
from skingpt4.common.errors import DatasetError
from skingpt4.conversation.chat import Chat, load_chat
from skingpt4.dermatology import QUESTIONS, classes_named, concepts_named
from skingpt4.synthetic.text import CONCEPT_QUESTION

WEIGHTS = "weights/skingpt4-tiny"
SYSTEMS = {
    "two-step (steps 1 and 2)": f"{WEIGHTS}/skingpt4_tiny.safetensors",
    "step 2 only": f"{WEIGHTS}/skingpt4_tiny_step2_only.safetensors",
    "step 1 only": f"{WEIGHTS}/skingpt4_tiny_step1.safetensors",
    "neither (step 0 only)": f"{WEIGHTS}/skingpt4_tiny_step0.safetensors",
}
HEADER = (
    "| trained on | class named | concept micro-F1 | four different answers |\n|---|---|---|---|"
)
MAX_NEW_TOKENS = 120
BOOTSTRAP_DRAWS = 2000


@dataclass(frozen=True)
class Case:
    """One held-out drawing and what was drawn."""

    image: Path
    disease_class: str
    concepts: frozenset[str]


@dataclass(frozen=True)
class Outcome:
    """What a system said about one case."""

    named: bool
    said_concepts: frozenset[str]
    answers: tuple[str, ...]


def read_cases(path: Path) -> list[Case]:
    """Read a case list.

    Raises:
        DatasetError: If the list is missing.
    """
    if not path.is_file():
        raise DatasetError(f"The case list '{path}' does not exist; run dataset/make_synthetic.py.")
    with path.open(encoding="utf-8", newline="") as file:
        return [
            Case(path.parent / r["image"], r["class"], frozenset(r["concepts"].split(";")))
            for r in csv.DictReader(file)
        ]


def converse(chat: Chat, image: Path, questions: Sequence[str]) -> Iterator[str]:
    """Ask about one photo, one conversation, greedily; yield the answers."""
    conv = chat.new_conversation()
    photos: list[Tensor] = []
    chat.upload_img(image, conv, photos)
    for question in questions:
        chat.ask(question, conv)
        yield chat.answer(conv, photos, max_new_tokens=MAX_NEW_TOKENS)[0]


def measure(chat: Chat, case: Case) -> Outcome:
    """Hold the four-question conversation, and ask for the concepts in another."""
    answers = tuple(converse(chat, case.image, QUESTIONS))
    concepts = next(converse(chat, case.image, [CONCEPT_QUESTION]))
    named = set(classes_named(answers[0])) == {case.disease_class}
    return Outcome(named, frozenset(concepts_named(concepts)), answers)


def concept_counts(cases: Sequence[Case], outcomes: Sequence[Outcome]) -> np.ndarray:
    """Return per-case counts ``[n, 3]`` of hits, said and drawn concepts."""
    return np.array(
        [
            (len(c.concepts & o.said_concepts), len(o.said_concepts), len(c.concepts))
            for c, o in zip(cases, outcomes, strict=True)
        ]
    )


def f1(counts: np.ndarray) -> float:
    """Micro-averaged F1 of per-case counts."""
    hits, said, drawn = counts.sum(axis=0)
    return 2 * hits / max(said + drawn, 1)


def bootstrap(counts: np.ndarray) -> tuple[float, float]:
    """Return the 95 % percentile interval of F1 over resampled cases."""
    rng = np.random.default_rng(0)
    draws = [
        f1(counts[rng.integers(len(counts), size=len(counts))]) for _ in range(BOOTSTRAP_DRAWS)
    ]
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)


def row(name: str, cases: Sequence[Case], outcomes: Sequence[Outcome]) -> str:
    """Format one system's line."""
    hits = sum(outcome.named for outcome in outcomes)
    interval = binomtest(hits, len(cases)).proportion_ci(method="wilson")
    counts = concept_counts(cases, outcomes)
    low, high = bootstrap(counts)
    distinct = sum(len(set(outcome.answers)) == len(QUESTIONS) for outcome in outcomes)
    return (
        f"| {name} | {hits}/{len(cases)} = {hits / len(cases):.1%} "
        f"({interval.low:.1%}–{interval.high:.1%}) | {f1(counts):.3f} ({low:.3f}–{high:.3f}) "
        f"| {distinct}/{len(cases)} |"
    )


def confusions(cases: Sequence[Case], outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Yield a line per class: how many of its cases were named."""
    yield "| class | named |\n|---|---|"
    for name in dict.fromkeys(case.disease_class for case in cases):
        own = [o.named for c, o in zip(cases, outcomes, strict=True) if c.disease_class == name]
        yield f"| {name} | {sum(own)}/{len(own)} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cfg-path", default="eval_configs/skingpt4_eval_tiny.yaml")
    parser.add_argument("--cases", type=Path, default=Path("output/synthetic/cases.csv"))
    parser.add_argument("--ablation", action="store_true", help="measure every recipe")
    parser.add_argument("--limit", type=int, help="measure only the first cases")
    args = parser.parse_args()
    cases = read_cases(args.cases)[: args.limit]
    names = list(SYSTEMS) if args.ablation else list(SYSTEMS)[:1]
    lines: list[str] = []
    per_class: list[str] = []
    for name in names:
        chat = load_chat(args.cfg_path, [f"model.ckpt={SYSTEMS[name]}"])
        outcomes = [measure(chat, case) for case in tqdm(cases, desc=name)]
        lines.append(row(name, cases, outcomes))
        per_class = per_class or list(confusions(cases, outcomes))
    sys.stdout.write("\n".join([HEADER, *lines, "", *per_class, ""]))


if __name__ == "__main__":
    run_script(main)
