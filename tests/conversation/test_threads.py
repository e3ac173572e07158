"""Work in a thread of its own: what it raises is let go, and what has not begun is not begun."""

import gc
import threading
import weakref

import pytest

from skingpt4.conversation.engines.threads import iterate_in_thread, new_worker


class Large:
    """What takes much memory."""


def test_an_error_leaves_nothing_for_the_collector():
    held = []

    def work(put, ended):
        large = Large()
        held.append(weakref.ref(large))
        raise MemoryError

    gc.collect()
    gc.disable()
    try:
        with pytest.raises(MemoryError):
            list(iterate_in_thread(work))
        # pytest keeps the last error; a page does not.
        with pytest.raises(ValueError, match="another"):
            raise ValueError("another")
        assert held[0]() is None
    finally:
        gc.enable()


def test_what_waits_for_its_worker_can_be_cancelled():
    worker, go, cancel, begun = new_worker(), threading.Event(), threading.Event(), []
    first = iterate_in_thread(lambda put, ended: (put(1), go.wait(10)), worker)
    assert next(first) == 1
    second = iterate_in_thread(lambda put, ended: begun.append(1), worker, cancel)
    threading.Timer(0.2, cancel.set).start()
    assert list(second) == []
    assert not go.is_set()
    go.set()
    assert list(first) == []
    worker.shutdown()
    assert begun == []
