"""The systems that answer: which config, which weights, and a record that lets others repeat it."""

import os
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from skingpt4.common.config import MODEL_PATHS, Config
from skingpt4.common.errors import EvaluationError
from skingpt4.conversation.engines import Decoding
from skingpt4.models.weights import weight_hashes
from skingpt4.prompts import get_prompt_style

TINY_CONFIG = "eval_configs/skingpt4_eval_tiny.yaml"
TINY_PROJECTION = "model.ckpt=weights/skingpt4-tiny/skingpt4_tiny"
LIBRARIES = ("accelerate", "numpy", "skingpt4", "timm", "tokenizers", "torch", "transformers")

Record = dict[str, Any]


@dataclass(frozen=True)
class System:
    """A model under test: a config file with ``a.b=c`` options."""

    name: str
    cfg_path: str
    options: tuple[str, ...] = ()


BUILTIN_SYSTEMS = tuple(
    System(name, TINY_CONFIG, (f"{TINY_PROJECTION}{suffix}.safetensors",))
    for name, suffix in (
        ("two-step", ""),
        ("step 2 only", "_step2_only"),
        ("step 1 only", "_step1"),
        ("general alignment only", "_step0"),
    )
)
"""The embedded model as the paper's ablation has it."""


def parse_system(text: str) -> System:
    """Read ``name=config.yaml[,key=value…]``.

    Raises:
        EvaluationError: If it has another form.
    """
    name, cfg_path = split_pair(text, "--system", "config.yaml[,key=value…]")
    path, *options = cfg_path.split(",")
    return System(name, path, tuple(options))


def split_pair(text: str, option: str, form: str) -> tuple[str, str]:
    """Split ``name=value``.

    Raises:
        EvaluationError: If either is missing.
    """
    name, _, value = text.partition("=")
    if not name.strip() or not value.strip():
        raise EvaluationError(f"{option} '{text}' is not of the form name={form}.")
    return name.strip(), value.strip()


def describe_system(system: System, decoding: Decoding) -> Record:
    """Return what it takes to repeat a system's answers: config, weights, prompt, decoding."""
    config = Config.load(system.cfg_path, system.options)
    model = config.model
    style = get_prompt_style(model.prompt_style, model.prompt_template, model.end_sym)
    # Where the files lie is nobody's business but this machine's; their hashes tell which they are.
    names = {key: Path(getattr(model, key)).name for key in MODEL_PATHS}
    return {
        "kind": "skingpt4",
        "config": {"model": {**asdict(model), **names}, "preprocess": asdict(config.preprocess)},
        "weights": weight_hashes(model, MODEL_PATHS),
        "template": {"system": style.system, "roles": list(style.roles), "end": style.end_sym},
        "decoding": asdict(decoding),
        "notice": model.notice,
    }


def describe_environment(device: torch.device, processes: int, batch_size: int) -> Record:
    """Return versions and machine, which change times and, in half precision, rare words."""
    is_gpu = device.type == "cuda"
    return {
        "python": platform.python_version(),
        "versions": {name: version(name) for name in LIBRARIES},
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "device": torch.cuda.get_device_name(device) if is_gpu else device.type,
        "processes": processes,
        "batch_size": batch_size,
    }
