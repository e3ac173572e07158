"""What the page's panels have in common: the visitors, what to show of them, how jobs are begun.

A panel is a file of ``features/`` with a subclass of :class:`Panel`, ``lay_out(...)``, which makes
its components, and ``wire(...)``, which says what each click does. A panel changes other panels
only through :meth:`Page.show`, which asks each what it shows of a session now.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from skingpt4.demo.i18n import language_of
from skingpt4.demo.queue import WaitingRoom, run_job
from skingpt4.demo.session import Session, Sessions

# Settings of every event: none is offered as an API.
PRIVATE: dict[str, Any] = {"api_visibility": "private"}

# Settings of an event that takes no time and waits for nobody.
AT_ONCE: dict[str, Any] = PRIVATE | {"queue": False, "show_progress": "hidden"}

# Settings of every event that gives out :meth:`Page.show`: its values go to the browser as they
# are. A photo, `{"url": "data:image/jpeg;base64,…"}`, is thus shown without a file on the disk.
SHOWING: dict[str, Any] = {"postprocess": False}

# Moves the focus to a button, for what was pressed is about to be hidden.
FOCUS = "() => document.getElementById('{button}').focus()"

# Visitors whose job of one name is done or waits; each takes a thread of the server.
JOBS_WAITING = 8

# What is to change on the page: a new value, or `gr.update(...)`, by component.
Updates = dict[Any, Any]


@dataclass(frozen=True)
class Panel:
    """A part of the page: its components.

    Attributes:
        outputs: Components that :meth:`show` may change.
    """

    outputs: Sequence[Any]

    def show(self, session: Session) -> Updates:
        """Tell how the panel looks for a session as it is now, in the browser's own values."""
        raise NotImplementedError


@dataclass(frozen=True)
class Page:
    """The page, for the actions of its panels.

    Attributes:
        sessions: The visitors.
        status: The line under the conversation.
        panels: Every panel that shows something of a session.
    """

    sessions: Sessions
    status: gr.HTML
    panels: tuple[Panel, ...]

    @property
    def outputs(self) -> list[Any]:
        """Every component that :meth:`show` may change."""
        return [self.status, *(part for panel in self.panels for part in panel.outputs)]

    def session(self, request: gr.Request) -> Session:
        """Return the session of the tab that a request comes from, and note its language."""
        session = self.sessions.get(str(request.session_hash))
        # Noted at every request: a tab's language can change with a reload.
        session.language = language_of(request)
        return session

    def show(self, session: Session, message: str | None = None) -> Updates:
        """Show a session in every panel and, if given, a message in the line of status.

        To be returned by each action that adds or removes photos or what was said.
        """
        updates: Updates = {} if message is None else {self.status: message}
        for panel in self.panels:
            updates |= panel.show(session)
        return updates


def wire_job(
    panel: Panel,
    page: Page,
    name: str,
    room: WaitingRoom,
    buttons: tuple[gr.Button, gr.Button],
    inputs: Sequence[Any],
    steps: Callable[..., Iterator[str]],
) -> None:
    """Let one button begin a job that the panel shows, and another stop it.

    Args:
        panel: Shows how far the job is.
        page: Knows the visitors.
        name: Of the job.
        room: Where the visitors wait for the model.
        buttons: The one that begins, and the one that stops.
        inputs: Components whose values the job gets.
        steps: Takes the session, the values and what is set to end the job; see `run_job`.
    """

    def begin(request: gr.Request, *given: Any) -> Iterator[Updates]:
        session = page.session(request)
        # Shown whole at each step, so that a panel never has to say what has changed.
        for _ in run_job(name, session, room, partial(steps, session, *given)):
            yield panel.show(session)

    def stop(request: gr.Request) -> None:
        page.session(request).case.end(name)

    # Actions of a page are told apart by name, and both jobs' would be the same.
    begin.__name__ = f"begin_{name}"
    buttons[0].click(
        begin,
        inputs,
        panel.outputs,
        concurrency_id=name,
        concurrency_limit=JOBS_WAITING,
        show_progress="hidden",
        **PRIVATE,
        **SHOWING,
    )
    buttons[1].click(stop, None, None, **AT_ONCE)
