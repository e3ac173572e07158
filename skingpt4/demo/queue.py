"""A queue in front of the model: who is let in next, and how long the others may have to wait."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from skingpt4.demo.i18n import say
from skingpt4.demo.page import Updates, failure, status
from skingpt4.demo.session import Session

DURATIONS_KEPT = 20
"""Expected waits follow the last so many visits."""

LOOK_SECONDS = 0.25
"""How soon somebody who has given up leaves the queue."""


@dataclass(frozen=True)
class Wait:
    """Where somebody stands.

    Attributes:
        place: 1 is next.
        seconds: How long it will probably take; None while nobody has been through yet.
    """

    place: int
    seconds: int | None


class WaitingRoom:
    """Lets so many in at a time, in the order in which they came.

    Args:
        places: How many may be in at the same time.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._change = threading.Condition()
        self._queue: list[Ticket] = []
        self._durations: deque[float] = deque(maxlen=DURATIONS_KEPT)

    @contextmanager
    def ticket(self) -> Iterator["Ticket"]:
        """Stand in the queue, and then be in, until the end of the ``with`` block."""
        ticket = Ticket(self)
        with self._change:
            self._queue.append(ticket)
        try:
            yield ticket
        finally:
            with self._change:
                self._queue.remove(ticket)
                if ticket.since is not None:
                    self._durations.append(time.monotonic() - ticket.since)
                self._change.notify_all()

    def _look(self, ticket: "Ticket") -> Wait | None:
        """Return where a ticket stands, or None if it is in; the lock must be held."""
        ahead = self._queue.index(ticket)
        if ahead < self._places:
            return None
        place = ahead - self._places + 1
        if not self._durations:
            return Wait(place, None)
        mean = sum(self._durations) / len(self._durations)
        return Wait(place, max(1, round(mean * place / self._places)))


class Ticket:
    """A place in the queue.

    Attributes:
        since: When it was let in, by the monotonic clock; None before.
        has_waited: Whether it was not let in at once.
    """

    def __init__(self, room: WaitingRoom) -> None:
        self._room = room
        self.since: float | None = None
        self.has_waited = False

    def wait(self, given_up: threading.Event) -> Iterator[Wait]:
        """Wait for one's turn; yield where one stands, now and whenever that changes.

        Args:
            given_up: Ends the wait, if set, without being let in.
        """
        last = None
        while not given_up.is_set():
            with self._room._change:
                now = self._room._look(self)
                if now is None:
                    self.since = time.monotonic()
                    return
                if now == last:
                    self._room._change.wait(LOOK_SECONDS)
                    continue
            last, self.has_waited = now, True
            yield now


Steps = Callable[[threading.Event], Iterator[str]]
"""Does the work until the event is set; yields what to tell the visitor after each step."""


def run_job(
    name: str, session: Session, room: WaitingRoom, steps: Steps, show: Callable[[str], Updates]
) -> Iterator[Updates]:
    """Do a job for the session's case, when it is its turn.

    Args:
        name: Of the job; of one name, a case does one at a time.
        session: Whose job it is.
        room: Where to wait for the model.
        steps: The work; what it yields last stays.
        show: Shows how far it is, with a message.
    """
    case = session.case
    if name in case.running:
        yield show(status(say("page.running", session.language)))
        return
    cancel = case.begin(name)
    case.running.add(name)
    message = status("")
    try:
        with room.ticket() as ticket:
            for wait in ticket.wait(cancel):
                yield show(status(queue_sentence(wait, session)))
            for told in steps(cancel):
                message = status(told)
                if case is session.case:
                    yield show(message)
    except Exception as error:
        message = failure(error, session.language)
    finally:
        case.running.discard(name)
    if cancel.is_set():
        message = status(say("page.cancelled", session.language))
    if case is not session.case:
        message = status("")
    yield show(message)


def queue_sentence(wait: Wait, session: Session) -> str:
    """Tell a visitor where they stand in the queue."""
    if wait.seconds is None:
        return say("page.queue", session.language, place=wait.place)
    return say("page.queue_seconds", session.language, place=wait.place, seconds=wait.seconds)
