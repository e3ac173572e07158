"""Work in a thread of its own, iterated item by item."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Executor, ThreadPoolExecutor, wait
from contextlib import nullcontext
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, TypeVar, cast

ItemT = TypeVar("ItemT")

# How soon a reader that waits for the next item sees that it was cancelled.
POLL_SECONDS = 0.05


# Makes a single thread that generates.
new_worker = partial(ThreadPoolExecutor, max_workers=1, thread_name_prefix="skingpt4-generate")


def iterate_in_thread(
    work: Callable[[Callable[[ItemT], None], Callable[[], bool]], None],
    worker: Executor | None = None,
    cancel: threading.Event | None = None,
) -> Generator[ItemT, None, None]:
    """Yield what ``work`` puts, until it ends; raise what it raises.

    Args:
        work: Called with the function that takes its items, and with one that tells whether
            ``cancel`` is set or this generator closed, upon which it should end; closing waits
            for that.
        worker: Runs it; by default a thread of its own.
        cancel: Once set, work that still waits for its worker is not begun.
    """
    end = object()
    items: SimpleQueue[object] = SimpleQueue()
    closed = threading.Event()
    events = [closed] if cancel is None else [closed, cancel]
    with nullcontext(worker) if worker else new_worker() as runner:
        future = runner.submit(work, items.put, lambda: any(event.is_set() for event in events))
        # Wakes the reader however the work ended, so that it never waits for nothing.
        future.add_done_callback(lambda _: items.put(end))
        try:
            while True:
                try:
                    item = items.get(timeout=None if cancel is None else POLL_SECONDS)
                except Empty:
                    if cancel is not None and cancel.is_set():
                        future.cancel()  # does nothing once the work has begun
                    continue
                if item is end:
                    break
                yield cast(ItemT, item)
        finally:
            closed.set()
            if not future.cancel():
                wait([future])
    try:
        if not future.cancelled():
            future.result()
    finally:
        # What it raised holds this frame: without this, its memory would wait for the collector.
        del future


def iterate_on_loop(
    loop: asyncio.AbstractEventLoop,
    work: Callable[[Callable[[ItemT], None]], Coroutine[Any, Any, None]],
    cancel: threading.Event | None = None,
) -> Generator[ItemT, None, None]:
    """Yield what ``work`` puts, until it ends; raise what it raises.

    Setting ``cancel``, or closing the generator, cancels the work at whatever it waits for.

    Args:
        loop: Runs in another thread.
        work: Starts the coroutine, given the function that takes its items.
        cancel: Ends the iteration when set, from any thread.
    """
    end = object()
    items: SimpleQueue[object] = SimpleQueue()
    future = asyncio.run_coroutine_threadsafe(work(items.put), loop)
    # Wakes the reader however the work ended.
    future.add_done_callback(lambda _: items.put(end))
    try:
        while cancel is None or not cancel.is_set():
            try:
                item = items.get(timeout=None if cancel is None else POLL_SECONDS)
            except Empty:
                continue
            if item is end:
                future.result()
                return
            yield cast(ItemT, item)
    finally:
        future.cancel()
        # What it raised holds this frame, which would hold it in turn.
        del future
