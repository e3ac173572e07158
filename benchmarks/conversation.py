"""Time a conversation turn by turn, several draws and several cases, on this machine.

``python benchmarks/conversation.py`` prints, for the embedded model and for an untrained Llama of
1.1 billion parameters, in one run:

- seconds to the first token and tokens/s of every turn, beside a plain ``generate`` over the whole
  conversation as upstream does it;
- one answer beside ten draws, and eight cases one by one beside all at once;
- in a process of its own, seconds from nothing to the first answer, and peak memory.

``--model random:llama-2-13b`` measures another row of the random table, ``--model embedded`` the
embedded model alone; ``--plot FILE.png`` draws the turns. The same conversation is held our way and
the plain way in turns. Each token is timed where the language model's forward pass ends, the same
way for both, and the median of the repeats counts.
"""

import argparse
import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import torch
from machine import finish, peak_gigabytes
from talk import open_question
from torch import Tensor
from transformers.utils.logging import disable_progress_bar

from skingpt4.common.cli import run_script
from skingpt4.conversation.chat import Chat, load_chat
from skingpt4.conversation.conversation import MARKERS, Conversation, plain_text
from skingpt4.conversation.engines import Decoding, Prompt
from skingpt4.dermatology import QUESTIONS
from skingpt4.models.device import best_device

EMBEDDED = "embedded"
CONFIG = "eval_configs/skingpt4_eval_tiny.yaml"
UNTRAINED = ("model.ckpt=''", "model.allow_untrained=True")
MODELS = (EMBEDDED, "random:llama-1b")
REPEATS = {EMBEDDED: 15}
OTHER_REPEATS = 3


@dataclass
class Steps:
    """When the forward passes of one answer ended.

    Attributes:
        start: When the question was sent.
        ends: When each pass was done, the first of which makes the first token.
    """

    start: float = field(default_factory=time.perf_counter)
    ends: list[float] = field(default_factory=list)

    @property
    def first(self) -> float:
        """Seconds to the first token."""
        return self.ends[0] - self.start

    @property
    def rate(self) -> float:
        """Tokens a second after the first."""
        return (len(self.ends) - 1) / (self.ends[-1] - self.ends[0])


@dataclass(frozen=True)
class Turn:
    """One turn, answered both ways.

    Attributes:
        tokens: Length of the whole conversation's prompt.
        ours: Seconds to the first token and tokens/s, with earlier turns kept.
        plain: The same, computing the whole conversation again.
    """

    tokens: int
    ours: tuple[float, float]
    plain: tuple[float, float]


@dataclass(frozen=True)
class Comparison:
    """Seconds of one and of several."""

    one: float
    several: float


def load(model: str, device: torch.device) -> Chat:
    """Load the embedded model, or a random language model behind its vision side."""
    own = [] if model == EMBEDDED else [*UNTRAINED, f"model.llm_model={model}"]
    return load_chat(CONFIG, own, device)


@contextmanager
def timed(chat: Chat) -> Iterator[Steps]:
    """Note when each forward pass of the language model ends."""

    def note(*_: object) -> None:
        finish(chat.device)
        steps.ends.append(time.perf_counter())

    hook = chat.model.llm_model.register_forward_hook(note)
    steps = Steps()
    try:
        yield steps
    finally:
        hook.remove()


def measure_turns(chat: Chat, turns: int, tokens: int, repeats: int) -> list[Turn]:
    """Hold the same conversation several times, our way and the plain way in turns."""
    ours, plain = [], []
    for _ in range(repeats):
        ours.append(converse(chat, turns, tokens, answer_with_memory))
        plain.append(converse(chat, turns, tokens, answer_plainly))
    return [
        Turn(our_turn[0][0], _median(our_turn), _median(plain_turn))
        for our_turn, plain_turn in zip(
            zip(*ours, strict=True), zip(*plain, strict=True), strict=True
        )
    ]


def _median(held: Sequence[tuple[int, Steps]]) -> tuple[float, float]:
    """Return the medians of one turn's seconds to the first token and tokens/s."""
    return median(steps.first for _, steps in held), median(steps.rate for _, steps in held)


