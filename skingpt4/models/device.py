"""Where the model runs and in which numbers, chosen by what the device can do."""

import logging
from dataclasses import dataclass

import torch

from skingpt4.common.errors import ConfigError
from skingpt4.common.schema import ModelConfig

logger = logging.getLogger(__name__)

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}

AUTO = "auto"

# GPUs compute in bfloat16 from this compute capability on (Ampere); V100 has 7.0.
BFLOAT16_CAPABILITY = (8, 0)


@dataclass(frozen=True)
class Placement:
    """Where the parts stand and how their numbers are kept.

    Attributes:
        device: Of everything; with a device map, of all but the language model.
        vit_dtype: Of the vision tower's matrices.
        llm_dtype: Of the language model; of its computation where it is quantised.
        quantization: ``int8`` or ``nf4`` for the language model; empty for none.
        device_map: ``auto`` spreads the language model over all GPUs; empty keeps it in one place.
    """

    device: torch.device
    vit_dtype: torch.dtype
    llm_dtype: torch.dtype
    quantization: str = ""
    device_map: str = ""


def best_device(gpu_id: int = 0) -> torch.device:
    """Return the GPU of this number, else Apple's GPU, else the CPU.

    Raises:
        ConfigError: If there are GPUs but none of this number.
    """
    # --gpu-id counts CUDA devices; Apple's GPU and the CPU are one each, whatever number is given.
    count = torch.cuda.device_count()
    if count:
        if not 0 <= gpu_id < count:
            raise ConfigError(
                f"There is no GPU {gpu_id}: this machine has {count}, counted from 0; "
                "change --gpu-id."
            )
        return torch.device("cuda", gpu_id)
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def choose_placement(config: ModelConfig, device: str | torch.device) -> Placement:
    """Settle precision and place for a device.

    ===================  =========  =========
    device               ViT        LLM
    ===================  =========  =========
    GPU, Ampere or newer float16    bfloat16
    older GPU, Apple GPU float16    float16
    CPU                  float32    float32
    ===================  =========  =========

    A part that is trained is kept in float32, and int8 computes in float16. ``model.vit_precision``
    and ``model.llm_dtype`` say otherwise. Upstream's ``low_resource: True`` is ``quantization:
    int8`` on a GPU and means nothing elsewhere.

    Raises:
        ConfigError: If a quantised language model is to be trained.
    """
    place = torch.device(device)
    is_cpu, is_gpu = place.type == "cpu", place.type == "cuda"
    if config.quantization and not config.freeze_llm:
        raise ConfigError(
            f"model.quantization '{config.quantization}' and model.freeze_llm False contradict "
            "each other: a quantised language model cannot be trained; change one of them."
        )
    quantization = config.quantization
    if config.low_resource and not quantization:
        quantization = "int8" if is_gpu else ""
        if not is_gpu:
            logger.info("low_resource has no effect on '%s': int8 is for GPUs", place.type)

    # Every upstream file asks for fp16, which on a CPU would be several times slower.
    vit = AUTO if is_cpu and config.vit_precision == "fp16" else config.vit_precision
    # Adam's small steps would be lost in half precision, so what is trained is float32.
    vit_auto = torch.float32 if is_cpu or not config.freeze_vit else torch.float16
    if is_cpu or not config.freeze_llm:
        llm_auto = torch.float32
    elif not is_gpu or quantization == "int8":  # bitsandbytes multiplies int8 in float16 alone
        llm_auto = torch.float16
    else:
        modern = torch.cuda.get_device_capability(place) >= BFLOAT16_CAPABILITY
        llm_auto = torch.bfloat16 if modern else torch.float16
    return Placement(
        device=place,
        vit_dtype=DTYPES.get(vit, vit_auto),
        llm_dtype=DTYPES.get(config.llm_dtype, llm_auto),
        quantization=quantization,
        device_map=config.device_map if is_gpu else "",
    )
