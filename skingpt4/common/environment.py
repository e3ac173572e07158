"""From what and on what something was made: packages, hardware, git."""

import os
import platform
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from skingpt4.common.files import PROJECT_ROOT
from skingpt4.common.schema import ModelConfig

PACKAGES = (
    "skingpt4",
    "torch",
    "torchvision",
    "transformers",
    "tokenizers",
    "timm",
    "accelerate",
    "bitsandbytes",
    "numpy",
    "pillow",
    "webdataset",
)


def versions() -> dict[str, str]:
    """Return the versions of those ``PACKAGES`` that are installed."""
    found = {}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def model_name(config: ModelConfig) -> str:
    """Name what wrote the answers: this software's version, the language model, the checkpoint."""
    # Only the last part of a path: where it lies on this machine is nobody's business.
    parts = [Path(part).name for part in (config.llm_model, config.ckpt) if part]
    return ", ".join([f"SkinGPT-4 {version('skingpt4')}", *parts])


def describe_environment(processes: int) -> dict[str, Any]:
    """Return what changes times and, in half precision, the last digits or rare words.

    Nothing in it says who ran it, when or where, so that equal environments compare equal.

    Args:
        processes: How many processes share the work.
    """
    # CUDA may be there and unused; a run on the CPU says so in its config.
    devices = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": versions(),
        "devices": devices or [f"{platform.machine()} CPU, {os.cpu_count()} cores"],
        "processes": processes,
        "threads": torch.get_num_threads(),
    }


def git_state() -> dict[str, Any]:
    """Return the project's commit and the files changed since; empty outside a repository."""
    said = []
    for arguments in (["rev-parse", "HEAD"], ["status", "--porcelain"]):
        try:
            done = subprocess.run(
                ["git", *arguments],
                cwd=PROJECT_ROOT,
                capture_output=True,
                text=True,
                timeout=10,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            return {}
        said.append(done.stdout.rstrip())
    commit, changed = said
    return {"commit": commit, "changed": [line[3:] for line in changed.splitlines()]}
