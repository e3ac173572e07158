"""Stopping when asked: SIGTERM and SIGINT let the step end and the run be saved."""

import logging
import signal
import threading
from types import FrameType
from typing import Any

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Within it, the first signal sets ``asked``; the second ends the process at once."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopRequest":
        # Handlers can be set in the main thread only; elsewhere signals are the caller's affair.
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._ask) for number in SIGNALS}
        return self

    def __exit__(self, *_exception: object) -> None:
        self._restore()

    def _ask(self, number: int, _frame: FrameType | None) -> None:
        self.asked = True
        self._restore()
        logger.info("%s: saving after this step", signal.Signals(number).name)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
