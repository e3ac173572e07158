"""What every task does: build the model and the data sets, and take one training step."""

from collections.abc import Mapping
from typing import Any

from accelerate import PartialState
from torch import Tensor, nn
from torch.utils.data import Dataset

from skingpt4.common.config import Config
from skingpt4.common.errors import ConfigError
from skingpt4.common.registry import registry
from skingpt4.datasets.builders import build_dataset
from skingpt4.models import SkinGPT4


class BaseTask:
    """Builds the parts that a config names; a task changes what differs."""

    def build_model(self, config: Config) -> SkinGPT4:
        """Build the registered model of ``model.arch`` on this process's device.

        A model to be spread over GPUs (``run.fsdp``) may be larger than one: it is built in the
        CPU's memory and moved part by part.
        """
        device = PartialState(cpu=config.run.device == "cpu").device
        model_class = registry.get_model_class(config.model.arch)
        place = "cpu" if config.run.fsdp else device
        with_tower = not config.run.cache_features
        model: SkinGPT4 = model_class.from_config(config.model, place, with_tower=with_tower)
        return model

    def build_datasets(self, config: Config) -> dict[str, dict[str, Dataset[Any]]]:
        """Build every data set of the config, by name and split.

        Raises:
            ConfigError: If the config names none.
        """
        if not config.datasets:
            raise ConfigError("The config names no data set; add one under 'datasets'.")
        seed = config.run.seed
        return {name: build_dataset(name, cfg, seed) for name, cfg in config.datasets.items()}

    def train_step(self, model: nn.Module, samples: Mapping[str, Any]) -> Tensor:
        """Return the scalar loss of one batch: the mean over its targets."""
        raise NotImplementedError

    def count_targets(self, model: SkinGPT4, samples: Mapping[str, Any]) -> int:
        """Return how many targets the loss of a batch is the mean of, known before it.

        Batches that share an optimiser step are weighted by it, so that every target counts alike.
        """
        raise NotImplementedError
