"""The model: vision tower, Q-Former, projection and language model."""

from skingpt4.models.skin_gpt4 import SkinGPT4

__all__ = ["SkinGPT4"]
