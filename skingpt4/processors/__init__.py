"""Photos and captions on their way to the model; importing this registers the processors."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from skingpt4.common.errors import ConfigError
from skingpt4.common.registry import registry
from skingpt4.processors.blip_processors import Processor


def build_processor(cfg: Mapping[str, Any], photo: Mapping[str, Any] | None = None) -> Processor:
    """Build the processor registered as ``cfg["name"]``; the other keys are its settings.

    Args:
        cfg: Name and settings; a null one is the default.
        photo: What the vision tower takes of a photo, by the names of settings: the defaults of a
            processor that has them.

    Raises:
        ConfigError: If the name is missing or unknown, or a setting is; or if one contradicts the
            vision tower.
    """
    try:
        processor_class = registry.get_processor_class(cfg.get("name"))
    except KeyError as error:
        raise ConfigError(error.args[0]) from error
    own = {entry.name for entry in fields(processor_class)}
    tower = {key: value for key, value in (photo or {}).items() if key in own}
    given = {key: value for key, value in cfg.items() if value is not None}
    processor: Processor = processor_class.from_config({**tower, **given})
    # Of another size or other colours than it was trained with, a tower makes other features.
    for key, wanted in tower.items():
        made = getattr(processor, key)
        if (tuple(made) if isinstance(made, Sequence) else made) != wanted:
            raise ConfigError(
                f"Processor '{processor.registered_name}' has {key} {made}, but the vision tower "
                f"takes {wanted} (model.vit_model, model.image_size); leave {key} out."
            )
    return processor
