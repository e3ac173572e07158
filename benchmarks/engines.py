"""Measure the engines side by side on the CPU: the same weights, photo, question and answer length.

``python benchmarks/engines.py`` makes a random language model (``--model``, 1.1 billion parameters
by default), writes it as a Hugging Face folder and as GGUF files, and prints a Markdown table:
seconds to load, seconds to the first token of the first and of the second turn, tokens a second,
that beside the first row's, and the highest memory of the process, vision side and libraries
included. Each row runs in a process of its own, one after the other; of several conversations the
fastest counts, which other programs disturbed least. With ``--folder`` the files are kept there and
used again.

``--server http://127.0.0.1:8000`` adds a row for a vLLM server that has loaded that folder (its
own memory is not counted). ``--model random:tiny`` shows it in a minute.
"""

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from machine import process_peak
from PIL import Image
from torch import Tensor
from transformers.utils.logging import disable_progress_bar

from skingpt4.common.cli import run_script
from skingpt4.conversation.chat import Chat, load_chat
from skingpt4.conversation.conversation import Conversation
from skingpt4.export.gguf import KINDS, export_gguf
from skingpt4.models.device import Placement
from skingpt4.models.llm import load_llm, load_tokenizer

CONFIG = "eval_configs/skingpt4_eval_tiny.yaml"
UNTRAINED = ("model.ckpt=''", "model.allow_untrained=True")
QUESTION = "Could you describe the skin disease in this image for me?"
CPU = torch.device("cpu")
T = TypeVar("T")
HEADER = (
    "| engine | load, s | first token, turn 1, s | first token, turn 2, s | tokens/s | ratio "
    "| peak memory, GB |\n|---|---|---|---|---|---|---|"
)


@dataclass(frozen=True)
class Row:
    """One engine to measure: its name in the table, and the overrides that choose it."""

    name: str
    options: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """What was measured: seconds, tokens a second, gigabytes."""

    load: float
    first_turn: float
    later_turn: float
    rate: float
    peak: float


def write_folder(model: str, folder: Path) -> Path:
    """Write a random language model as a Hugging Face folder in float32, unless it is there."""
    place = folder / model.replace(":", "-")
    if not place.is_dir():
        llm = load_llm(model, Placement(CPU, torch.float32, torch.float32))
        llm.save_pretrained(place)
        load_tokenizer(model).save_pretrained(place)
    return place


def rows(llm: Path, kinds: Sequence[str], server: str) -> Iterator[Row]:
    """Yield the engines, writing the GGUF files that are not there."""
    for dtype in ("fp32", "bf16"):
        yield Row(f"transformers {dtype}", (f"model.llm_model={llm}", f"model.llm_dtype={dtype}"))
    for kind in kinds:
        path = llm.parent / f"{llm.name}-{kind}.gguf"
        if not path.is_file():
            apart(export_gguf, str(llm), path, kind)
        yield Row(f"llama.cpp {kind}", (f"model.llm_model={path}", "model.engine=llama_cpp"))
    if server:
        options = (f"model.llm_model={llm}", "model.engine=vllm", f"model.engine_url={server}")
        yield Row("vLLM (its server's memory not counted)", options)


def measure(row: Row, tokens: int, repeats: int) -> Outcome:
    """Load one engine and let it answer two turns, several times."""
    disable_progress_bar()
    started = time.perf_counter()
    chat = load_chat(CONFIG, (*UNTRAINED, *row.options), CPU)
    load = time.perf_counter() - started
    conversations = [converse(chat, tokens) for _ in range(repeats)]
    first, later, rate = zip(*conversations, strict=True)
    return Outcome(load, min(first), min(later), max(rate), process_peak())


def converse(chat: Chat, tokens: int) -> tuple[float, float, float]:
    """Hold three turns; return seconds to the first token of two, and tokens a second after it.

    The second and the third turn ask the same, so that only the length of the answer differs.
    """
    conv, photos = chat.new_conversation(), list[Tensor]()
    # A photo of its own, so that nothing of it is cached.
    chat.upload_img(Image.frombytes("RGB", (64, 64), os.urandom(3 * 64 * 64)), conv, photos)
    first, later, whole = (answer(chat, conv, photos, length) for length in (1, 1, tokens))
    return first, later, (tokens - 1) / (whole - later)


def answer(chat: Chat, conv: Conversation, photos: Sequence[Tensor], tokens: int) -> float:
    """Return the seconds from a question to the end of an answer of so many tokens."""
    chat.ask(QUESTION, conv)
    started = time.perf_counter()
    chat.answer(conv, photos, max_new_tokens=tokens, min_length=tokens)
    return time.perf_counter() - started


def apart(work: Callable[..., T], *arguments: object) -> T:
    """Work in a process of its own, so that its memory is its own and is given back.

    On Linux the peak of a new process begins at its parent's size; so the parent stays small.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def line(row: Row, outcome: Outcome, reference: float) -> str:
    """Format one row of the table."""
    return (
        f"| {row.name} | {outcome.load:.1f} | {outcome.first_turn:.2f} | {outcome.later_turn:.2f} "
        f"| {outcome.rate:.1f} | {outcome.rate / reference:.1f} | {outcome.peak:.1f} |"
    )


def main() -> None:
    """Write the files, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="random:llama-1b", help="a random: language model")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--tokens", type=int, default=48, help="length of the timed answer")
    parser.add_argument("--repeats", type=int, default=3, help="conversations of each engine")
    parser.add_argument("--server", default="", help="address of a vLLM server of that folder")
    parser.add_argument("--folder", type=Path, help="keeps the files; by default they are deleted")
    args = parser.parse_args()
    disable_progress_bar()
    sys.stdout.write(f"{args.model}, {torch.get_num_threads()} threads\n\n{HEADER}\n")
    with tempfile.TemporaryDirectory() as temporary:
        llm = apart(write_folder, args.model, args.folder or Path(temporary))
        reference = None
        for row in rows(llm, args.kinds, args.server):
            outcome = apart(measure, row, args.tokens, args.repeats)
            reference = reference or outcome.rate
            sys.stdout.write(line(row, outcome, reference) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    run_script(main)
