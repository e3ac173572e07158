"""What the page's panels have in common: the visitors, what to show of them, how to fail politely.

A panel is a file of ``panels/`` with a dataclass of its components, ``lay_out(...)``, which makes
them, and ``wire(...)``, which says what each click does. A panel changes other panels only through
:meth:`Page.show`, which asks each what it shows of a session now.
"""

import logging
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Protocol

import gradio as gr

from skingpt4.common.errors import UserError
from skingpt4.demo.i18n import Language, language_of, say
from skingpt4.demo.session import Session, Sessions

logger = logging.getLogger(__name__)

PRIVATE: dict[str, Any] = {"api_visibility": "private"}
"""Settings of every event: none is offered as an API."""

AT_ONCE: dict[str, Any] = PRIVATE | {"queue": False, "show_progress": "hidden"}
"""Settings of an event that takes no time and waits for nobody."""

SHOWING: dict[str, Any] = {"postprocess": False}
"""Settings of every event that gives out :meth:`Page.show`: its values go to the browser as they
are. A photo, ``{"url": "data:image/jpeg;base64,…"}``, is thus shown without a file on the disk."""

Updates = dict[Any, Any]
"""What is to change on the page: a new value, or ``gr.update(...)``, by component."""


class Panel(Protocol):
    """A part of the page."""

    @property
    def outputs(self) -> Sequence[Any]:
        """Components that :meth:`show` may change."""
        ...

    def show(self, session: Session) -> Updates:
        """Tell how the panel looks for a session as it is now, in the browser's own values."""
        ...


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

    def on_load(self, action: Callable[[gr.Request], Updates]) -> None:
        """Let an action that gives out :meth:`show` happen once, when the page is opened."""
        gr.on(None, action, None, self.outputs, **AT_ONCE, **SHOWING)

    def refresh(self, request: gr.Request) -> Updates:
        """Show the tab's session in every panel, as an action of its own."""
        return self.show(self.session(request))


def status(message: str) -> str:
    """Write a message for people, in plain text."""
    return f'<p role="status">{escape(message)}</p>'


def failure(error: Exception, language: Language = "en") -> str:
    """Give the sentence to show; an unforeseen error goes to the log, without what it quotes."""
    if isinstance(error, UserError):
        sentence = str(error)
    else:
        sentence = say("page.unexpected", language)
        trace = "".join(traceback.format_tb(error.__traceback__))
        logger.error("%s in an action of the page\n%s", type(error).__name__, trace)
    return f'<p role="alert" class="error">{escape(sentence)}</p>'
