"""Photos and captions on their way to the model; importing this registers the processors."""

from collections.abc import Mapping
from typing import Any

from skingpt4.common.errors import ConfigError
from skingpt4.common.registry import registry
from skingpt4.processors.blip_processors import Processor


def build_processor(cfg: Mapping[str, Any]) -> Processor:
    """Build the processor registered as ``cfg["name"]``; the other keys are its settings.

    Raises:
        ConfigError: If the name is missing or unknown, or a setting is.
    """
    try:
        processor_class = registry.get_processor_class(cfg.get("name"))
    except KeyError as error:
        raise ConfigError(error.args[0]) from error
    processor: Processor = processor_class.from_config(cfg)
    return processor
