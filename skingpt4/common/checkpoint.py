"""Weight files: reading any of them safely, writing ours atomically."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from skingpt4.common.errors import WeightsError

METADATA_KEY = "skingpt4"

Tensors = dict[str, Tensor]


def read_tensors(path: str | Path) -> Tensors:
    """Read ``.safetensors``, or a ``.pth`` in LAVIS / MiniGPT-4 form, into CPU memory.

    A ``.pth`` is read without running any code in it; its ``model`` entry is taken where it
    has one.

    Raises:
        WeightsError: If the file is missing, damaged, or holds anything but tensors.
    """
    file = Path(path)
    if not file.is_file():
        raise WeightsError(f"The weight file '{path}' does not exist; check the path.")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        content = torch.load(file, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:160]
        raise WeightsError(
            f"The weight file '{path}' is damaged or unsafe ({reason}); fetch it again."
        ) from None
    return _tensors_of(content, path)


def _tensors_of(content: Any, path: str | Path) -> Tensors:
    tree = content.get("model", content) if isinstance(content, dict) else content
    if not isinstance(tree, dict) or not all(isinstance(v, Tensor) for v in tree.values()):
        raise WeightsError(f"'{path}' does not hold a dictionary of tensors; it is no weight file.")
    return tree


def read_metadata(path: str | Path) -> dict[str, Any]:
    """Return what we recorded beside the tensors; empty for files of others."""
    if Path(path).suffix != ".safetensors":
        return {}
    with safe_open(str(path), framework="pt") as file:
        return cast(dict[str, Any], json.loads((file.metadata() or {}).get(METADATA_KEY, "{}")))


def save_tensors(path: str | Path, tensors: Tensors, metadata: dict[str, Any]) -> None:
    """Write tensors and a JSON record as safetensors, atomically."""
    flat = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    record = {"format": "pt", METADATA_KEY: json.dumps(metadata, sort_keys=True)}
    write_atomically(path, lambda file: save_file(flat, file, record))


def save_state(path: str | Path, state: dict[str, Any]) -> None:
    """Write a training state (optimiser, step, random numbers) atomically."""
    write_atomically(path, lambda file: torch.save(state, file))


def load_state(path: str | Path) -> dict[str, Any]:
    """Read a training state written by :func:`save_state`.

    Raises:
        WeightsError: If the file is missing or damaged.
    """
    try:
        return cast(dict[str, Any], torch.load(path, map_location="cpu", weights_only=True))
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:160]
        raise WeightsError(f"The training state '{path}' cannot be read ({reason}).") from None


def write_atomically(path: str | Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, sync it, then rename it into place."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