Answer = Callable[[Chat, Conversation, Sequence[Tensor], int], None]


def converse(chat: Chat, turns: int, tokens: int, answer: Answer) -> list[tuple[int, Steps]]:
    """Hold one conversation; return each turn's whole length in tokens, and its times."""
    measured = []
    conv, photos = open_question(chat)
    for turn in range(turns):
        if turn:
            chat.ask(QUESTIONS[turn % len(QUESTIONS)], conv)
        length = len(chat.prompt(conv, photos))
        with timed(chat) as steps:
            answer(chat, conv, photos, tokens)
        measured.append((length, steps))
    return measured


def answer_with_memory(
    chat: Chat, conv: Conversation, photos: Sequence[Tensor], tokens: int
) -> None:
    """Answer as the page does, with what is kept of earlier turns."""
    chat.answer(conv, photos, max_new_tokens=tokens, min_length=tokens)


def answer_plainly(chat: Chat, conv: Conversation, photos: Sequence[Tensor], tokens: int) -> None:
    """Answer by one ``generate`` over the whole conversation.

    It runs in a thread of its own, as our answers do, so that both have the same cores.
    """
    with ThreadPoolExecutor(max_workers=1) as worker:
        prompt = chat.prompt(conv, photos)
        ids = worker.submit(generate_plainly, chat, prompt, tokens).result()
    stops = (conv.sep, chat.model.end_sym)
    text = chat.engine.prompts.read(ids, stops)
    conv.append_message(conv.roles[1], plain_text(text, {*MARKERS, *stops}))


@torch.no_grad()
def generate_plainly(chat: Chat, prompt: Prompt, tokens: int) -> list[int]:
    """Embed the whole conversation and generate, as upstream does; return the new tokens."""
    embeds = chat.engine.prompts.embed(prompt)
    ids: Tensor = chat.model.llm_model.generate(  # type: ignore[operator]
        inputs_embeds=embeds,
        attention_mask=torch.ones(embeds.shape[:-1], dtype=torch.long, device=embeds.device),
        max_new_tokens=tokens,
        min_new_tokens=tokens,
        do_sample=False,
        pad_token_id=chat.model.llm_tokenizer.pad_token_id,
    )
    return ids[0].tolist()


def measure_draws(chat: Chat, draws: int, tokens: int, repeats: int) -> Comparison:
    """Answer a question once, and then several times at once."""
    prompt = chat.prompt(*open_question(chat))
    decoding = Decoding(max_new_tokens=tokens, min_length=tokens, temperature=1.0)
    engine = chat.engine
    return Comparison(
        seconds_of(lambda: list(engine.draw(prompt, decoding, [0])), repeats),
        seconds_of(lambda: list(engine.draw(prompt, decoding, list(range(draws)))), repeats),
    )


def measure_batch(chat: Chat, cases: int, tokens: int, repeats: int) -> Comparison:
    """Answer a question about several photos one by one, and then all at once."""
    prompts = [chat.prompt(*open_question(chat, number=number)) for number in range(cases)]
    decoding = Decoding(max_new_tokens=tokens, min_length=tokens)
    engine = chat.engine
    return Comparison(
        seconds_of(lambda: [list(engine.stream(prompt, decoding)) for prompt in prompts], repeats),
        seconds_of(lambda: engine.generate_batch(prompts, decoding), repeats),
    )


def seconds_of(work: Callable[[], object], repeats: int) -> float:
    """Return the median time of some work in a thread of its own."""
    times = []
    with ThreadPoolExecutor(max_workers=1) as worker:
        for _ in range(repeats):
            start = time.perf_counter()
            worker.submit(work).result()
            times.append(time.perf_counter() - start)
    return median(times)


