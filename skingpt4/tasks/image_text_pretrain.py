"""The one task of both training stages: predict the text that belongs to an image."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from skingpt4.common.registry import registry
from skingpt4.models import SkinGPT4
from skingpt4.models.dialogue import shows_photo
from skingpt4.tasks.base_task import BaseTask


@registry.register_task("image_text_pretrain")
class ImageTextPretrainTask(BaseTask):
    """Next-token prediction of answers, given the photo and the prompt."""

    def train_step(self, model: nn.Module, samples: Mapping[str, Any]) -> Tensor:
        """Return the model's own loss."""
        loss: Tensor = model(samples)["loss"]
        return loss

    def count_targets(self, model: SkinGPT4, samples: Mapping[str, Any]) -> int:
        """Return how many answer tokens the loss of a batch is the mean of."""
        style, encoder = model.prompt_style, model.encode_dialogues
        is_asked = bool(model.prompts) or not shows_photo(samples)
        count = 0
        for dialogue in samples["dialogue"]:
            for question, answer in dialogue:
                prefix = style.answer_prefix if is_asked or question else ""
                count += len(encoder.answer_ids(prefix + answer + model.end_sym))
        return count
