"""How much memory a model takes, part by part, told from a skeleton without weights."""

from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import torch
from torch import nn

from skingpt4.check import PartPlan
from skingpt4.models.external_llm import is_external
from skingpt4.models.gguf import is_gguf
from skingpt4.models.llm import key_value_heads

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from skingpt4.models.device import Placement
    from skingpt4.models.skin_gpt4 import SkinGPT4

GIGABYTE = 1e9

# Bytes a weight of a quantised layer, scales included (bitsandbytes: int8 has a scale a row,
# nf4 a float32 scale for every 64 weights).
QUANTIZED_BYTES = {"int8": 1.0, "nf4": 0.5 + 4 / 64}

# A float32 gradient and AdamW's two float32 moments, for each trained number.
TRAINING_BYTES = 12


def memory_plan(
    skeleton: "SkinGPT4", placement: "Placement", training: bool = False
) -> list[PartPlan]:
    """Tell what each part takes once it is loaded.

    Activations come on top; they depend on the batch.

    Args:
        skeleton: The model, on the meta device; its vision side has its dtypes already.
        placement: Where it will run, with the language model's dtype and quantisation.
        training: Count the gradients and the optimiser of the trained parameters too.
    """
    kept: dict[str, list[nn.Parameter]] = {
        "vision tower": [*skeleton.visual_encoder.parameters(), *skeleton.ln_vision.parameters()]
    }
    if skeleton.config.has_qformer:
        kept["Q-Former"] = [*skeleton.Qformer.parameters(), skeleton.query_tokens]
    kept["projection"] = list(skeleton.llama_proj.parameters())
    plan = []
    for part, parameters in kept.items():
        # As the skeleton has them: what is kept in half precision is decided when it is built.
        counts: dict[torch.dtype, int] = {}
        for parameter in parameters:
            counts[parameter.dtype] = counts.get(parameter.dtype, 0) + parameter.numel()
        size = sum(count * dtype.itemsize for dtype, count in counts.items()) / GIGABYTE
        # A tower in half precision keeps its norms exact: it is named by what most numbers are.
        most = _dtype_name(max(counts, key=counts.__getitem__))
        plan.append(PartPlan(part, sum(counts.values()), most, size))
    plan.append(_language_part(skeleton, placement))
    # Frozen parts have neither gradients nor moments.
    if training:
        trained = sum(p.numel() for p in skeleton.parameters() if p.requires_grad)
        size = trained * TRAINING_BYTES / GIGABYTE
        plan.append(PartPlan("gradients and AdamW", trained, "float32", size))
    return plan


def _language_part(skeleton: "SkinGPT4", placement: "Placement") -> PartPlan:
    """Plan the language model, or what of it this process holds."""
    llm, name = skeleton.llm_model, skeleton.config.llm_model
    dtype, quantization = placement.llm_dtype, placement.quantization
    parameters = sum(p.numel() for p in llm.parameters())
    # llama.cpp maps the file into this process: it takes what it takes on disk.
    if is_gguf(name) and is_external(skeleton.config):
        size = Path(name).stat().st_size / GIGABYTE
        return PartPlan("language model", parameters, "GGUF", size)
    # A server holds the model; prompts are embedded here.
    if is_external(skeleton.config):
        rows = sum(p.numel() for p in llm.get_input_embeddings().parameters())
        size = rows * dtype.itemsize / GIGABYTE
        return PartPlan("token embeddings", rows, _dtype_name(dtype), size)
    quantised = 0
    if quantization:
        # Embeddings and norms are no linear layers; the output layer is one, but stays exact.
        output = llm.get_output_embeddings()
        linear = [layer for layer in llm.modules() if isinstance(layer, nn.Linear)]
        quantised = sum(layer.weight.numel() for layer in linear if layer is not output)
    # What is not quantised is kept in the type that is computed in.
    each = QUANTIZED_BYTES.get(quantization, float(dtype.itemsize))
    size = ((parameters - quantised) * dtype.itemsize + quantised * each) / GIGABYTE
    shown = f"{quantization} and {_dtype_name(dtype)}" if quantization else _dtype_name(dtype)
    return PartPlan("language model", parameters, shown, size)


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def kv_cache_gigabytes(config: "PretrainedConfig", dtype: torch.dtype, tokens: int = 1000) -> float:
    """Return the key-value cache's size for one conversation of ``tokens`` tokens.

    Sliding windows and other savings of single families are not counted: it is an upper bound.

    Args:
        config: The language model's.
        dtype: Its compute dtype, in which keys and values are kept.
        tokens: Positions in the cache.
    """
    text = config.get_text_config()
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    # Keys and values, of each layer: [heads, tokens, head_dim].
    values = 2 * text.num_hidden_layers * key_value_heads(text) * head_dim * tokens
    return float(values * dtype.itemsize / GIGABYTE)


def free_gigabytes(placement: "Placement") -> float:
    """Return the free memory where the model will stand: all GPUs together if it is spread."""
    device = placement.device
    if device.type == "cuda":
        spread = range(torch.cuda.device_count()) if placement.device_map else [device]
        return sum(torch.cuda.mem_get_info(gpu)[0] for gpu in spread) / GIGABYTE
    # Apple's GPU shares the CPU's memory.
    return float(psutil.virtual_memory().available / GIGABYTE)
