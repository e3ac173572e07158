"""Work beside the conversation: in its turn, with progress, and ended when its case is."""

import threading
from collections.abc import Callable, Iterator

from skingpt4.demo.i18n import say
from skingpt4.demo.page import Updates, failure, status
from skingpt4.demo.session import Session
from skingpt4.demo.waiting import Wait, WaitingRoom

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
