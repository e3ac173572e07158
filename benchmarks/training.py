"""Train three ways in one run: a plain loop as upstream's, ours, and ours with cached features.

``python benchmarks/training.py`` times optimiser steps of step 2 on drawn photos, ways in turns,
with the embedded model; ``--size 7b`` and ``13b`` use random weights of the full shapes, on a GPU.
All ways share one model and compute the same loss:

- plain: the vision tower at every step, attention written out, scores over the vocabulary for
  every position, answers padded to the longest of a random batch;
- ours: fused attention, scores for answer tokens alone, answers of like length together;
- cached: likewise, and the photos' features read from disk instead of made.

Prints a Markdown table. Work is counted as this task needs it: a forward pass of 2 FLOPs and a
backward pass through frozen weights of 2 FLOPs for each LLM parameter and token, and the vision
tower's forward pass where there is one; the limit is a measured matrix product.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from unittest import mock

import torch
from machine import matrix_rate, peak_gigabytes
from timm.models.eva import EvaAttention
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PreTrainedModel

from skingpt4.common.cli import run_script
from skingpt4.common.config import Config
from skingpt4.common.schema import ModelConfig
from skingpt4.datasets.features import FeatureDataset, FeatureStore
from skingpt4.datasets.image_text import ImageProcessor, ImageTextDataset
from skingpt4.datasets.loaders import Batch, TrainLoader
from skingpt4.models import skin_gpt4
from skingpt4.models.device import best_device
from skingpt4.models.skin_gpt4 import SkinGPT4
from skingpt4.processors import build_processor
from skingpt4.synthetic.render import render
from skingpt4.synthetic.sets import diagnosis_annotations, held_out_cases

TINY = "train_configs/tiny_stage2_diagnosis.yaml"
RANDOM: dict[str, Any] = {
    "vit_weights": "random",
    "q_former_model": "random",
    "prompt_path": "prompts/alignment_skin.txt",
    "allow_untrained": True,
}
PLAIN, OURS, CACHED = "plain", "ours", "cached"
WAYS = (PLAIN, OURS, CACHED)
WARM_UP = 3


@dataclass
class Way:
    """One way to train, as far as it has been measured.

    Attributes:
        loader: Gives its batches.
        around: What is different while it steps.
        seconds: Of each step.
        tokens: Of all steps, padding left out.
        images: Of all steps.
        peak: Largest memory, in gigabytes; on a GPU its own, on a CPU the process's.
        loss: Of the last step.
    """

    loader: TrainLoader
    around: Callable[[], AbstractContextManager[None]]
    seconds: list[float] = field(default_factory=list)
    tokens: int = 0
    images: int = 0
    peak: float = 0.0
    loss: float = 0.0


@dataclass(frozen=True)
class Trainer:
    """Takes optimiser steps of the projection.

    Attributes:
        model: Shared by all ways.
        optimizer: Of its projection.
        precision: Autocast type; None for float32.
    """

    model: SkinGPT4
    optimizer: torch.optim.Optimizer
    precision: torch.dtype | None

    def step(self, batch: Batch) -> float:
        """Take one step; return the loss."""
        device = self.model.device
        moved = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in batch.items()}
        context = torch.autocast(device.type, self.precision) if self.precision else nullcontext()
        with context:
            loss = self.model(moved)["loss"]
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(loss.item())


def library_loss(llm: PreTrainedModel, embeds: Tensor, mask: Tensor, labels: Tensor) -> Tensor:
    """Let the library score every position."""
    loss: Tensor = llm(inputs_embeds=embeds, attention_mask=mask, labels=labels).loss
    return loss


@contextmanager
def plainly(model: SkinGPT4) -> Iterator[None]:
    """Step as a plain loop does, for a while."""
    set_attention(model, fused=False)
    try:
        with mock.patch.object(skin_gpt4, "answer_loss", library_loss):
            yield
    finally:
        set_attention(model, fused=True)


def set_attention(model: SkinGPT4, fused: bool) -> None:
    """Choose how attention is computed in all three parts."""
    name = "sdpa" if fused else "eager"
    model.llm_model.set_attn_implementation(name)
    model.Qformer.set_attn_implementation(name)
    for module in model.visual_encoder.modules():
        if isinstance(module, EvaAttention):
            object.__setattr__(module, "fused_attn", fused)  # declared final, read at each call


def model_config(size: str) -> ModelConfig:
    """Return the model section of a size."""
    if size == "tiny":
        config = Config.load(TINY, ["model.ckpt=weights/skingpt4-tiny/skingpt4_tiny.safetensors"])
        return config.model
    return ModelConfig(llm_model=f"random:llama-2-{size}", **RANDOM)


def draw_photos(folder: Path, count: int) -> None:
    """Draw a folder of step 2."""
    (folder / "image").mkdir()
    cases = held_out_cases(seed=5, per_class=-(-count // 15))[:count]
    rows: list[dict[str, Any]] = []
    for number, case in enumerate(cases):
        render(case).save(folder / "image" / f"{number}.jpg", quality=90)
        rows += diagnosis_annotations(case, str(number))
    (folder / "filter_cap.json").write_text(json.dumps({"annotations": rows}), encoding="utf-8")


@torch.no_grad()
def store_features(model: SkinGPT4, photos: ImageTextDataset, folder: Path) -> FeatureStore:
    """Encode every photo once."""
    store = FeatureStore(folder, crops=1)
    store.create(len(photos.paths), model.image_tokens, model.llama_proj.in_features)
    target = store.open_partial()
    first_rows = {photos.ranks[str(row.image_id)]: i for i, row in enumerate(photos.annotations)}
    for rank, index in first_rows.items():
        pixels = photos[index]["image"].unsqueeze(0).to(model.device)
        target[rank] = model.encode_query(pixels).half().cpu().numpy()
    store.finish({}, unusable=[])
    return store


def build_ways(
    model: SkinGPT4, folder: Path, names: list[str], batch_size: int, workers: int
) -> dict[str, Way]:
    """Give each way its batches."""
    size = {"name": "blip2_image_train", "image_size": model.photo["image_size"]}
    photos = ImageTextDataset(folder, cast(ImageProcessor, build_processor(size)))

    def loader(dataset: Dataset[Any], grouped: bool) -> TrainLoader:
        encode = model.dialogue_encoder.with_seed(0)  # each way draws the same prompts
        return TrainLoader(dataset, batch_size, workers, group_by_length=grouped, encode=encode)

    ways = {
        PLAIN: lambda: Way(loader(photos, grouped=False), lambda: plainly(model)),
        OURS: lambda: Way(loader(photos, grouped=True), nullcontext),
        CACHED: lambda: Way(
            loader(FeatureDataset(photos, store_features(model, photos, folder / "f")), True),
            nullcontext,
        ),
    }
    return {name: ways[name]() for name in names}


def measure(trainer: Trainer, ways: dict[str, Way], rounds: int, steps: int) -> None:
    """Take blocks of steps in turns; the first of each is not counted."""
    for number in range(rounds + 1):
        for way in ways.values():
            reset_peak(trainer.model.device)
            with way.around():
                for _ in range(steps if number else WARM_UP):
                    started = time.perf_counter()
                    batch = next(way.loader)
                    way.loss = trainer.step(batch)
                    if number:
                        way.seconds.append(time.perf_counter() - started)
                        way.images += len(batch["dialogue"])
                        way.tokens += count_tokens(trainer.model, batch)
            way.peak = max(way.peak, peak_gigabytes(trainer.model.device))


def count_tokens(model: SkinGPT4, batch: Batch) -> int:
    """Return the language model's positions that hold something."""
    texts = (text for dialogue in batch["dialogue"] for turn in dialogue for text in turn if text)
    words = sum(len(model.llm_tokenizer(text).input_ids) for text in texts)
    return words + len(batch["dialogue"]) * model.image_tokens


