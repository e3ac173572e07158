"""Reading and writing as a share of what the hardware allows, for each way of keeping the numbers.

To make one token, every weight is read once: tokens/s can be no more than the memory's bandwidth
over the bytes of the weights. To read a question, each of its tokens goes through every weight:
that takes at least 2 FLOPs for each, over the rate of a large matrix product. ``python
benchmarks/decode.py`` measures both limits (a copy of 1 GiB, bytes read plus bytes written; a
square product), then lets an untrained language model read a prompt of 500 tokens and write an
answer in fp32, fp16, bf16, int8 and nf4, and prints what share of its limit each reaches:
Llama-2-13B's shapes on a GPU, 340 M parameters on a CPU, where int8 and nf4 have no fast kernels
and fp16 is left out.

``--model random:llama-1b`` chooses another row, ``--numbers bf16`` some of the kinds, and
``--compiled`` decodes by the compiled step too (``model.compile``, on a GPU).
"""

import argparse
import gc
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from machine import GIGABYTE, copy_bandwidth, finish, matrix_rate
from talk import open_question
from torch import nn
from transformers import PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from skingpt4.common.cli import run_script
from skingpt4.conversation.chat import Chat, load_chat
from skingpt4.dermatology import QUESTIONS
from skingpt4.models.device import DTYPES, best_device

