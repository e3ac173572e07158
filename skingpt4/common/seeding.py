"""Random numbers that follow from what is drawn, not from when it is drawn or by which process.

That is what makes a resumed run the same run: nothing has to be replayed but what is in
:func:`rng_state`.
"""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

# numpy takes seeds below this.
NUMPY_SEEDS = 2**32


def derive_seed(*parts: object) -> int:
    """Return a seed in [0, 2⁶³) that differs wherever a part does."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def rng_state() -> dict[str, Any]:
    """Return the states of python's, numpy's and torch's generators, as plain data and tensors."""
    kind, keys, *rest = np.random.get_state()
    state = {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(np.asarray(keys, dtype=np.int64)), *rest),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_rng_state(state: dict[str, Any]) -> None:
    """Put back what :func:`rng_state` returned."""
    random.setstate(state["python"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


@contextmanager
def seeded(*parts: object) -> Iterator[None]:
    """Seed python, numpy and torch (on the CPU) by ``parts``; put them back afterwards."""
    seed = derive_seed(*parts)
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed % NUMPY_SEEDS)
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])
