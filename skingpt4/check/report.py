"""What ``--check`` found, as a table for people."""

from collections.abc import Sequence
from dataclasses import dataclass

from skingpt4.check.memory import PartPlan

OK, NOTE, MISSING, WRONG = "ok", "note", "MISSING", "WRONG"

# A conversation of this many tokens is counted in the memory that a run needs.
PLANNED_TOKENS = 1000


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    part: str
    state: str
    text: str


@dataclass(frozen=True)
class Report:
    """What a check found.

    Attributes:
        findings: In the order of the parts.
        plan: Memory by part; empty where the model cannot be described.
        cache: Gigabytes of key-value cache per 1000 tokens.
        free: Gigabytes free where the model will stand.
        tables: Further tables, as text.
    """

    findings: Sequence[Finding]
    plan: Sequence[PartPlan] = ()
    cache: float = 0.0
    free: float = 0.0
    tables: Sequence[str] = ()

    @property
    def ok(self) -> bool:
        """Tell whether nothing is missing or wrong."""
        return all(finding.state in (OK, NOTE) for finding in self.findings)

    def table(self) -> str:
        """Return the findings, the memory plan and the verdict as text."""
        rows = [("part", "state", "finding")]
        rows += [(finding.part, finding.state, finding.text) for finding in self.findings]
        blocks = [aligned(rows), *self.tables, self._plan_table(), self._verdict()]
        return "\n\n".join(block for block in blocks if block)

    def _plan_table(self) -> str:
        if not self.plan:
            return ""
        rows = [("memory plan", "parameters", "dtype", "GB")]
        rows += [
            (part.part, f"{part.parameters:,}", part.dtype, f"{part.gigabytes:.2f}")
            for part in self.plan
        ]
        total = sum(part.gigabytes for part in self.plan)
        rows += [
            ("all parts", f"{sum(part.parameters for part in self.plan):,}", "", f"{total:.2f}"),
            (f"KV cache per {PLANNED_TOKENS} tokens", "", "", f"{self.cache:.2f}"),
            ("free", "", "", f"{self.free:.2f}"),
        ]
        return aligned(rows, right=(1, 3))

    def _verdict(self) -> str:
        if self.ok:
            return "Ready."
        states = [finding.state for finding in self.findings]
        return f"Not ready: {states.count(MISSING)} missing, {states.count(WRONG)} wrong."


def aligned(rows: Sequence[tuple[str, ...]], right: Sequence[int] = ()) -> str:
    """Lay rows out in columns; the columns in ``right`` are aligned there."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
