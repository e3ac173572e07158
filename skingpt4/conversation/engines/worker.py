"""Work in a thread of its own, followed item by item."""

import threading
from collections.abc import Callable, Generator
from concurrent.futures import Executor, ThreadPoolExecutor, wait
from contextlib import nullcontext
from queue import SimpleQueue
from typing import TypeVar, cast

Item = TypeVar("Item")


def follow(
    work: Callable[[Callable[[Item], None], threading.Event], None],
    worker: Executor | None = None,
) -> Generator[Item, None, None]:
    """Yield what ``work`` puts, until it ends; raise what it raises.

    Args:
        work: Called with the function that takes its items, and with an event that is set when
            this generator is closed, upon which it should end; closing waits for that.
        worker: Runs it; by default a thread of its own.
    """
    end = object()
    items: SimpleQueue[object] = SimpleQueue()
    closed = threading.Event()
    with nullcontext(worker) if worker else new_worker() as runner:
        future = runner.submit(work, items.put, closed)
        # Wakes the reader however the work ended, so that it never waits for nothing.
        future.add_done_callback(lambda _: items.put(end))
        try:
            for item in iter(items.get, end):
                yield cast(Item, item)
        finally:
            closed.set()
            wait([future])
    future.result()


def new_worker() -> Executor:
    """Return a single thread that generates."""
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="skingpt4-generate")
