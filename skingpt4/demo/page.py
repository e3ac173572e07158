"""What the page's panels have in common: the visitors, what to show of them, how jobs are begun.

A panel is a file of ``features/`` with a subclass of :class:`Panel`, ``lay_out(...)``, which makes
its components, and ``wire(...)``, which says what each click does. An action changes the session;
what the page looks like then is told by :meth:`Page.show`, which asks each panel. The browser asks
for it after each action, and again and again while something is under way (``page.js``), so that
a reload or a lost connection costs nothing and no request ever waits for an answer to be written.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from skingpt4.demo.address import ROOT_PATH
from skingpt4.demo.queue import WaitingRoom, run_job, start_job
from skingpt4.demo.session import Session, Sessions

# Settings of every event: none is offered as an API.
PRIVATE: dict[str, Any] = {"api_visibility": "private"}

# Settings of an event that takes no time and waits for nobody.
AT_ONCE: dict[str, Any] = PRIVATE | {"queue": False, "show_progress": "hidden"}

# Settings of every event that gives out :meth:`Page.show`: its values go to the browser as they
# are. Gradio's own way would write each picture to the disk.
SHOWING: dict[str, Any] = {"postprocess": False}

# Moves the focus to a button, for the one pressed is about to be hidden.
FOCUS = "() => document.getElementById('{button}').focus()"

# A tab's key: 128 random bits or more.
KEY = re.compile(r"[\w-]{22,64}")

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
        """Tell how the panel looks for a session as it is now, in the browser's own values.

        The same session looks the same: what a browser has already is not sent to it again.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Page:
    """The page, for the actions of its panels.

    Attributes:
        sessions: The visitors.
        status: The line above the composer.
        version: Holds the version of the session that the page shows; hidden.
        panels: Every panel that shows something of a session.
    """

    sessions: Sessions
    status: gr.HTML
    version: gr.HTML
    panels: tuple[Panel, ...]

    def session(self, request: gr.Request) -> Session:
        """Return the session of the tab that a request comes from.

        Raises:
            gr.Error: If there is none: the server has restarted, or the tab was silent for too
                long. The page's script then says so and leaves what is on the screen.
        """
        view = self.sessions.views.get(str(request.session_hash))
        session = self.sessions.get(view.key) if view else None
        if session is None:
            raise gr.Error("This conversation has ended.", print_exception=False)
        return session

    def show(self, session: Session, message: str | None = None) -> Updates:
        """Show a session in every panel and, if given, a message in the line of status."""
        if message is not None:
            session.changed(message)
        # The version first: what changes meanwhile makes a newer one, which is asked for again.
        updates: Updates = {self.version: str(session.version), self.status: session.message}
        for panel in self.panels:
            updates |= panel.show(session)
        return updates

    def enter(self, entry: str, request: gr.Request) -> Updates:
        """Show a page that has just been loaded, or found its way back, everything of its tab.

        Args:
            entry: As JSON: the tab's ``key``, the page's ``language`` and its ``root``, the path
                under which the browser finds it.
            request: Of the page.
        """
        try:
            given = json.loads(entry)
        except (TypeError, ValueError):
            given = None
        if not isinstance(given, dict) or not KEY.fullmatch(str(given.get("key"))):
            raise gr.Error("The tab gave no key.", print_exception=False)
        session = self.sessions.enter(str(request.session_hash), given["key"])
        session.language = "zh" if given.get("language") == "zh" else "en"
        session.root = given["root"] if ROOT_PATH.fullmatch(str(given.get("root"))) else ""
        session.changed()
        return self.refresh("", request)

    def refresh(self, version: str, request: gr.Request) -> Updates:
        """Show what is new since a version that the browser has."""
        session, view = self.session(request), self.sessions.views[str(request.session_hash)]
        updates = self.show(session)
        # An answer can get lost on its way, or be overtaken: then everything is sent again.
        known = view.shown if version == str(view.version) else {}
        view.shown, view.version = updates, int(updates[self.version])
        # What stands in the page because a person put it there is in no need of being sent.
        view.written = {k: v for k, v in view.written.items() if k in updates and updates[k] == v}
        known = known | view.written
        return {
            part: value
            for part, value in updates.items()
            if part is self.version or part not in known or known[part] != value
        }

    def note(self, request: gr.Request, written: Updates) -> None:
        """Note what a person has put into parts: it is not sent back to who writes on in them."""
        view = self.sessions.views[str(request.session_hash)]
        view.written = view.written | written


def wire_news(app: gr.Blocks, page: Page) -> None:
    """Let the page's script ask for what there is to show, by parts that nobody sees."""
    entry = gr.Textbox(visible="hidden", elem_id="entry")
    enter = gr.Button(visible="hidden", elem_id="enter")
    refresh = gr.Button(visible="hidden", elem_id="refresh")
    parts = [page.status, page.version, *(part for one in page.panels for part in one.outputs)]
    shown: dict[str, Any] = {"outputs": parts} | AT_ONCE | SHOWING
    key = "() => window.skingpt4.entry()"
    gr.on([app.load, enter.click], page.enter, [entry], js=key, **shown)
    refresh.click(page.refresh, [page.version], **shown)


def wire_job(
    page: Page,
    name: str,
    room: WaitingRoom,
    buttons: tuple[gr.Button, gr.Button],
    inputs: Sequence[Any],
    steps: Callable[..., Iterator[str]],
) -> None:
    """Let one button begin a job that a panel shows, and another stop it.

    Args:
        page: Knows the visitors.
        name: Of the job.
        room: Where the visitors wait for the model.
        buttons: The one that begins, and the one that stops.
        inputs: Components whose values the job gets.
        steps: Takes the session, the values and what is set to end the job; yields sentences.
    """

    def begin(request: gr.Request, *given: Any) -> None:
        # What changes is sent as all news is: sent from here, it would be nobody's to take back.
        session = page.session(request)
        start_job(session, name, run_job(name, session, room, partial(steps, session, *given)))

    def stop(request: gr.Request) -> None:
        page.session(request).case.end(name)

    # Actions of a page are told apart by name, and both jobs' would be the same.
    begin.__name__ = f"begin_{name}"
    buttons[0].click(begin, inputs, None, **AT_ONCE)
    buttons[1].click(stop, None, None, **AT_ONCE)
