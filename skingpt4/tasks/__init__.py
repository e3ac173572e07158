"""Tasks: what one training step is."""

from skingpt4.tasks.image_text_pretrain import ImageTextPretrainTask

__all__ = ["ImageTextPretrainTask"]
