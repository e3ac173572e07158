"""Load and run the vision side beside transformers' own, from the same weights, in one run.

``python benchmarks/vision.py`` writes random weights of the full size (ViT-g and Q-Former, float32,
4.4 GB on disk) as a BLIP-2 folder, loads them both ways on the CPU, encodes the same photo in turns
and prints a Markdown table; it needs 10 GB of memory. ``--shape tiny`` shows it in seconds.

Each loading is done in a process of its own, whose peak memory it is. Encoding is timed in one
process that holds both, alternating, after a warm-up.
"""

import argparse
import multiprocessing
import resource
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
from torch import Tensor, nn
from transformers import Blip2ForConditionalGeneration
from transformers.utils.logging import disable_progress_bar

from skingpt4.common.cli import run_script
from skingpt4.common.schema import ModelConfig
from skingpt4.models.hf_export import blip2_config, embedding_rows
from skingpt4.models.qformer import build_qformer
from skingpt4.models.skin_gpt4 import SkinGPT4
from skingpt4.models.vision import build_ln_vision, build_vision_tower

T = TypeVar("T")

# The model sections; a language model of no size stands behind the projection.
LLM = "random:tiny"
SHAPES = {
    "full": ModelConfig(llm_model=LLM, image_size=224),
    "tiny": ModelConfig(llm_model=LLM, image_size=112, vit_model="eva_tiny", qformer="tiny"),
}
IMAGE_ID = 0
STD = 0.02
KIBIBYTE, GIGABYTE = 1024, 1e9


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
    """Seconds for one photo in turns, and the largest difference of the results."""

    ours: list[float]
    theirs: list[float]
    difference: float

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


def load_ours(config: ModelConfig, folder: Path) -> Callable[[Tensor], Tensor]:
    """Load as the demo does; return photos ``[1, 3, H, W]`` to LLM inputs ``[1, 32, D]``."""
    place = str(folder)
    config.vit_weights = config.q_former_model = config.ckpt = place
    return SkinGPT4.from_config(config).eval().encode_img


def load_theirs(config: ModelConfig, folder: Path) -> Callable[[Tensor], Tensor]:
    """Load as a user of transformers does; return the same function."""
    model = Blip2ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()

    def encode(photo: Tensor) -> Tensor:
        features: Tensor = model.get_image_features(photo, return_dict=True).pooler_output
        return features

    return encode


LOADERS = {"this package": load_ours, "transformers": load_theirs}


def measure_loading(name: str, config: ModelConfig, folder: Path) -> Loading:
    """Load one way and encode once, in this process."""
    disable_progress_bar()
    before = _peak_gigabytes()
    started = time.perf_counter()
    encode = LOADERS[name](config, folder)
    seconds = time.perf_counter() - started
    with torch.inference_mode():
        encode(_photo(config))
    return Loading(seconds, _peak_gigabytes(), before)


def measure_building(config: ModelConfig) -> float:
    """Return the seconds of building our modules with random initialisation."""
    started = time.perf_counter()
    tower = build_vision_tower(config.vit_model, config.image_size)
    parts: list[nn.Module] = [tower, build_ln_vision(tower.embed_dim)]
    parts.append(build_qformer(config.qformer, tower.embed_dim))
    return time.perf_counter() - started


def measure_encoding(config: ModelConfig, folder: Path, repeats: int) -> Duel:
    """Encode the same photo both ways, in turns, after one round that is not counted."""
    disable_progress_bar()
    ways = [load(config, folder) for load in LOADERS.values()]
    photo = _photo(config)
    times: tuple[list[float], list[float]] = ([], [])
    with torch.inference_mode():
        ours, theirs = (encode(photo) for encode in ways)
        for _ in range(repeats):
            for encode, seconds in zip(ways, times, strict=True):
                started = time.perf_counter()
                encode(photo)
                seconds.append(time.perf_counter() - started)
    return Duel(*times, difference=(ours - theirs).abs().max().item())


def _photo(config: ModelConfig) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(1, 3, config.image_size, config.image_size, generator=generator)


def _peak_gigabytes() -> float:
    """Return this process's highest memory (macOS counts in bytes, Linux in kibibytes)."""
    unit = 1 if sys.platform == "darwin" else KIBIBYTE
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIGABYTE


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
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the weights, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="full")
    parser.add_argument("--repeats", type=int, default=7, help="photos encoded each way")
    args = parser.parse_args()
    config = SHAPES[args.shape]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        alone(write_weights, config, folder)
        weights = sum(file.stat().st_size for file in folder.glob("*.safetensors")) / GIGABYTE
        loadings = {name: alone(measure_loading, name, config, folder) for name in LOADERS}
        building = alone(measure_building, config)
        duel = alone(measure_encoding, config, folder, args.repeats)
    sys.stdout.write(report(loadings, duel, building, weights))


if __name__ == "__main__":
    run_script(main)
