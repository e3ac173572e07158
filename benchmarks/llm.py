"""Measure language models of full size with random weights, behind the full vision side, on a GPU.

``python benchmarks/llm.py`` loads, encodes and generates with each of :data:`ROWS` and prints a
Markdown table; ``--model`` and ``--quantization`` choose one. Speed and memory do not depend on
what the weights are, so none are needed. Without a GPU it only says what it would measure, except
for ``--model random:tiny``, which runs anywhere.
"""

import argparse
import gc
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil
import torch
from machine import GIGABYTE, finish
from PIL import Image
from talk import open_question
from torch import Tensor
from transformers.utils.logging import disable_progress_bar

from skingpt4.common.cli import run_script
from skingpt4.conversation.chat import Chat, load_chat
from skingpt4.models.device import best_device

TINY = "random:tiny"
TINY_CONFIG = "eval_configs/skingpt4_eval_tiny.yaml"
FULL_CONFIG = "eval_configs/skingpt4_eval_llama2_13bchat.yaml"
UNTRAINED = (
    "model.ckpt=''",
    "model.allow_untrained=True",
    "model.vit_weights=random",
    "model.q_former_model=random",
)
HEADER = (
    "| language model | load, s | memory, GB | peak, GB | encode a photo, s | first token, s "
    "| tokens/s |\n|---|---|---|---|---|---|---|"
)


@dataclass(frozen=True)
class Row:
    """One language model to measure: a ``random:`` name, and how it is quantised."""

    model: str
    quantization: str = ""

    def __str__(self) -> str:
        """Name it as the table does."""
        return f"{self.model} {self.quantization or 'unquantised'}"

    def options(self) -> list[str]:
        """Return the overrides that make its configuration this row."""
        own = [f"model.llm_model={self.model}", f"model.quantization='{self.quantization}'"]
        return [*UNTRAINED, *own]

    @property
    def config(self) -> str:
        """The configuration whose vision side it has."""
        return TINY_CONFIG if self.model == TINY else FULL_CONFIG


@dataclass(frozen=True)
class Outcome:
    """What was measured: seconds, gigabytes, and tokens a second."""

    load: float
    memory: float
    peak: float
    encode: float
    first_token: float
    rate: float


ROWS = (
    Row("random:llama-2-13b"),
    Row("random:llama-2-13b", "nf4"),
    Row("random:falcon-40b", "nf4"),
)


class Stopwatch:
    """Counts seconds of work that is done, on a GPU too."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.started = time.perf_counter()

    def seconds(self) -> float:
        """Return the time since the start, once the device has finished."""
        finish(self.device)
        return time.perf_counter() - self.started


def measure(row: Row, device: torch.device, tokens: int) -> Outcome:
    """Load one row, encode a photo, and answer twice: one token, then ``tokens``."""
    watch = Stopwatch(device)
    chat = load_chat(row.config, row.options(), device)
    load, memory = watch.seconds(), _memory(device)
    answer(chat, 2)  # warm-up
    photos: list[Tensor] = []
    watch = Stopwatch(device)
    chat.upload_img(Image.new("RGB", (640, 480)), chat.new_conversation(), photos)
    encode = watch.seconds()
    first_token = answer(chat, 1)
    rate = (tokens - 1) / (answer(chat, tokens) - first_token)
    return Outcome(load, memory, _memory(device, peak=True), encode, first_token, rate)


def answer(chat: Chat, tokens: int) -> float:
    """Return the seconds from a question about a photo to an answer of so many tokens."""
    conv, photos = open_question(chat)
    watch = Stopwatch(chat.device)
    chat.answer(conv, photos, max_new_tokens=tokens, min_length=tokens)
    return watch.seconds()


def _memory(device: torch.device, peak: bool = False) -> float:
    if device.type != "cuda":
        return float(psutil.Process().memory_info().rss / GIGABYTE)
    count = torch.cuda.max_memory_allocated if peak else torch.cuda.memory_allocated
    return sum(count(gpu) for gpu in range(torch.cuda.device_count())) / GIGABYTE


def line(row: Row, outcome: Outcome) -> str:
    """Format one row of the table."""
    return (
        f"| {row} | {outcome.load:.1f} | {outcome.memory:.1f} | {outcome.peak:.1f} "
        f"| {outcome.encode:.3f} | {outcome.first_token:.3f} | {outcome.rate:.1f} |"
    )


def chosen_rows(model: str | None, quantization: str) -> Sequence[Row]:
    """Return the row of the command line, or all."""
    return [Row(model, quantization)] if model else ROWS


def announcement(rows: Sequence[Row], tokens: int) -> str:
    """Say what would be measured on a machine with a GPU."""
    names = "\n".join(f"- {row}" for row in rows)
    return (
        "There is no GPU here. With one, this measures seconds to load, GB, seconds to encode a "
        f"photo and to the first token, and tokens/s over {tokens} tokens, for:\n{names}\n"
        f"To try it here: python benchmarks/llm.py --model {TINY}\n"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="one row only, such as random:llama-2-13b")
    parser.add_argument("--quantization", default="", choices=("", "int8", "nf4"))
    parser.add_argument("--tokens", type=int, default=128, help="length of the timed answer")
    args = parser.parse_args()
    disable_progress_bar()
    rows, device = chosen_rows(args.model, args.quantization), best_device()
    if device.type == "cpu" and args.model != TINY:
        sys.stdout.write(announcement(rows, args.tokens))
        return
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    sys.stdout.write(f"{name}, torch {torch.__version__}\n\n{HEADER}\n")
    for row in rows:
        sys.stdout.write(line(row, measure(row, device, args.tokens)) + "\n")
        sys.stdout.flush()
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)


if __name__ == "__main__":
    run_script(main)
