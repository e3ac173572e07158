"""How much memory a model takes, part by part, told from a skeleton without weights."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from skingpt4.models.device import Placement
from skingpt4.models.external_llm import is_external
from skingpt4.models.gguf import is_gguf
from skingpt4.models.skin_gpt4 import SkinGPT4

GIGABYTE = 1e9

# Bytes a weight of a quantised layer, scales included (bitsandbytes: int8 has a scale a row,
# nf4 a float32 scale for every 64 weights).
QUANTIZED_BYTES = {"int8": 1.0, "nf4": 0.5 + 4 / 64}

# A float32 gradient and AdamW's two float32 moments, for each trained number.
TRAINING_BYTES = 12


@dataclass(frozen=True)
class PartPlan:
    """One line of the memory plan.

    Attributes:
        part: Name of the part.
        parameters: How many numbers it holds.
        dtype: How they are stored, as a reader names it.
        gigabytes: Memory they take, in units of 10⁹ bytes.
    """

    part: str
    parameters: int
    dtype: str
    gigabytes: float


def memory_plan(skeleton: SkinGPT4, placement: Placement, training: bool = False) -> list[PartPlan]:
    """Tell what each part takes once it is loaded.

    Activations come on top; they depend on the batch.

    Args:
        skeleton: The model, on the meta device; its vision side has its dtypes already.
        placement: Where it will run, with the language model's dtype and quantisation.
        training: Count the gradients and the optimiser of the trained parameters too.
    """
    plan = [_plain_part("vision tower", skeleton.visual_encoder, skeleton.ln_vision)]
    if skeleton.config.has_qformer:
        plan.append(_plain_part("Q-Former", skeleton.Qformer, skeleton.query_tokens))
    plan += [
        _plain_part("projection", skeleton.llama_proj),
        _language_part(skeleton, placement),
    ]
    if training:
        trained = sum(p.numel() for p in skeleton.parameters() if p.requires_grad)
        size = trained * TRAINING_BYTES / GIGABYTE
        plan.append(PartPlan("gradients and AdamW", trained, "float32", size))
    return plan


def kv_cache_gigabytes(config: PretrainedConfig, dtype: torch.dtype, tokens: int = 1000) -> float:
    """Return the key-value cache's size for one conversation of ``tokens`` tokens.

    Sliding windows and other savings of single families are not counted: it is an upper bound.

    Args:
        config: The language model's.
        dtype: Its compute dtype, in which keys and values are kept.
        tokens: Positions in the cache.
    """
    text = config.get_text_config()
    heads = key_value_heads(text)
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    values = 2 * text.num_hidden_layers * heads * head_dim * tokens
    return float(values * dtype.itemsize / GIGABYTE)


def key_value_heads(config: PretrainedConfig) -> int:
    """Return how many key-value heads a layer has: fewer than attention heads where grouped."""
    if config.model_type == "falcon" and not config.new_decoder_architecture:
        return 1 if config.multi_query else int(config.num_attention_heads)
    for name in ("num_key_value_heads", "num_kv_heads"):
        if getattr(config, name, None):
            return int(getattr(config, name))
    return int(config.num_attention_heads)


def free_gigabytes(placement: Placement) -> float:
    """Return the free memory where the model will stand: all GPUs together if it is spread."""
    device = placement.device
    if device.type == "cuda":
        spread = range(torch.cuda.device_count()) if placement.device_map else [device]
        return sum(torch.cuda.mem_get_info(gpu)[0] for gpu in spread) / GIGABYTE
    return float(psutil.virtual_memory().available / GIGABYTE)


def _plain_part(name: str, *tensors: nn.Module | nn.Parameter) -> PartPlan:
    """Plan a part that is kept as the skeleton has it; its dtype is that of most numbers."""
    own = [p for t in tensors for p in (t.parameters() if isinstance(t, nn.Module) else [t])]
    counts: Counter[torch.dtype] = Counter()
    for parameter in own:
        counts[parameter.dtype] += parameter.numel()
    size = sum(count * dtype.itemsize for dtype, count in counts.items())
    most, _ = counts.most_common(1)[0]
    return PartPlan(name, counts.total(), _dtype_name(most), size / GIGABYTE)


def _language_part(skeleton: SkinGPT4, placement: Placement) -> PartPlan:
    """Plan the language model, or what of it this process holds."""
    llm, name = skeleton.llm_model, skeleton.config.llm_model
    if is_gguf(name):
        size = Path(name).stat().st_size / GIGABYTE
        return PartPlan("language model", sum(p.numel() for p in llm.parameters()), "GGUF", size)
    if is_external(skeleton.config):
        rows = sum(p.numel() for p in llm.get_input_embeddings().parameters())
        size = rows * placement.llm_dtype.itemsize / GIGABYTE
        return PartPlan("token embeddings", rows, _dtype_name(placement.llm_dtype), size)
    return _loaded_language_part(llm, placement)


def _loaded_language_part(llm: PreTrainedModel, placement: Placement) -> PartPlan:
    """Plan all of it; its embeddings, output layer and norms are never quantised."""
    dtype, quantization = placement.llm_dtype, placement.quantization
    parameters = sum(p.numel() for p in llm.parameters())
    quantised = 0
    if quantization:
        output = llm.get_output_embeddings()
        linear = [layer for layer in llm.modules() if isinstance(layer, nn.Linear)]
        quantised = sum(layer.weight.numel() for layer in linear if layer is not output)
    each = QUANTIZED_BYTES.get(quantization, float(dtype.itemsize))
    size = (parameters - quantised) * dtype.itemsize + quantised * each
    name = _dtype_name(dtype)
    shown = f"{quantization} and {name}" if quantization else name
    return PartPlan("language model", parameters, shown, size / GIGABYTE)


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
