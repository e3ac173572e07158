"""Many users at once: tokens a second and time to the first token, in this process and by vLLM.

Each user uploads a photo and asks the paper's four questions, one after the other; all users begin
together. The same configuration is measured in this process and, with ``--url``, on a vLLM server
that has the same folder loaded (``containers/README.md`` tells how to start one)::

    python benchmarks/users.py --url http://127.0.0.1:8000    # the embedded model

A larger untrained language model is written with the embedded one's tokenizer, so that every token
is text, and then measured::

    python benchmarks/users.py --llm output/llm --write random:llama-340m
    python benchmarks/users.py --llm output/llm --tokens 32 --url http://127.0.0.1:8000

Prints a Markdown table; ``--plot FILE.png`` draws it too.
"""

import argparse
import sys
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM
from transformers.utils.logging import disable_progress_bar

from skingpt4.common.cli import run_script
from skingpt4.common.files import PROJECT_ROOT
from skingpt4.conversation.chat import Chat, load_chat
from skingpt4.conversation.engines import Engine
from skingpt4.dermatology import QUESTIONS
from skingpt4.models.llm import load_tokenizer
from skingpt4.models.random_llm import random_config

CONFIG = PROJECT_ROOT / "eval_configs" / "skingpt4_eval_tiny.yaml"
TINY_LLM = PROJECT_ROOT / "weights" / "skingpt4-tiny" / "llm"
EXAMPLES = sorted((PROJECT_ROOT / "skingpt4" / "demo" / "examples").glob("*.jpg"))
USERS = (1, 2, 4, 8, 16, 32)
ENGINES = {"transformers": "in this process", "vllm": "vLLM"}


@dataclass(frozen=True)
class Load:
    """What a number of users saw.

    Attributes:
        engine: Who ran the language model.
        users: How many there were.
        tokens_a_second: New tokens of all answers, over the time until the last was finished.
        first_tokens: Seconds from each question to its answer's first piece.
    """

    engine: str
    users: int
    tokens_a_second: float
    first_tokens: list[float]

    def percentile(self, share: float) -> float:
        """Return the time to the first token, in seconds, that this share of questions kept."""
        return float(np.percentile(self.first_tokens, share))


class Meter:
    """An engine that notes how long first tokens take and how many are written."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.waits: list[float] = []
        self.tokens: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    def stream(self, *prompt: Any, **settings: Any) -> Generator[list[int], None, None]:
        """Pass an answer on."""
        start, written = time.perf_counter(), 0
        for ids in self.engine.stream(*prompt, **settings):
            if not written:
                self.waits.append(time.perf_counter() - start)
            written += len(ids)
            yield ids
        self.tokens.append(written)


def measure(chat: Chat, users: int, tokens: int) -> Load:
    """Let a number of users converse at once; their answers have ``tokens`` tokens at most."""
    name = chat.model.config.engine
    engine, chat.engine = chat.engine, cast(Engine, meter := Meter(chat.engine))
    start = time.perf_counter()
    try:
        with ThreadPoolExecutor(users) as pool:
            list(pool.map(lambda user: consult(chat, user, tokens), range(users)))
    finally:
        chat.engine = engine
    seconds = time.perf_counter() - start
    return Load(name, users, sum(meter.tokens) / seconds, meter.waits)


def consult(chat: Chat, user: int, tokens: int) -> None:
    """Hold one conversation about one of the example photos."""
    conv, photos = chat.new_conversation(), list[Tensor]()
    chat.upload_img(EXAMPLES[user % len(EXAMPLES)], conv, photos)
    for question in QUESTIONS:
        chat.ask(question, conv)
        chat.answer(conv, photos, max_new_tokens=tokens)


def write_llm(row: str, folder: Path) -> None:
    """Write an untrained language model with the embedded model's tokenizer.

    Args:
        row: ``random:<row>``, whose shape it has but for the vocabulary.
        folder: Where it is written, in float32.
    """
    tokenizer = load_tokenizer(str(TINY_LLM))
    config = random_config(row)
    config.vocab_size = len(tokenizer)
    config.bos_token_id, config.eos_token_id = tokenizer.bos_token_id, tokenizer.eos_token_id
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def options(arguments: argparse.Namespace, engine: str) -> list[str]:
    """Return the overrides that make the configuration this engine's."""
    chosen = [f"model.engine={engine}", f"model.engine_url={arguments.url}"]
    if arguments.llm:
        chosen += [f"model.llm_model={arguments.llm}", "model.ckpt=''"]
        chosen += ["model.allow_untrained=True"]
    return chosen


def table(loads: Sequence[Load]) -> str:
    """Write the loads as a Markdown table."""
    rows = [
        f"| {ENGINES[load.engine]} | {load.users} | {load.tokens_a_second:.0f} "
        f"| {1000 * load.percentile(50):.0f} | {1000 * load.percentile(95):.0f} |"
        for load in loads
    ]
    head = "| language model | users | tokens/s, all together | first token, ms: p50 | p95 |"
    return "\n".join([head, "|---|---|---|---|---|", *rows])


def plot(loads: Sequence[Load], path: Path) -> None:
    """Draw tokens a second and the first token's p50 and p95 over the number of users."""
    figure, (speed, wait) = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
    for engine in dict.fromkeys(load.engine for load in loads):
        own = [load for load in loads if load.engine == engine]
        users = [load.users for load in own]
        (line,) = speed.plot(
            users, [load.tokens_a_second for load in own], marker="o", label=ENGINES[engine]
        )
        for share, style in ((50, "-"), (95, "--")):
            waits = [load.percentile(share) for load in own]
            wait.plot(users, waits, style, color=line.get_color(), label=f"p{share}")
    speed.set(xlabel="users", ylabel="tokens/s, all together", xscale="log", xticks=USERS)
    wait.set(xlabel="users", ylabel="first token, s", xscale="log", yscale="log", xticks=USERS)
    for axes in (speed, wait):
        axes.xaxis.set_major_formatter("{x:.0f}")
        axes.minorticks_off()
        axes.legend(frameon=False)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Write a language model, or measure."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--url", default="", help="a vLLM server; without it only this process")
    parser.add_argument("--llm", default="", help="folder of an untrained language model")
    parser.add_argument("--write", default="", metavar="random:ROW", help="write --llm and end")
    parser.add_argument("--users", type=int, nargs="+", default=USERS)
    parser.add_argument("--tokens", type=int, default=100, help="longest answer")
    parser.add_argument("--plot", type=Path, metavar="FILE.png")
    arguments = parser.parse_args()
    disable_progress_bar()
    if arguments.write:
        write_llm(arguments.write, Path(arguments.llm))
        return
    loads = []
    for engine in ("transformers", "vllm") if arguments.url else ("transformers",):
        chat = load_chat(CONFIG, options(arguments, engine))
        measure(chat, 1, 1)
        loads += [measure(chat, users, arguments.tokens) for users in arguments.users]
    sys.stdout.write(table(loads) + "\n")
    if arguments.plot:
        plot(loads, arguments.plot)


if __name__ == "__main__":
    run_script(main)