CONFIG = "eval_configs/skingpt4_eval_tiny.yaml"
MODELS = {"cuda": "random:llama-2-13b", "cpu": "random:llama-340m", "mps": "random:llama-1b"}
UNQUANTISED = ("fp32", "fp16", "bf16")
QUANTISED = ("int8", "nf4")
PROMPT = 500
HEADER = (
    "| numbers | step | weights read, GB | tokens/s | limit | share "
    "| prompt, tokens | first token, ms | limit | share |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)


@dataclass(frozen=True)
class Outcome:
    """What was measured for one kind of numbers.

    Attributes:
        gigabytes: Weights that a token reads.
        rate: Tokens a second after the first.
        prompt: Tokens of the prompt.
        reading: Seconds from the prompt to its answer's first token.
        flops: What reading the prompt takes at least.
    """

    gigabytes: float
    rate: float
    prompt: int
    reading: float
    flops: float


@dataclass(frozen=True)
class Limits:
    """What the machine can do: gigabytes a second, and FLOPs a second for a kind of numbers."""

    bandwidth: float
    matrix: float


def weights_read(llm: PreTrainedModel) -> float:
    """Return the gigabytes of weights that one token reads: all, but one row of the embeddings."""
    table = llm.get_input_embeddings().weight
    head = llm.get_output_embeddings()
    tied = head is not None and head.weight is table
    total = sum(parameter.nbytes for parameter in llm.parameters())
    return float(total if tied else total - table.nbytes) / GIGABYTE  # type: ignore[operator]


def matrix_weights(llm: PreTrainedModel) -> int:
    """Return the language model's parameters that every token of a prompt goes through.

    Those of its linear layers but for the head, which only the last token needs; numbers that are
    packed several to a byte count as what they stand for.
    """
    layers = [m for m in llm.base_model.modules() if isinstance(m, nn.Linear)]
    return sum(layer.in_features * layer.out_features for layer in layers)


def measure(model: str, numbers: str, device: torch.device, tokens: int, step: str) -> Outcome:
    """Load one kind and time answers of one token and of ``tokens``, the fastest of three each."""
    chat = load_chat(CONFIG, options(model, numbers, step), device)
    seconds_to_answer(chat, QUESTIONS[0], tokens)  # warm-up, and where asked for, compilation
    first, whole = (best_answer(chat, QUESTIONS[0], length) for length in (1, tokens))
    question, prompt = long_question(chat)
    llm = chat.model.llm_model
    return Outcome(
        gigabytes=weights_read(llm),
        rate=(tokens - 1) / (whole - first),
        prompt=prompt,
        reading=best_answer(chat, question, 1),
        flops=2.0 * matrix_weights(llm) * prompt,
    )


def long_question(chat: Chat) -> tuple[str, int]:
    """Return a question that makes the prompt as long as wanted, and the prompt's tokens."""
    words = 1
    while (length := prompt_length(chat, "why " * words)) < PROMPT:
        words += max(1, (PROMPT - length) // 4)
    return "why " * words, length


def prompt_length(chat: Chat, question: str) -> int:
    """Return the tokens of a prompt with a photo and this question."""
    return len(chat.prompt(*open_question(chat, question)))


def best_answer(chat: Chat, question: str, tokens: int) -> float:
    """Return the seconds of the fastest of three answers."""
    return min(seconds_to_answer(chat, question, tokens) for _ in range(3))


def options(model: str, numbers: str, step: str) -> list[str]:
    """Return the overrides that make the embedded model's configuration this one."""
    kind = "quantization" if numbers in QUANTISED else "llm_dtype"
    return [
        "model.ckpt=''",
        "model.allow_untrained=True",
        f"model.llm_model={model}",
        f"model.{kind}={numbers}",
        f"model.compile={step == 'compiled'}",
    ]


def seconds_to_answer(chat: Chat, question: str, tokens: int) -> float:
    """Return the seconds from a question about a photo to an answer of so many tokens."""
    conv, photos = open_question(chat, question)
    finish(chat.device)
    start = time.perf_counter()
    chat.answer(conv, photos, max_new_tokens=tokens, min_length=tokens)
    finish(chat.device)
    return time.perf_counter() - start


def line(numbers: str, step: str, outcome: Outcome, limits: Limits) -> str:
    """Format one row of the table."""
    fastest_rate = limits.bandwidth / outcome.gigabytes
    fastest_reading = outcome.flops / limits.matrix
    return (
        f"| {numbers} | {step} | {outcome.gigabytes:.2f} | {outcome.rate:.1f} "
        f"| {fastest_rate:.1f} | {outcome.rate / fastest_rate:.0%} "
        f"| {outcome.prompt} | {1000 * outcome.reading:.0f} | {1000 * fastest_reading:.0f} "
        f"| {fastest_reading / outcome.reading:.0%} |"
    )


def usual_numbers(device: torch.device) -> Sequence[str]:
    """Return the kinds worth measuring: on a CPU, float16 takes minutes for each token."""
    kinds = UNQUANTISED + QUANTISED
    return [kind for kind in kinds if (device.type, kind) != ("cpu", "fp16")]


def product_dtype(numbers: str, device: torch.device) -> torch.dtype:
    """Return the numbers that a kind's matrix products are computed in, at the fastest."""
    is_half = numbers == "int8" and device.type == "cuda"
    return DTYPES.get(numbers, torch.float16 if is_half else torch.bfloat16)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="random:ROW of the language model")
    parser.add_argument("--numbers", nargs="+", choices=UNQUANTISED + QUANTISED)
    parser.add_argument("--tokens", type=int, default=32, help="length of the timed answer")
    parser.add_argument("--compiled", action="store_true", help="the compiled step too")
    args = parser.parse_args()
    disable_progress_bar()
    device = best_device()
    model = args.model or MODELS[device.type]
    bandwidth = copy_bandwidth(device)
    sys.stdout.write(
        f"{model} on {device.type}, torch {torch.__version__}, {torch.get_num_threads()} threads; "
        f"copying: {bandwidth:.1f} GB/s\n\n"
        f"{HEADER}\n"
    )
    for numbers in args.numbers or usual_numbers(device):
        limits = Limits(bandwidth, matrix_rate(device, product_dtype(numbers, device)))
        for step in ("plain", "compiled") if args.compiled else ("plain",):
            outcome = measure(model, numbers, device, args.tokens, step)
            sys.stdout.write(line(numbers, step, outcome, limits) + "\n")
            sys.stdout.flush()
            gc.collect()


if __name__ == "__main__":
    run_script(main)