def reset_peak(device: torch.device) -> None:
    """Forget the largest memory so far, where that can be done."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def work(model: SkinGPT4, way: Way, is_cached: bool) -> float:
    """Return the FLOPs that a way's steps needed."""
    table = sum(p.numel() for p in model.llm_model.get_input_embeddings().parameters())
    weights = sum(p.numel() for p in model.llm_model.parameters()) - table
    tower = sum(p.numel() for p in model.visual_encoder.parameters())
    patches = 0 if is_cached else 1 + model.visual_encoder.num_patches
    return 4.0 * weights * way.tokens + 2.0 * tower * patches * way.images


def report(model: SkinGPT4, ways: dict[str, Way], limit: float) -> str:
    """Format what was measured."""
    lines = [
        "| way | images/s | ratio | share of the matrix limit | peak memory, GB | last loss |",
        "|---|---|---|---|---|---|",
    ]
    slowest = next(iter(ways.values()))
    for name, way in ways.items():
        total = sum(way.seconds)
        rate = way.images / total
        share = work(model, way, name == CACHED) / total / limit
        ratio = rate / (slowest.images / sum(slowest.seconds))
        lines.append(
            f"| {name} | {rate:.2f} | {ratio:.2f} | {share:.1%} | {way.peak:.2f} | {way.loss:.3f} |"
        )
    steps = len(slowest.seconds)
    median = statistics.median(slowest.seconds)
    lines += ["", f"- {steps} steps each, in turns; the first way's median step: {median:.3f} s"]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Draw photos, build the model, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=("tiny", "7b", "13b"), default="tiny")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--photos", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=6, help="of each way in a round")
    parser.add_argument("--workers", type=int, default=1, help="processes that open photos")
    parser.add_argument("--only", choices=WAYS, nargs="+", help="some ways, for their own memory")
    args = parser.parse_args()
    device = torch.device("cpu") if args.size == "tiny" else best_device()
    model = SkinGPT4.from_config(model_config(args.size), device).train()
    is_gpu = device.type == "cuda"
    dtype = torch.bfloat16 if is_gpu else torch.float32
    optimizer = torch.optim.AdamW(model.llama_proj.parameters(), lr=1e-4)
    with tempfile.TemporaryDirectory() as folder:
        draw_photos(Path(folder), args.photos)
        names = [name for name in WAYS if name in (args.only or WAYS)]
        ways = build_ways(model, Path(folder), names, args.batch_size, args.workers)
        trainer = Trainer(model, optimizer, dtype if is_gpu else None)
        try:
            measure(trainer, ways, args.rounds, args.steps)
        finally:
            for way in ways.values():
                way.loader.close()
        sys.stdout.write(report(model, ways, matrix_rate(device, dtype)))


if __name__ == "__main__":
    run_script(main)
