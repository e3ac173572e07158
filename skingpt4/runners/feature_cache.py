"""Encoding all photos of a run once, before it trains, so that the vision side is not needed."""

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset
from tqdm import tqdm

from skingpt4.common.config import Config
from skingpt4.common.errors import ConfigError
from skingpt4.common.files import sha256_of
from skingpt4.common.schema import ModelConfig
from skingpt4.datasets.builders import TRAIN
from skingpt4.datasets.features import CroppedPhotos, FeatureDataset, FeatureStore
from skingpt4.datasets.image_text import ImageTextDataset, TextDialogueDataset
from skingpt4.models import SkinGPT4
from skingpt4.models.device import choose_placement
from skingpt4.models.key_maps import QFORMER_PREFIXES, VISION_PREFIX, translate
from skingpt4.models.weights import CHECKPOINT, RANDOM, open_sources, weight_hashes

logger = logging.getLogger(__name__)

Splits = Mapping[str, Mapping[str, Dataset[Any]]]

CROPS_AT_ONCE = 32

# A process waits this long for the others to encode their share.
PATIENCE = timedelta(days=2)


def cache_features(config: Config, datasets: Splits) -> dict[str, dict[str, Dataset[Any]]]:
    """Return the data sets with features in the place of photos, making those that are missing.

    Validation photos are not augmented, so one crop of each is enough.

    Raises:
        ConfigError: If the vision side is trained or untrained, or a data set is in shards.
    """
    _check_frozen(config.model)
    state = PartialState(cpu=config.run.device == "cpu", timeout=PATIENCE)
    weights = _describe_weights(config.model, state.device)
    encoder: SkinGPT4 | None = None
    cached: dict[str, dict[str, Dataset[Any]]] = {}
    for name, splits in datasets.items():
        cached[name] = dict(splits)
        for split, dataset in splits.items():
            if isinstance(dataset, TextDialogueDataset):
                continue
            photos = _photos(config, name, split, dataset)
            store = _store(config, photos, weights)
            if not store.is_complete:
                encoder = encoder or _load_encoder(config.model, state.device)
                _fill(store, encoder, photos, f"{name} {split}", config.run.num_workers, state)
            cached[name][split] = FeatureDataset(photos.dataset, store)
    return cached


def _check_frozen(model: ModelConfig) -> None:
    for key, is_frozen in (
        ("freeze_vit", model.freeze_vit),
        ("freeze_qformer", model.freeze_qformer),
    ):
        if not is_frozen:
            raise ConfigError(
                f"run.cache_features needs a frozen vision side, but model.{key} is False; set one "
                "of the two otherwise."
            )
    for key in ("vit_weights", "q_former_model"):
        if getattr(model, key) == RANDOM:
            raise ConfigError(
                f"run.cache_features needs the same weights at every start, but model.{key} is "
                f"'{RANDOM}'; name a file, or set run.cache_features=False."
            )


def _photos(config: Config, name: str, split: str, dataset: Dataset[Any]) -> CroppedPhotos:
    if not isinstance(dataset, ImageTextDataset):
        raise ConfigError(
            f"run.cache_features reads folders, but datasets.{name} is in shards; set it False, or "
            "convert the set to a folder."
        )
    crops = config.run.cache_crops if split == TRAIN else 1
    if crops < 1:
        raise ConfigError(f"run.cache_crops is {crops}; it must be 1 or more.")
    return CroppedPhotos(dataset, crops, config.run.seed)


def _describe_weights(model: ModelConfig, device: torch.device) -> str:
    """Name everything of the vision side that its features depend on."""
    sources = open_sources(model)
    keys = [key for key in sources if key != CHECKPOINT]
    if CHECKPOINT in sources:
        targets = [piece.target for piece in translate(sources[CHECKPOINT]).pieces]
        if any(target.startswith((VISION_PREFIX, *QFORMER_PREFIXES)) for target in targets):
            keys.append(CHECKPOINT)
    hashes = list(weight_hashes(model, keys).values())
    return f"{hashes} {choose_placement(model, device).vit_dtype} {model.has_qformer}"


def _store(config: Config, photos: CroppedPhotos, weights: str) -> FeatureStore:
    """Return the place of these photos' features, named after all that they depend on."""
    digest = hashlib.sha256(f"{weights} {photos.dataset.vis_processor!r}".encode())
    digest.update(f"{photos.crops} {photos.seed}".encode())
    for path in tqdm(photos.paths, desc="photos' checksums", leave=False, disable=None):
        digest.update(sha256_of(path).encode())
    return FeatureStore(Path(config.run.cache_dir) / digest.hexdigest()[:16], photos.crops)


def _load_encoder(model: ModelConfig, device: torch.device) -> SkinGPT4:
    return SkinGPT4.from_config(model, device, with_llm=False).eval()


def _fill(
    store: FeatureStore,
    encoder: SkinGPT4,
    photos: CroppedPhotos,
    title: str,
    num_workers: int,
    state: PartialState,
) -> None:
    """Encode all photos, each process its share."""
    width = encoder.llama_proj.in_features
    if state.is_main_process:
        store.create(len(photos), encoder.image_tokens, width)
    state.wait_for_everyone()
    target = store.open_partial()
    unusable: list[int] = []
    own = range(state.process_index, len(photos), state.num_processes)
    bar = tqdm(total=len(own), desc=f"encoding {title}", disable=not state.is_main_process)
    with bar:
        for ranks, crops in _batches(photos, own, num_workers):
            unusable += [rank for rank, one in zip(ranks, crops, strict=True) if one is None]
            usable = [(r, one) for r, one in zip(ranks, crops, strict=True) if one is not None]
            if usable:
                features = _encode(encoder, torch.cat([one for _, one in usable]))
                for (rank, _), rows in zip(usable, features.split(store.crops), strict=True):
                    target[rank] = rows.numpy()
            bar.update(len(ranks))
    target.flush()  # type: ignore[attr-defined]
    unusable = sorted(gather_object(unusable))
    if state.is_main_process:
        store.finish({"data": title, "photos": len(photos), "crops": store.crops}, unusable)
        logger.info("Encoded %d photos of %s, %d unusable", len(photos), title, len(unusable))
    state.wait_for_everyone()


def _batches(
    photos: CroppedPhotos, own: Sequence[int], num_workers: int
) -> Iterator[tuple[list[int], list[Tensor | None]]]:
    """Yield the ranks and crops of a few photos at a time."""
    size = max(1, CROPS_AT_ONCE // photos.crops)
    loader = DataLoader(
        Subset(photos, own),
        batch_size=size,
        num_workers=num_workers,
        collate_fn=list,
        generator=torch.Generator(),
    )
    for number, crops in enumerate(loader):
        yield list(own[number * size : (number + 1) * size]), crops


@torch.no_grad()
def _encode(encoder: SkinGPT4, crops: Tensor) -> Tensor:
    """Return the features ``[n, tokens, width]`` of crops ``[n, 3, H, W]`` as float16, here."""
    return encoder.encode_query(crops.to(encoder.device)).half().cpu()
