"""Asynchronous work, followed from ordinary threads."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Generator
from queue import Empty, SimpleQueue
from typing import Any, TypeVar, cast

from skingpt4.conversation.engines.worker import POLL_SECONDS

T = TypeVar("T")


class BackgroundLoop:
    """An event loop in a thread of its own, shared by all who follow work on it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="skingpt4-http", daemon=True).start()

    def follow(
        self,
        work: Callable[[Callable[[T], None]], Coroutine[Any, Any, None]],
        cancel: threading.Event | None = None,
    ) -> Generator[T, None, None]:
        """Yield what ``work`` puts, until it ends; raise what it raises.

        Setting ``cancel``, or closing the iterator, cancels the work at whatever it waits for.

        Args:
            work: Starts the coroutine, given the function that takes its items.
            cancel: Ends the iteration when set, from any thread.
        """
        end = object()
        items: SimpleQueue[T | object] = SimpleQueue()
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
                    break
                yield cast(T, item)
            else:
                return
            future.result()
        finally:
            future.cancel()
            # What it raised holds this frame, which would hold it in turn.
            del future
