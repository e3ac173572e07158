"""Decoding speed as a share of what memory allows, for each way of keeping the numbers.

To make one token, every weight is read once; so tokens/s can be no more than the memory's bandwidth
over the bytes of the weights. ``python benchmarks/decode.py`` measures the bandwidth (a copy of
1 GiB, bytes read plus bytes written), then decodes with an untrained language model in fp32, fp16,
bf16, int8 and nf4 and prints what share of that limit it reaches: Llama-2-13B's shapes on a GPU,
340 M parameters on a CPU, where int8 and nf4 have no fast kernels.

``--model random:llama-1b`` chooses another row, ``--numbers bf16`` some of the kinds, and
``--compiled`` decodes by the compiled step too (``model.compile``, on a GPU).
"""

import argparse
import gc
import sys
import time
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from skingpt4.common.cli import run_script
from skingpt4.conversation.chat import Chat, load_chat
from skingpt4.dermatology import QUESTIONS
from skingpt4.models.placement import best_device

CONFIG = "eval_configs/skingpt4_eval_tiny.yaml"
MODELS = {"cuda": "random:llama-2-13b", "cpu": "random:llama-340m", "mps": "random:llama-1b"}
UNQUANTISED = ("fp32", "fp16", "bf16")
QUANTISED = ("int8", "nf4")
COPIED_BYTES = 2**30
GIGABYTE = 1e9


@dataclass(frozen=True)
class Outcome:
    """What was measured for one kind of numbers.

    Attributes:
        gigabytes: Weights that a token reads.
        rate: Tokens a second after the first.
    """

    gigabytes: float
    rate: float

    def share(self, bandwidth: float) -> float:
        """Return the rate over its limit, given the bandwidth in gigabytes a second."""
        return self.rate * self.gigabytes / bandwidth


def copy_bandwidth(device: torch.device, size: int = COPIED_BYTES, repeats: int = 5) -> float:
    """Return the gigabytes a second that the fastest of several copies reads and writes."""
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        target.copy_(source)
        _finish(device)
        times.append(time.perf_counter() - start)
    return 2 * size / min(times[1:]) / GIGABYTE


def weights_read(llm: PreTrainedModel) -> float:
    """Return the gigabytes of weights that one token reads: all, but one row of the embeddings."""
    table = llm.get_input_embeddings().weight
    head = llm.get_output_embeddings()
    tied = head is not None and head.weight is table
    total = sum(parameter.nbytes for parameter in llm.parameters())
    return float(total if tied else total - table.nbytes) / GIGABYTE  # type: ignore[operator]


def measure(model: str, numbers: str, device: torch.device, tokens: int, step: str) -> Outcome:
    """Load one kind and time an answer of one token and one of ``tokens``, the faster of three."""
    chat = load_chat(CONFIG, options(model, numbers, step), device)
    seconds_to_answer(chat, tokens)  # warm-up, and where asked for, compilation
    first = min(seconds_to_answer(chat, 1) for _ in range(3))
    whole = min(seconds_to_answer(chat, tokens) for _ in range(3))
    return Outcome(weights_read(chat.model.llm_model), (tokens - 1) / (whole - first))


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


def seconds_to_answer(chat: Chat, tokens: int) -> float:
    """Return the seconds from a question about a photo to an answer of so many tokens."""
    conv = chat.new_conversation()
    photos: list[Tensor] = []
    chat.upload_img(Image.new("RGB", (640, 480)), conv, photos)
    chat.ask(QUESTIONS[0], conv)
    start = time.perf_counter()
    chat.answer(conv, photos, max_new_tokens=tokens, min_length=tokens)
    _finish(chat.device)
    return time.perf_counter() - start


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def line(numbers: str, step: str, outcome: Outcome, bandwidth: float) -> str:
    """Format one row of the table."""
    return (
        f"| {numbers} | {step} | {outcome.gigabytes:.2f} | {outcome.rate:.1f} "
        f"| {bandwidth / outcome.gigabytes:.1f} | {outcome.share(bandwidth):.0%} |"
    )


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
        "| numbers | step | weights read, GB | tokens/s | limit | share |\n"
        "|---|---|---|---|---|---|\n"
    )
    for numbers in args.numbers or UNQUANTISED + QUANTISED:
        for step in ("plain", "compiled") if args.compiled else ("plain",):
            outcome = measure(model, numbers, device, args.tokens, step)
            sys.stdout.write(line(numbers, step, outcome, bandwidth) + "\n")
            sys.stdout.flush()
            gc.collect()


if __name__ == "__main__":
    run_script(main)
