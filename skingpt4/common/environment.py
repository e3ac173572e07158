"""Where and from what a run was made: packages, hardware, git."""

import os
import platform
import subprocess
import sys
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from skingpt4.common.config import PROJECT_ROOT

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

# What distributed launchers and torch's own switches set; nothing else of the environment is kept.
VARIABLES = ("WORLD_SIZE", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "PYTORCH_CUDA_ALLOC_CONF")


def versions(packages: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    """Return the versions of those packages that are installed."""
    return {name: found for name in packages if (found := _version(name))}


def describe_environment(processes: int) -> dict[str, Any]:
    """Return what a reader needs to judge or repeat a run.

    Args:
        processes: How many processes train.
    """
    return {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": versions(),
        "devices": _devices(),
        "processes": processes,
        "threads": torch.get_num_threads(),
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        "git": git_state(),
        "arguments": sys.argv[1:],
    }


def git_state() -> dict[str, Any]:
    """Return the project's commit and the files changed since; empty outside a repository."""
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return {}
    changed = _git("status", "--porcelain") or ""
    return {"commit": commit, "changed": [line[3:] for line in changed.splitlines()]}


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.rstrip() if done.returncode == 0 else None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _devices() -> list[str]:
    if not torch.cuda.is_available():
        return [f"{platform.machine()} CPU, {os.cpu_count()} cores"]
    return [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
