"""The one task of both training stages: predict the text that belongs to an image."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from skingpt4.common.registry import registry
from skingpt4.tasks.base_task import BaseTask


@registry.register_task("image_text_pretrain")
class ImageTextPretrainTask(BaseTask):
    """Next-token prediction of answers, given the photo and the prompt."""

    def train_step(self, model: nn.Module, samples: Mapping[str, Any]) -> Tensor:
        """Return the model's own loss."""
        loss: Tensor = model(samples)["loss"]
        return loss
