"""Runners: the training loop."""

# A run names its task, which is registered when it is imported.
import skingpt4.tasks  # noqa: F401
from skingpt4.runners.runner_base import RunnerBase

__all__ = ["RunnerBase"]
