"""Engines that generate text: one contract, one file each."""

from typing import TYPE_CHECKING

from transformers import CompileConfig

from skingpt4.common.errors import ConfigError
from skingpt4.conversation.engines.base import BatchAnswer, Decoding, Engine
from skingpt4.conversation.engines.prompt_encoder import Prompt, PromptSegment, TextCutter

if TYPE_CHECKING:
    from skingpt4.common.schema import ModelConfig
    from skingpt4.models.skin_gpt4 import SkinGPT4

__all__ = [
    "BatchAnswer",
    "Decoding",
    "Engine",
    "Prompt",
    "PromptSegment",
    "TextCutter",
    "build_engine",
]

ENGINES = ("transformers", "llama_cpp", "vllm")


def build_engine(config: "ModelConfig", model: "SkinGPT4") -> Engine:
    """Build the engine that ``model.engine`` names.

    Raises:
        ConfigError: If there is no such engine, or what it needs is not installed.
    """
    # A new engine is a file beside these, a name above and a branch here.
    # An engine is imported when it is asked for: llama.cpp's needs a package that is an extra.
    if config.engine == "transformers":
        from skingpt4.conversation.engines.transformers_engine import TransformersEngine

        return TransformersEngine(model, compiling=CompileConfig() if config.compile else None)
    if config.engine == "llama_cpp":
        from skingpt4.conversation.engines.llama_cpp_engine import LlamaCppEngine

        return LlamaCppEngine(model, config)
    if config.engine == "vllm":
        from skingpt4.conversation.engines.vllm_engine import VllmEngine

        return VllmEngine(model, config)
    raise ConfigError(
        f"model.engine '{config.engine}' is unknown; choose one of: {', '.join(ENGINES)}."
    )
