"""Runners: the training loop."""

from skingpt4.runners.runner_base import RunnerBase

__all__ = ["RunnerBase"]
