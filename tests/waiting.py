"""What runs beside a test: waiting for a state of it, never for a time, and a port of its own."""

import socket
import time
from collections.abc import Callable

POLL_SECONDS = 0.1


def wait_for(is_so: Callable[[], object], seconds: float = 120, times: int = 1) -> None:
    """Wait until something holds, so many times in a row when looked at ten times a second.

    Args:
        is_so: Looks.
        seconds: After which it is an error.
        times: How often in a row it must hold.
    """
    deadline, held = time.monotonic() + seconds, 0
    while held < times:
        held = held + 1 if is_so() else 0
        assert held or time.monotonic() < deadline, f"not so after {seconds} s"
        if held < times:
            time.sleep(POLL_SECONDS)


def free_port() -> int:
    """Return a port that nobody listens at: two runs on one machine do not meet."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
