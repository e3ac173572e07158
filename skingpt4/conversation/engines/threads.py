"""Work in a thread of its own, iterated item by item."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Executor, ThreadPoolExecutor, wait
from contextlib import nullcontext
from queue import Empty, SimpleQueue
from typing import Any, TypeVar, cast

Item = TypeVar("Item")

# How soon a reader that waits for the next item sees that it was cancelled.
POLL_SECONDS = 0.05


def new_worker() -> Executor:
    """Return a single thread that generates."""
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="skingpt4-generate")


def iterate_in_thread(
    work: Callable[[Callable[[Item], None], Callable[[], bool]], None],
    worker: Executor | None = None,
    cancel: threading.Event | None = None,
) -> Generator[Item, None, None]:
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

    def ended() -> bool:
        return closed.is_set() or (cancel is not None and cancel.is_set())

    with nullcontext(worker) if worker else new_worker() as runner:
        future = runner.submit(work, items.put, ended)
        # Wakes the reader however the work ended, so that it never waits for nothing.
        future.add_done_callback(lambda _: items.put(end))
        try:
            while True:
                try:
                    item = items.get(timeout=None if cancel is None else POLL_SECONDS)
                except Empty:
                    if ended():
                        future.cancel()  # does nothing once the work has begun
                    continue
                if item is end:
                    break
                yield cast(Item, item)
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


class BackgroundLoop:
    """An event loop in a thread of its own, shared by all who iterate over work on it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="skingpt4-http", daemon=True).start()

    def iterate(
        self,
        work: Callable[[Callable[[Item], None]], Coroutine[Any, Any, None]],
        cancel: threading.Event | None = None,
    ) -> Generator[Item, None, None]:
        """Yield what ``work`` puts, until it ends; raise what it raises.

        Setting ``cancel``, or closing the iterator, cancels the work at whatever it waits for.

        Args:
            work: Starts the coroutine, given the function that takes its items.
            cancel: Ends the iteration when set, from any thread.
        """
        end = object()
        items: SimpleQueue[object] = SimpleQueue()
        future = asyncio.run_coroutine_threadsafe(work(items.put), self._loop)
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
                yield cast(Item, item)
        finally:
            future.cancel()
            # What it raised holds this frame, which would hold it in turn.
            del future
