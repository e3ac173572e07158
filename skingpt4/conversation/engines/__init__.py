"""Engines that generate text: one contract, one file each."""

from skingpt4.conversation.engines.base import Decoding, Engine, PromptSegment
from skingpt4.conversation.engines.transformers_engine import TransformersEngine

__all__ = ["Decoding", "Engine", "PromptSegment", "TransformersEngine"]
