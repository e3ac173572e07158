"""Data sets by upstream's names: each is a row of data, not a class of its own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch.utils.data import Dataset

from skingpt4.common.config import locate
from skingpt4.common.errors import ConfigError
from skingpt4.common.registry import registry
from skingpt4.common.schema import DatasetConfig
from skingpt4.datasets.image_text import ImageTextDataset, Sample, TextDialogueDataset
from skingpt4.datasets.shards import ShardDataset
from skingpt4.processors import build_processor

# Upstream has the first alone.
TRAIN, VALIDATION = "train", "val"

# Data sets by name and split.
Splits = Mapping[str, Mapping[str, Dataset[Any]]]

DEFAULT_VIS = {TRAIN: {"name": "blip2_image_train"}, VALIDATION: {"name": "blip2_image_eval"}}
DEFAULT_TEXT = {"name": "blip_caption"}


@dataclass(frozen=True)
class Builder:
    """How a registered name becomes a data set.

    Attributes:
        reader: Called with ``storage`` and the processors below, gives the data set.
        data_type: What the configuration must say it holds.
        cleans_text: Whether captions go through the text processor. Upstream's folder sets keep
            them raw: they build the processor and never call it.
        seeded: Whether the data set draws an order of its own.
    """

    reader: Callable[..., Dataset[Sample]]
    data_type: str = "images"
    cleans_text: bool = False
    seeded: bool = False


FOLDER = Builder(ImageTextDataset)
SHARDS = Builder(ShardDataset, cleans_text=True, seeded=True)
TEXT = Builder(TextDialogueDataset, data_type="text")

# cc_sbu and laion are step 0 of the full model, the skin sets steps 1 and 2 of the paper, and the
# text sets teach the embedded model's language model.
BUILDERS = {
    "skin_concept": FOLDER,
    "skin_align": FOLDER,
    "cc_sbu_align": FOLDER,
    "cc_sbu": SHARDS,
    "laion": SHARDS,
    "text_question": TEXT,
    "text_dialogue": TEXT,
}
for _name, _builder in BUILDERS.items():
    registry.register_builder(_name)(_builder)


def build_dataset(
    name: str, cfg: DatasetConfig, seed: int = 42, photo: Mapping[str, Any] | None = None
) -> dict[str, Dataset[Sample]]:
    """Build the data set of one entry under ``datasets``, by split.

    Args:
        name: Registered name.
        cfg: Its settings; a processor that is not named is upstream's usual one.
        seed: Order of sets that shuffle by themselves (shards).
        photo: What the vision tower takes of a photo, as :func:`build_processor` has it.

    Returns:
        ``{"train": data set}``, and ``"val"`` where ``build_info.validation`` names one.

    Raises:
        ConfigError: If the name, the data type or a processor is unknown, or photos would not be
            what the vision tower takes.
        DatasetError: If the files are missing or malformed.
    """
    try:
        builder: Builder = registry.get_builder_class(name)
    except KeyError as error:
        raise ConfigError(f"datasets.{name}: {error.args[0]}") from error
    if cfg.data_type != builder.data_type:
        raise ConfigError(
            f"datasets.{name}.data_type is '{cfg.data_type}', but it must be '{builder.data_type}'."
        )
    storages = {TRAIN: cfg.build_info.storage}
    if cfg.build_info.validation:
        storages[VALIDATION] = locate(cfg.build_info.validation)
    splits: dict[str, Dataset[Sample]] = {}
    for split, storage in storages.items():
        parts: dict[str, Any] = {"storage": storage}
        if builder.data_type == "images":
            # For validation the whole photo, of the size that training crops to.
            key, default = "train", dict[str, Any](DEFAULT_VIS[TRAIN])
            if split == VALIDATION:
                size = (cfg.vis_processor.get("train") or {}).get("image_size")
                key, default = "eval", {**DEFAULT_VIS[VALIDATION], "image_size": size}
            given, place = cfg.vis_processor.get(key), f"datasets.{name}.vis_processor.{key}"
            parts["vis_processor"] = _build_processor(place, given, default, photo)
        # Upstream names processors by "train" and "eval"; captions are cleaned alike in both.
        if builder.cleans_text:
            given, place = cfg.text_processor.get("train"), f"datasets.{name}.text_processor.train"
            parts["text_processor"] = _build_processor(place, given, DEFAULT_TEXT)
        if builder.seeded:
            parts["seed"] = seed
        splits[split] = builder.reader(**parts)
    return splits


def _build_processor(
    place: str, given: Any, default: Mapping[str, Any], photo: Mapping[str, Any] | None = None
) -> Any:
    """Build a processor; an error says which entry it belongs to."""
    if not isinstance(given or {}, Mapping):
        raise ConfigError(f"{place} is {given!r}, but it must be a mapping with a 'name'.")
    try:
        return build_processor({**default, **(given or {})}, photo)
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}") from error
