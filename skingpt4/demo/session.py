"""One person's conversation and what can be done with it; knows nothing of Gradio.

A session lives in memory only, from the first action in a browser tab until the tab is closed.
"""

import base64
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import torch
from PIL import Image

from skingpt4.common.errors import ChatError
from skingpt4.conversation.chat import Chat
from skingpt4.conversation.conversation import Conversation
from skingpt4.demo.privacy import delete_upload
from skingpt4.processors.photo import open_photo

PREVIEW_SIDE = 1024
"""Longest side of the photo that the page shows, in pixels."""


@dataclass(eq=False)
class Exchange:
    """A question and what has been answered so far."""

    question: str
    answer: str = ""
    is_finished: bool = False


@dataclass(eq=False)
class Case:
    """A photo with its conversation; a new photo makes a new case."""

    conversation: Conversation
    images: list[torch.Tensor] = field(default_factory=list)
    preview: str | None = None
    exchanges: list[Exchange] = field(default_factory=list)
    pending: Exchange | None = None
    cancel: threading.Event = field(default_factory=threading.Event)

    @property
    def is_answering(self) -> bool:
        """Whether the last question still waits for its answer or for the end of it."""
        return bool(self.exchanges) and not self.exchanges[-1].is_finished


class Session:
    """What one browser tab can do: show a photo, ask, stop, restart.

    Actions of one tab can overlap (Stop during an answer, a double click), so each changes the
    current case under a lock. An answer keeps writing to the case it began with.
    """

    def __init__(self, chat: Chat) -> None:
        self._chat = chat
        self._lock = threading.Lock()
        self.case = self._new_case()
        self.uploads: list[Path] = []

    def _new_case(self) -> Case:
        return Case(self._chat.new_conversation())

    def show_photo(self, data: bytes) -> None:
        """Begin a new case with this photo; on an error the present case stays as it is.

        Raises:
            PhotoError: If `data` is not a photo that can be opened.
        """
        image = open_photo(data)
        case = self._new_case()
        self._chat.upload_img(image, case.conversation, case.images)
        case.preview = _data_url(image)
        self._replace(case)

    def restart(self) -> None:
        """Stop any answer and forget the photo and everything said."""
        self._replace(self._new_case())
        self.discard_uploads()

    def discard_uploads(self) -> None:
        """Delete the files that this tab has sent."""
        while self.uploads:
            delete_upload(self.uploads.pop())

    def stop(self) -> None:
        """Stop the answer being written, if any; what has been written stays."""
        self.case.cancel.set()

    def ask(self, question: str) -> None:
        """Add a question; `answer` then writes its answer.

        Raises:
            ChatError: If there is no photo, an answer is under way, or the question is unusable.
        """
        with self._lock:
            case = self.case
            if not case.images:
                raise ChatError("There is no photo yet: add one first, then ask about it.")
            if case.is_answering:
                raise ChatError("An answer is being written: wait for its end, or press Stop.")
            self._chat.ask(question, case.conversation)
            case.cancel = threading.Event()
            case.pending = Exchange(question.strip())
            case.exchanges.append(case.pending)

    def answer(self, num_beams: int = 1, temperature: float = 0.0) -> Iterator[Case]:
        """Write the answer to the question just asked, if any; gives the case after each piece.

        A question that gets no word, because of Stop or an error, is taken back.

        Args:
            num_beams: Beam width; above 1 the whole answer comes as one piece.
            temperature: 0 for greedy decoding, else the sampling temperature.

        Raises:
            ChatError: If the answer cannot be written.
        """
        with self._lock:
            case = self.case
            exchange, case.pending = case.pending, None
        if exchange is None:
            return
        try:
            for piece in self._chat.stream_answer(
                case.conversation,
                case.images,
                cancel=case.cancel,
                num_beams=num_beams,
                temperature=temperature,
            ):
                exchange.answer += piece
                yield case
        except Exception:
            exchange.answer = ""
            raise
        finally:
            exchange.is_finished = True
            if not exchange.answer:  # the chat has taken it back, too
                case.exchanges.remove(exchange)

    def _replace(self, case: Case) -> None:
        with self._lock:
            self.case.cancel.set()
            self.case = case


class Sessions:
    """The open sessions of all browser tabs, by the tab's random key.

    Gradio's own `gr.State` would keep a closed tab's photo in memory for an hour.
    """

    def __init__(self, chat: Chat) -> None:
        self._chat = chat
        self._lock = threading.Lock()
        self._open: dict[str, Session] = {}

    def __len__(self) -> int:
        return len(self._open)

    def get(self, key: str) -> Session:
        """Give the tab's session, a new one at its first action."""
        with self._lock:
            if key not in self._open:
                self._open[key] = Session(self._chat)
            return self._open[key]

    def close(self, key: str) -> None:
        """Stop and forget the tab's session, if it has one."""
        with self._lock:
            session = self._open.pop(key, None)
        if session is not None:
            session.restart()


def _data_url(image: Image.Image) -> str:
    """Make a preview that is part of the page, so that showing it leaves no file."""
    preview = image.copy()
    preview.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
    buffer = BytesIO()
    preview.save(buffer, format="JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
