"""Encoding all photos of a run once, before it trains, so that the vision side is not needed."""

import hashlib
import logging
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from einops import rearrange
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from skingpt4.common.errors import ConfigError
from skingpt4.common.files import sha256_of
from skingpt4.datasets.builders import TRAIN, Splits
from skingpt4.datasets.features import CroppedPhotos, FeatureDataset, FeatureStore
from skingpt4.datasets.image_text import ImageTextDataset, TextDialogueDataset
from skingpt4.models.device import choose_placement
from skingpt4.models.key_maps import QFORMER_PREFIXES, VISION_PREFIX, translate
from skingpt4.models.skin_gpt4 import SkinGPT4
from skingpt4.models.vision import is_timm
from skingpt4.models.weights import CHECKPOINT, open_sources, weight_hashes

if TYPE_CHECKING:
    from torch.utils.data import Dataset

    from skingpt4.common.config import Config
    from skingpt4.common.schema import ModelConfig

logger = logging.getLogger(__name__)

# Of a batch of the vision tower, so that memory does not grow with cache_crops.
CROPS_AT_ONCE = 32

# A process waits this long for the others to encode their share.
PATIENCE = timedelta(days=2)


def cache_features(config: "Config", datasets: Splits) -> dict[str, dict[str, "Dataset[Any]"]]:
    """Return the data sets with features in the place of photos, making those that are missing.

    Validation photos are not augmented, so one crop of each is enough.

    Raises:
        ConfigError: If a data set is in shards.
    """
    run = config.run
    # The first call sets up the processes: a later one with another timeout would have no effect.
    state = PartialState(cpu=run.device == "cpu", timeout=PATIENCE)
    weights = _describe_weights(config.model, state.device)
    encoder: SkinGPT4 | None = None
    cached: dict[str, dict[str, Dataset[Any]]] = {}
    for name, splits in datasets.items():
        cached[name] = dict(splits)
        for split, dataset in splits.items():
            if isinstance(dataset, TextDialogueDataset):
                continue
            if not isinstance(dataset, ImageTextDataset):
                raise ConfigError(
                    f"run.cache_features reads folders, but datasets.{name} is in shards; set it "
                    "False, or convert the set to a folder."
                )
            photos = CroppedPhotos(dataset, run.cache_crops if split == TRAIN else 1, run.seed)
            # The folder is named after all that its features depend on: a change makes another.
            digest = hashlib.sha256(f"{weights} {dataset.vis_processor!r}".encode())
            digest.update(f"{photos.crops} {photos.seed}".encode())
            for path in tqdm(photos.paths, desc="photos' checksums", leave=False, disable=None):
                digest.update(sha256_of(path).encode())
            store = FeatureStore(Path(run.cache_dir) / digest.hexdigest()[:16], photos.crops)
            if not store.is_complete:
                encoder = encoder or SkinGPT4.from_config(
                    config.model, state.device, with_llm=False
                )
                title = f"{name} {split}"
                _fill(store, encoder.eval(), photos, title, run.num_workers, state)
            cached[name][split] = FeatureDataset(dataset, store)
    return cached


def _describe_weights(model: "ModelConfig", device: torch.device) -> str:
    """Name everything of the vision side that its features depend on."""
    sources = open_sources(model)
    keys = [key for key in sources if key != CHECKPOINT]
    if CHECKPOINT in sources:
        # A checkpoint of the projection alone changes no feature.
        targets = [piece.target for piece in translate(sources[CHECKPOINT]).pieces]
        if any(target.startswith((VISION_PREFIX, *QFORMER_PREFIXES)) for target in targets):
            keys.append(CHECKPOINT)
    hashes = list(weight_hashes(model, keys).values())
    # Two of timm's towers may take the same file, and compute otherwise.
    tower = f" {model.vit_model}" if is_timm(model.vit_model) else ""
    return f"{hashes} {choose_placement(model, device).vit_dtype} {model.has_qformer}{tower}"


@torch.no_grad()
def _fill(
    store: FeatureStore,
    encoder: SkinGPT4,
    photos: CroppedPhotos,
    title: str,
    num_workers: int,
    state: PartialState,
) -> None:
    """Encode all photos, each process its share, into ``[photos, crops, tokens, width]``."""
    if state.is_main_process:
        store.create(len(photos), encoder.image_tokens, encoder.llama_proj.in_features)
    state.wait_for_everyone()
    # One file, mapped by every process; each writes rows of its own.
    target, unusable = store.open_partial(), list[int]()
    own = range(state.process_index, len(photos), state.num_processes)
    size = max(1, CROPS_AT_ONCE // photos.crops)
    loader = DataLoader(
        Subset(photos, own),
        batch_size=size,
        num_workers=num_workers,
        collate_fn=list,
        # Without one, torch draws the workers' seed from the run's own generator.
        generator=torch.Generator(),
    )
    with tqdm(total=len(own), desc=f"encoding {title}", disable=not state.is_main_process) as bar:
        for number, crops in enumerate(loader):
            ranks = own[number * size : (number + 1) * size]
            usable = {rank: one for rank, one in zip(ranks, crops, strict=True) if one is not None}
            unusable += [rank for rank in ranks if rank not in usable]
            if usable:
                pixels = torch.cat(list(usable.values())).to(encoder.device)  # [n * crops, 3, H, W]
                features = encoder.encode_query(pixels).half().cpu()  # [n * crops, tokens, width]
                rows = rearrange(features, "(n crops) t w -> n crops t w", crops=store.crops)
                target[list(usable)] = rows.numpy()
            bar.update(len(ranks))
    target.flush()  # type: ignore[attr-defined]
    unusable = sorted(gather_object(unusable))
    if state.is_main_process:
        store.finish({"data": title, "photos": len(photos), "crops": store.crops}, unusable)
        logger.info("Encoded %d photos of %s, %d unusable", len(photos), title, len(unusable))
    state.wait_for_everyone()
