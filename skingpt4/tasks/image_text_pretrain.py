"""The one task of both training stages: predict the text that belongs to a photo."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from accelerate import PartialState
from torch import Tensor, nn

from skingpt4.common.errors import ConfigError
from skingpt4.common.registry import registry
from skingpt4.datasets.builders import Splits, build_dataset
from skingpt4.models.dialogue import IGNORE_INDEX
from skingpt4.models.skin_gpt4 import SkinGPT4
from skingpt4.models.vision import photo_form

if TYPE_CHECKING:
    from skingpt4.common.config import Config


@registry.register_task("image_text_pretrain")
class ImageTextPretrainTask:
    """Next-token prediction of answers, given the photo and the prompt.

    Another task derives from it, registers a name of its own and changes what differs.
    """

    def build_model(self, config: "Config") -> SkinGPT4:
        """Build the registered model of ``model.arch`` on this process's device."""
        device = PartialState(cpu=config.run.device == "cpu").device
        # A model to be spread over GPUs may be larger than one: it is built in the CPU's memory and
        # moved part by part.
        place = "cpu" if config.run.fsdp else device
        # Cached features take the tower's place.
        with_tower = not config.run.cache_features
        model_class = registry.get_model_class(config.model.arch)
        model: SkinGPT4 = model_class.from_config(config.model, place, with_tower=with_tower)
        return model

    def build_datasets(self, config: "Config") -> Splits:
        """Build every data set of the config, by name and split.

        Raises:
            ConfigError: If the config names none, or one gives other photos than the tower takes.
        """
        if not config.datasets:
            raise ConfigError("The config names no data set; add one under 'datasets'.")
        seed, photo = config.run.seed, photo_form(config.model)
        return {
            name: build_dataset(name, cfg, seed, photo) for name, cfg in config.datasets.items()
        }

    def train_step(self, model: nn.Module, samples: Mapping[str, Any]) -> Tensor:
        """Return the scalar loss of one encoded batch: the mean over its targets."""
        loss: Tensor = model(samples)["loss"]
        return loss

    def count_targets(self, samples: Mapping[str, Any]) -> int:
        """Return how many answer tokens the loss of an encoded batch is the mean of.

        Batches that share an optimiser step are weighted by it, so that every target counts alike.
        """
        return int((samples["labels"] != IGNORE_INDEX).sum())
