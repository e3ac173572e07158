"""Load and run the vision side beside transformers' own, from the same weights, in one run.

``python benchmarks/vision.py`` writes random weights of the full size (ViT-g and Q-Former, float32,
4.4 GB on disk) as a BLIP-2 folder, loads them both ways, encodes the same photo in turns and prints
a Markdown table; it needs 10 GB of memory. With a GPU it computes there: ours as the page does (the
tower's products in half precision), transformers' with the weights cast to float16. ``--device
cpu`` stays on the CPU; ``--shape tiny`` shows it in seconds.

Each loading is done in a process of its own, whose peak memory it is. Encoding is timed in one
process that holds both, alternating, after a warm-up, and set against the FLOPs it takes over the
rate of a large matrix product.
"""

import argparse
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from machine import GIGABYTE, finish, matrix_rate, process_peak
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import Blip2ForConditionalGeneration
from transformers.utils.logging import disable_progress_bar

from skingpt4.common.cli import run_script
from skingpt4.common.schema import ModelConfig
from skingpt4.export.hf import blip2_config, embedding_rows
from skingpt4.models.device import best_device
from skingpt4.models.qformer import build_qformer
from skingpt4.models.skin_gpt4 import SkinGPT4
from skingpt4.models.vision import Float32LayerNorm, build_vision_tower, photo_form

T = TypeVar("T")

# The model sections; a language model of no size stands behind the projection.
LLM = "random:tiny"
SHAPES = {
    "full": ModelConfig(llm_model=LLM),
    "tiny": ModelConfig(llm_model=LLM, image_size=112, vit_model="eva_tiny", qformer="tiny"),
}
IMAGE_ID = 0
STD = 0.02


@dataclass(frozen=True)
class Loading:
    """What loading one way took.

    Attributes:
        seconds: From nothing to a model that is ready.
        peak: Highest memory of the process, after one photo, in gigabytes.
        before: Memory of the process before loading (the libraries), in gigabytes.
    """

    seconds: float
    peak: float
    before: float


@dataclass(frozen=True)
class Duel:
    """Seconds for one photo in turns, the largest difference of the results, and their limit.

    Attributes:
        ours: Seconds of this package.
        theirs: Seconds of transformers.
        difference: Largest difference of the results.
        limit: Seconds that the products alone would take as one large product.
    """

    ours: list[float]
    theirs: list[float]
    difference: float
    limit: float

    def ratio(self) -> float:
        """Return the median of our time over theirs, pair by pair."""
        return statistics.median(a / b for a, b in zip(self.ours, self.theirs, strict=True))


def write_weights(config: ModelConfig, folder: Path) -> None:
    """Write a BLIP-2 folder of random weights: normal matrices, plain norms, no biases."""
    skeleton = SkinGPT4.skeleton(config)
    rows = embedding_rows(skeleton.llm_model)
    with torch.device("meta"):
        model = Blip2ForConditionalGeneration(blip2_config(skeleton, IMAGE_ID, rows))
    generator = torch.Generator().manual_seed(0)
    tensors = {name: _draw(name, t, generator) for name, t in model.state_dict().items()}
    model.load_state_dict(tensors, assign=True)
    model.save_pretrained(folder)


def _draw(name: str, like: Tensor, generator: torch.Generator) -> Tensor:
    if like.ndim < 2:
        return torch.zeros(like.shape) if name.endswith("bias") else torch.ones(like.shape)
    return torch.empty(like.shape).normal_(0, STD, generator=generator)


Encode = Callable[[Tensor], Tensor]


def load_ours(config: ModelConfig, folder: Path, device: torch.device) -> Encode:
    """Load as the demo does; return photos ``[1, 3, H, W]`` to LLM inputs ``[1, 32, D]``."""
    place = str(folder)
    config.vit_weights = config.q_former_model = config.ckpt = place
    return SkinGPT4.from_config(config, device).eval().encode_img


def load_theirs(config: ModelConfig, folder: Path, device: torch.device) -> Encode:
    """Load as a user of transformers does; return the same function."""
    dtype = product_dtype(device)
    model = Blip2ForConditionalGeneration.from_pretrained(folder, dtype=dtype).eval().to(device)

    def encode(photo: Tensor) -> Tensor:
        features: Tensor = model.get_image_features(photo.to(dtype), return_dict=True).pooler_output
        return features

    return encode


