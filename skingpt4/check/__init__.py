"""Checks before a run: weights, memory and data, told before anything is loaded.

A check collects findings, one line each, and goes on; nothing here raises for what is missing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

# Those in capitals keep a run from starting.
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
class PartPlan:
    """One line of the memory plan.

    Attributes:
        part: Name of the part.
        parameters: How many numbers it holds.
        dtype: How they are stored, as a reader names it.
        gigabytes: Memory they take, in units of 10⁹ bytes.
    """

    part: str
    parameters: int
    dtype: str
    gigabytes: float


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
        """Whether nothing is missing or wrong."""
        return all(finding.state in (OK, NOTE) for finding in self.findings)

    def table(self) -> str:
        """Return the findings, the memory plan and the verdict as text."""
        rows = [("part", "state", "finding")]
        rows += [(finding.part, finding.state, finding.text) for finding in self.findings]
        blocks = [aligned(rows), *self.tables]
        if self.plan:
            parameters = sum(part.parameters for part in self.plan)
            gigabytes = sum(part.gigabytes for part in self.plan)
            memory = [("memory plan", "parameters", "dtype", "GB")]
            memory += [
                (part.part, f"{part.parameters:,}", part.dtype, f"{part.gigabytes:.2f}")
                for part in self.plan
            ]
            memory += [
                ("all parts", f"{parameters:,}", "", f"{gigabytes:.2f}"),
                (f"KV cache per {PLANNED_TOKENS} tokens", "", "", f"{self.cache:.2f}"),
                ("free", "", "", f"{self.free:.2f}"),
            ]
            blocks.append(aligned(memory, right=(1, 3)))
        states = [finding.state for finding in self.findings]
        counts = f"{states.count(MISSING)} missing, {states.count(WRONG)} wrong"
        blocks.append("Ready." if self.ok else f"Not ready: {counts}.")
        return "\n\n".join(blocks)


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
