"""``evaluate.py run --check``: what every system needs, before any of them is loaded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from skingpt4.common.config import Config
from skingpt4.evaluation.systems import System
from skingpt4.tasks.preflight import preflight
from skingpt4.tasks.report import Report


@dataclass(frozen=True)
class SystemsReport:
    """What a check found, by system."""

    reports: Mapping[str, Report]

    @property
    def ok(self) -> bool:
        """Tell whether every system can answer."""
        return all(report.ok for report in self.reports.values())

    def table(self) -> str:
        """Return each system's findings under its name."""
        return "\n\n".join(f"{name}\n\n{r.table()}" for name, r in self.reports.items())


def check_systems(systems: Sequence[System], device: torch.device) -> SystemsReport:
    """Check everything that the systems need on a device; no weights are loaded.

    Raises:
        ConfigError: If a system's config is wrong.
    """
    return SystemsReport(
        {
            system.name: preflight(Config.load(system.cfg_path, system.options), device)
            for system in systems
        }
    )
