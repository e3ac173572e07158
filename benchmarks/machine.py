"""What this machine can do at best, and what a process took of it; for the scripts beside it."""

import resource
import sys
import time
from collections.abc import Callable

import torch

GIGABYTE = 1e9
COPIED_BYTES = 2**30
MATRIX = {"cuda": 8192}
CPU_MATRIX = 2048
# getrusage counts kibibytes on Linux, bytes on a Mac.
RUSAGE_UNIT = 1 if sys.platform == "darwin" else 1024


def finish(device: torch.device) -> None:
    """Wait until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def fastest(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Return the seconds of the fastest of several repeats, after one that does not count."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        work()
        finish(device)
        times.append(time.perf_counter() - start)
    return min(times[1:])


def copy_bandwidth(device: torch.device, size: int = COPIED_BYTES, repeats: int = 5) -> float:
    """Return the gigabytes a second that a copy reads and writes."""
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / fastest(lambda: target.copy_(source), device, repeats) / GIGABYTE


def matrix_rate(device: torch.device, dtype: torch.dtype, repeats: int = 7) -> float:
    """Return the FLOPs a second of a large square matrix product."""
    n = MATRIX.get(device.type, CPU_MATRIX)
    a = torch.randn(n, n, device=device, dtype=dtype)
    return float(2 * n**3 / fastest(lambda: a @ a, device, repeats))


def process_peak() -> float:
    """Return this process's highest memory so far, in gigabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RUSAGE_UNIT / GIGABYTE


def peak_gigabytes(device: torch.device) -> float:
    """Return the highest memory in gigabytes: a GPU's since its reset, else the process's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / GIGABYTE
    return process_peak()
