"""Long work for a visitor: in a thread of its own, and in a queue in front of the model."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from skingpt4.demo.i18n import failure, say, status

if TYPE_CHECKING:
    from skingpt4.demo.session import Session

# Expected waits follow the last so many visits.
DURATIONS_KEPT = 20

# Answers, opinions and maps under way or waiting; each has a thread of its own.
JOBS_AT_MOST = 64

_SLOTS = threading.BoundedSemaphore(JOBS_AT_MOST)

# How soon a visitor who has given up leaves the queue.
LOOK_SECONDS = 0.25


@dataclass(frozen=True)
class Wait:
    """Where a visitor stands.

    Attributes:
        place: 1 is next.
        seconds: How long it will probably take; None while nobody has been through yet.
    """

    place: int
    seconds: int | None


@dataclass(eq=False)
class WaitingRoom:
    """Lets so many in at a time, in the order in which they came.

    Attributes:
        places: How many may be in at the same time.
        change: Guards the others, and is notified when a visitor leaves.
        queue: Those who are in, then those who wait.
        durations: Of the last visits, in seconds.
    """

    places: int
    change: threading.Condition = field(default_factory=threading.Condition)
    queue: list["Ticket"] = field(default_factory=list)
    durations: deque[float] = field(default_factory=lambda: deque(maxlen=DURATIONS_KEPT))

    @contextmanager
    def ticket(self) -> Iterator["Ticket"]:
        """Stand in the queue, and then be in, until the end of the ``with`` block."""
        ticket = Ticket(self)
        with self.change:
            self.queue.append(ticket)
        try:
            yield ticket
        finally:
            with self.change:
                self.queue.remove(ticket)
                # Those who gave up say nothing about how long a visit takes.
                if ticket.since is not None:
                    self.durations.append(time.monotonic() - ticket.since)
                self.change.notify_all()


@dataclass(eq=False)
class Ticket:
    """A place in the queue.

    Attributes:
        room: Whose queue it is.
        since: When it was let in, by the monotonic clock; None before.
    """

    room: WaitingRoom
    since: float | None = None

    def wait(self, given_up: threading.Event) -> Iterator[Wait]:
        """Wait for one's turn; yield where one stands, now and whenever that changes.

        Args:
            given_up: Ends the wait, if set, without being let in.
        """
        room, last = self.room, None
        while not given_up.is_set():
            with room.change:
                # The first `places` of the queue are in; the others stand behind them.
                place = room.queue.index(self) - room.places + 1
                if place <= 0:
                    self.since = time.monotonic()
                    return
                seconds = None
                if room.durations:
                    mean = sum(room.durations) / len(room.durations)
                    seconds = max(1, round(mean * place / room.places))
                now = Wait(place, seconds)
                if now == last:
                    # With a limit, because nobody notifies the condition when a visitor gives up.
                    room.change.wait(LOOK_SECONDS)
                    continue
            # Without the lock: what reads this may take as long as it likes.
            last = now
            yield now


# Does the work until the event is set; yields what to tell the visitor after each step.
Steps = Callable[[threading.Event], Iterator[str]]


def start_job(session: "Session", name: str, job: Iterator[None]) -> bool:
    """Run a job (see :func:`run_job`) in a thread of its own: no page has to stay for it.

    Returns:
        Whether there was room for it; if not, the visitor is told.
    """
    if not _SLOTS.acquire(blocking=False):
        session.changed(status(say("page.full", session.language)))
        return False

    def work() -> None:
        try:
            for _ in job:
                session.changed()
        finally:
            _SLOTS.release()
            session.changed()
            # Only now: a page that finds nobody at work has the last version, and stops looking.
            session.workers.discard(worker)

    # A daemon: the end of the program does not wait for the end of an answer.
    worker = threading.Thread(target=work, name=name, daemon=True)
    next(job)
    session.workers.add(worker)
    worker.start()
    return True


def run_job(
    name: str,
    session: "Session",
    room: WaitingRoom | None,
    steps: Steps,
    tell: Callable[[str], None] | None = None,
) -> Iterator[None]:
    """Do a job for the session's case when it is its turn.

    Args:
        name: Of the job; of one name, a case does one at a time.
        session: Whose job it is.
        room: Where to wait for the model; None if the steps do that themselves.
        steps: The work; what it yields last stays.
        tell: Takes each sentence, as HTML; by default ``case.told[name]`` holds the last one.

    Yields:
        None, as soon as it counts as under way, and whenever there is something new to show.
    """
    case = session.case
    tell = tell or partial(case.told.__setitem__, name)
    if name in case.running:
        tell(status(say("page.running", session.language)))
        yield
        return
    cancel = case.begin(name)
    case.running.add(name)
    yield
    message = ""
    try:
        with room.ticket() if room else nullcontext() as ticket:
            for wait in ticket.wait(cancel) if ticket else ():
                tell(status(queue_sentence(wait, session)))
                yield
            # Who gave up waiting has not been let in.
            for sentence in () if cancel.is_set() else steps(cancel):
                # Said once, so that what is told meanwhile of something else stays to be read.
                if status(sentence) != message:
                    message = status(sentence)
                    tell(message)
                yield
    except Exception as error:
        message = failure(error, session.language)
    finally:
        case.running.discard(name)
    tell(status(say("page.cancelled", session.language)) if cancel.is_set() else message)
    yield


def queue_sentence(wait: Wait, session: "Session") -> str:
    """Tell a visitor where they stand in the queue."""
    if wait.seconds is None:
        return say("page.queue", session.language, place=wait.place)
    return say("page.queue_seconds", session.language, place=wait.place, seconds=wait.seconds)