LOADERS = {"this package": load_ours, "transformers": load_theirs}


def product_dtype(device: torch.device) -> torch.dtype:
    """Return the numbers that most products are computed in."""
    return torch.float32 if device.type == "cpu" else torch.float16


def measure_loading(name: str, config: ModelConfig, folder: Path, device: torch.device) -> Loading:
    """Load one way and encode once, in this process."""
    disable_progress_bar()
    before = process_peak()
    started = time.perf_counter()
    encode = LOADERS[name](config, folder, device)
    finish(device)
    seconds = time.perf_counter() - started
    with torch.inference_mode():
        encode(_photo(config).to(device))
    return Loading(seconds, process_peak(), before)


def measure_building(config: ModelConfig) -> float:
    """Return the seconds of building our modules with random initialisation."""
    started = time.perf_counter()
    tower = build_vision_tower(config.vit_model, photo_form(config)["image_size"])
    parts: list[nn.Module] = [tower, Float32LayerNorm(tower.embed_dim)]
    parts.append(build_qformer(config.qformer, tower.embed_dim))
    return time.perf_counter() - started


def measure_encoding(config: ModelConfig, folder: Path, repeats: int, device: torch.device) -> Duel:
    """Encode the same photo both ways, in turns, after one round that is not counted."""
    disable_progress_bar()
    ways = [load(config, folder, device) for load in LOADERS.values()]
    photo = _photo(config).to(device)
    times: tuple[list[float], list[float]] = ([], [])
    with torch.inference_mode():
        ours, theirs = (encode(photo) for encode in ways)
        for _ in range(repeats):
            for encode, seconds in zip(ways, times, strict=True):
                started = time.perf_counter()
                encode(photo)
                finish(device)
                seconds.append(time.perf_counter() - started)
        with FlopCounterMode(display=False) as counter:
            ways[0](photo)
    limit = counter.get_total_flops() / matrix_rate(device, product_dtype(device))
    return Duel(*times, difference=(ours - theirs).abs().max().item(), limit=limit)


def _photo(config: ModelConfig) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    size = photo_form(config)["image_size"]
    return torch.randn(1, 3, size, size, generator=generator)


def alone(function: Callable[..., T], *arguments: object) -> T:
    """Call a function in a fresh process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()


def report(loadings: dict[str, Loading], duel: Duel, building: float, weights: float) -> str:
    """Format what was measured."""
    times = dict(zip(loadings, (duel.ours, duel.theirs), strict=True))
    ours, theirs = loadings.values()
    lines = [
        "| | construct and load, s | encode one photo, s | peak memory, GB |",
        "|---|---|---|---|",
        *(
            f"| {name} | {loading.seconds:.2f} | {statistics.median(times[name]):.3f} "
            f"| {loading.peak:.2f} |"
            for name, loading in loadings.items()
        ),
        f"| ratio | {ours.seconds / theirs.seconds:.2f} | {duel.ratio():.3f} "
        f"| {ours.peak / theirs.peak:.2f} |",
        "",
        f"- weights: {weights:.2f} GB, float32; libraries alone: {ours.before:.2f} GB; "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}",
        f"- building our modules with random initialisation: {building:.2f} s; "
        f"construction and loading take {ours.seconds / building:.3f} of that",
        f"- largest difference of the results: {duel.difference:.1e}",
        f"- the products alone, at the rate of one large product: {duel.limit:.3f} s; this package "
        f"reaches {duel.limit / statistics.median(duel.ours):.0%} of that rate",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the weights, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="full")
    parser.add_argument("--repeats", type=int, default=7, help="photos encoded each way")
    parser.add_argument("--device", type=torch.device, help="cpu; the GPU if there is one")
    args = parser.parse_args()
    device = args.device or best_device()
    config = SHAPES[args.shape]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        alone(write_weights, config, folder)
        weights = sum(file.stat().st_size for file in folder.glob("*.safetensors")) / GIGABYTE
        loadings = {name: alone(measure_loading, name, config, folder, device) for name in LOADERS}
        building = alone(measure_building, config)
        duel = alone(measure_encoding, config, folder, args.repeats, device)
    sys.stdout.write(report(loadings, duel, building, weights))


if __name__ == "__main__":
    run_script(main)
