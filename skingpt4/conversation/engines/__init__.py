"""Engines that generate text: one contract, one file each."""

from collections.abc import Callable

from transformers import CompileConfig

from skingpt4.common.errors import ConfigError
from skingpt4.common.schema import ModelConfig
from skingpt4.conversation.engines.base import Decoding, Engine, PromptSegment
from skingpt4.conversation.engines.transformers_engine import TransformersEngine
from skingpt4.models import SkinGPT4

__all__ = ["Decoding", "Engine", "PromptSegment", "TransformersEngine", "build_engine"]


def build_engine(config: ModelConfig, model: SkinGPT4) -> Engine:
    """Build the engine that ``model.engine`` names.

    Raises:
        ConfigError: If there is no such engine, or what it needs is not installed.
    """
    if config.engine not in _BUILDERS:
        raise ConfigError(
            f"model.engine '{config.engine}' is unknown; choose one of: {', '.join(_BUILDERS)}."
        )
    return _BUILDERS[config.engine](model, config)


def _transformers(model: SkinGPT4, config: ModelConfig) -> Engine:
    return TransformersEngine(model, compiling=CompileConfig() if config.compile else None)


# The others are imported when they are asked for: they need more than this package does.


def _llama_cpp(model: SkinGPT4, config: ModelConfig) -> Engine:
    from skingpt4.conversation.engines.llama_cpp_engine import LlamaCppEngine

    return LlamaCppEngine(model, config)


def _vllm(model: SkinGPT4, config: ModelConfig) -> Engine:
    from skingpt4.conversation.engines.vllm_engine import VllmEngine

    return VllmEngine(model, config)


_BUILDERS: dict[str, Callable[[SkinGPT4, ModelConfig], Engine]] = {
    "transformers": _transformers,
    "llama_cpp": _llama_cpp,
    "vllm": _vllm,
}