def measure_start(model: str) -> tuple[float, float]:
    """Answer once in a fresh process; return its seconds and its peak memory in gigabytes."""
    start = time.perf_counter()
    command = [sys.executable, __file__, "--model", model, "--first-answer"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    told = json.loads(output.splitlines()[-1])
    return told["answered"] - start, told["peak"]


def answer_first(model: str) -> None:
    """Load, answer one question with a short answer, and tell when and with how much memory."""
    chat = load(model, best_device())
    conv, photos = open_question(chat)
    chat.answer(conv, photos, max_new_tokens=8)
    told = {"answered": time.perf_counter(), "peak": peak_gigabytes(chat.device)}
    sys.stdout.write(json.dumps(told) + "\n")


def turn_table(turns: Sequence[Turn]) -> str:
    """Format the turns."""
    lines = [
        "| turn | prompt, tokens | first token, ms | plain `generate`, ms | tokens/s | plain |",
        "|---|---|---|---|---|---|",
    ]
    for number, turn in enumerate(turns, start=1):
        (first, rate), (plain_first, plain_rate) = turn.ours, turn.plain
        lines.append(
            f"| {number} | {turn.tokens} | {1000 * first:.1f} | {1000 * plain_first:.1f} "
            f"| {rate:.1f} | {plain_rate:.1f} |"
        )
    ours, plain = (
        getattr(turns[-1], way)[0] / getattr(turns[0], way)[0] for way in ("ours", "plain")
    )
    lines.append(
        f"\n- first token of turn {len(turns)} over turn 1: {ours:.2f} (plain: {plain:.2f})"
    )
    return "\n".join(lines)


def plot(measured: dict[str, list[Turn]], file: Path) -> None:
    """Draw seconds to the first token by turn, one panel a model."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * len(measured), 3.0), layout="constrained")
    panels = figure.subplots(1, len(measured), squeeze=False)[0]
    for panel, (model, turns) in zip(panels, measured.items(), strict=True):
        numbers = range(1, len(turns) + 1)
        panel.plot(numbers, [t.plain[0] for t in turns], "o--", label="plain generate")
        panel.plot(numbers, [t.ours[0] for t in turns], "o-", label="this package")
        panel.set(title=model, xlabel="turn", ylabel="seconds to the first token", ylim=(0, None))
        panel.legend()
    figure.savefig(file, dpi=100)


def report(model: str, args: argparse.Namespace) -> list[Turn]:
    """Measure one model and print as it goes."""
    # The embedded model's products are too small to share: threads would wait for one another.
    torch.set_num_threads(1 if model == EMBEDDED else args.threads)
    repeats = args.repeats or REPEATS.get(model, OTHER_REPEATS)
    started, peak = measure_start(model)
    chat = load(model, best_device())
    converse(chat, 1, 4, answer_with_memory)  # warm-up
    turns = measure_turns(chat, args.turns, args.tokens, repeats)
    sys.stdout.write(f"\n### {model}\n\n{turn_table(turns)}\n")
    sys.stdout.flush()
    draws = measure_draws(chat, args.draws, args.tokens, repeats)
    batch = measure_batch(chat, args.cases, args.tokens, repeats)
    sys.stdout.write(
        f"- {args.draws} draws over one answer: {draws.several / draws.one:.2f} "
        f"({draws.several:.2f} s, {draws.one:.2f} s)\n"
        f"- {args.cases} cases at once, throughput over one by one: "
        f"{batch.one / batch.several:.2f} ({batch.several:.2f} s, {batch.one:.2f} s)\n"
        f"- from nothing to the first answer (8 tokens): {started:.1f} s; peak memory "
        f"{peak:.2f} GB\n"
    )
    sys.stdout.flush()
    return turns


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", action="append", help="embedded, or random:ROW; may be repeated")
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=24, help="length of every answer")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--cases", type=int, default=8)
    parser.add_argument("--repeats", type=int, help="by default 15 embedded, 3 others")
    parser.add_argument("--plot", type=Path, help="where to draw the turns, as .png")
    parser.add_argument("--first-answer", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    disable_progress_bar()
    models = args.model or list(MODELS)
    if args.first_answer:
        answer_first(models[0])
        return
    args.threads = torch.get_num_threads()
    sys.stdout.write(f"torch {torch.__version__}, {args.threads} threads, the embedded model 1\n")
    measured = {}
    for model in models:
        measured[model] = report(model, args)
        gc.collect()
    if args.plot:
        plot(measured, args.plot)


if __name__ == "__main__":
    run_script(main)
