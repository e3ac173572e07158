"""One person's conversation and what can be done with it; knows nothing of Gradio.

A session lives in memory only, from the first action in a browser tab until the tab is closed.
"""

import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from PIL import Image

from skingpt4.common.errors import ChatError
from skingpt4.conversation.chat import Chat
from skingpt4.conversation.conversation import Conversation
from skingpt4.demo.uploads import delete_upload
from skingpt4.documents.images import data_url, jpeg
from skingpt4.processors.photo import PhotoSource, open_photo

# Longest side of the photo that the page shows and keeps, in pixels.
PREVIEW_SIDE = 1024

# Of the JPEG that the page shows: its edges are still free of blocks when looked at closely.
PREVIEW_QUALITY = 88

# Photos of one conversation.
MAX_PHOTOS = 6

# Seeds of new cases are below this: short enough to be written down.
SEEDS = 1_000_000

BUSY = "An answer is being written: wait for its end, or press Stop."

State = TypeVar("State")


@dataclass(eq=False)
class ShownPhoto:
    """A photo of a case: for the page, for the model, and small for what looks at it again.

    Attributes:
        image: The photo, RGB, no side longer than ``PREVIEW_SIDE``.
        embeddings: What the model saw of it, ``[1, image_tokens, D]``.
        preview: ``image`` as a ``data:`` address, so that showing it leaves no file.
        origin: What a panel notes of where the photo comes from; goes with the photo.
    """

    image: Image.Image
    embeddings: torch.Tensor
    preview: str
    origin: Any = None


@dataclass(eq=False)
class Exchange:
    """A question and what has been answered so far.

    Attributes:
        question: As it was asked.
        history: The conversation that ends with it.
        before: The conversation's messages before it.
        photos: How many photos there were when it was asked.
        attempt: How often it had been asked before.
        settings: How its answer was chosen: fields of ``Decoding``.
        answer: What has been written so far.
        is_finished: Whether nothing follows.
    """

    question: str
    history: Conversation
    before: list[list[str | None]]
    photos: int
    attempt: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    answer: str = ""
    is_finished: bool = False


@dataclass(eq=False)
class Case:
    """Photos with their conversation; Restart makes a new case.

    Attributes:
        conversation: The history that the model sees.
        photos: Its photos, in the order of their numbers (from 1).
        exchanges: The history that the page shows.
        pending: The question that `Session.answer` is to answer next.
        unanswered: The last question, if it was taken back for want of an answer.
        seed: Makes its sampled answers repeatable.
        running: Names of the jobs under way beside the answers.
        told: What each job's status line says, by the job's name.
        cancel: Set to end a job that has begun, by the job's name.
    """

    conversation: Conversation
    photos: list[ShownPhoto] = field(default_factory=list)
    exchanges: list[Exchange] = field(default_factory=list)
    pending: Exchange | None = None
    unanswered: Exchange | None = None
    seed: int = field(default_factory=lambda: secrets.randbelow(SEEDS))
    running: set[str] = field(default_factory=set)
    told: dict[str, str] = field(default_factory=dict)
    cancel: dict[str, threading.Event] = field(default_factory=dict)
    _states: dict[type, Any] = field(default_factory=dict)

    @property
    def is_answering(self) -> bool:
        """Whether the last question still waits for its answer or for the end of it."""
        return bool(self.exchanges) and not self.exchanges[-1].is_finished

    @property
    def last(self) -> Exchange | None:
        """What was asked last, if anything was."""
        return self.unanswered or (self.exchanges[-1] if self.exchanges else None)

    @property
    def answered(self) -> list[Exchange]:
        """Questions with a finished answer."""
        return [exchange for exchange in self.exchanges if exchange.is_finished]

    def begin(self, job: str) -> threading.Event:
        """Note that a job ("answer", "evidence" …) begins, ending an earlier one of its name.

        Returns:
            What is set when the job is to end.
        """
        self.end(job)
        self.cancel[job] = threading.Event()
        return self.cancel[job]

    def end(self, job: str) -> None:
        """Ask a job to end, if it has begun."""
        if job in self.cancel:
            self.cancel[job].set()

    def panel_state(self, kind: type[State]) -> State:
        """Give a panel's own record of this case, made by ``kind()`` when first asked for."""
        return self._states.setdefault(kind, kind())


class Session:
    """What one browser tab can do: show photos, ask, stop, ask again, restart.

    Actions of one tab can overlap (Stop during an answer, a double click), so each changes the
    current case under a lock. An answer keeps writing to the case it began with.

    Attributes:
        chat: What answers; shared by all sessions.
        case: The photos and what has been said about them.
        uploads: Files that this tab has sent and that are still on the disk.
        language: In which the page speaks to the visitor.
    """

    def __init__(self, chat: Chat) -> None:
        self.chat = chat
        self.case = Case(chat.new_conversation())
        self.uploads: list[Path] = []
        self.language: Literal["en", "zh"] = "en"
        self._lock = threading.Lock()

    def show_photo(self, source: PhotoSource) -> None:
        """Begin a new case with this photo; on an error the present case stays as it is.

        Raises:
            PhotoError: If it is not a photo that can be opened.
        """
        self._replace([self._encode(source)])

    def add_photo(self, source: PhotoSource) -> None:
        """Add a photo to the conversation, which goes on.

        Raises:
            PhotoError: If it is not a photo that can be opened.
            ChatError: If there are ``MAX_PHOTOS`` already or an answer is under way.
        """
        case = self.case
        if case.is_answering:
            raise ChatError(BUSY, "busy")
        photo = self._encode(source)
        # Encoding takes a while, in which the visitor may have asked or pressed Restart.
        with self._lock:
            if self.case is not case or case.is_answering:
                raise ChatError(BUSY, "busy")
            if len(case.photos) == MAX_PHOTOS:
                sentence = f"There are {MAX_PHOTOS} photos already; remove one, or press Restart."
                raise ChatError(sentence, "many_photos", most=MAX_PHOTOS)
            case.conversation.add_photo()
            case.photos.append(photo)

    def replace_photo(self, number: int, source: PhotoSource | None) -> None:
        """Put another photo in the place of one, or take it away; the conversation begins again.

        Args:
            number: Of the photo to replace, from 1.
            source: The photo to show instead; None takes the photo away.

        Raises:
            PhotoError: If it is not a photo that can be opened.
            ChatError: If there is no photo of this number.
        """
        photos = list(self.case.photos)
        if not 1 <= number <= len(photos):
            sentence = f"There is no photo {number}; there are {len(photos)}."
            raise ChatError(sentence, "no_photo_number", number=number, photos=len(photos))
        # The model has spoken about the photo as it was, so what was said goes with it.
        photos[number - 1 : number] = [] if source is None else [self._encode(source)]
        self._replace(photos)

    def restart(self) -> None:
        """Stop whatever is under way and forget the photos and everything said."""
        self._replace([])
        self.discard_uploads()

    def discard_uploads(self) -> None:
        """Delete the files that this tab has sent."""
        while self.uploads:
            delete_upload(self.uploads.pop())

    def stop(self) -> None:
        """Stop the answer being written, if any; what has been written stays.

        A question that nobody has begun to answer is taken back.
        """
        with self._lock:
            case = self.case
            case.end("answer")
            # The action that writes the answer has not begun, and will find nothing to do.
            if case.pending is not None:
                case.conversation.drop_question()
                case.exchanges.remove(case.pending)
                case.unanswered, case.pending = case.pending, None

    def ask(self, question: str, place: int | None = None, attempt: int = 0) -> None:
        """Add a question; `answer` then writes its answer.

        Args:
            question: What to ask.
            place: Its index among the exchanges: it takes the place of that one and of all after
                it. By default it comes last.
            attempt: How often it was asked before.

        Raises:
            ChatError: If there is no photo, an answer is under way, or the question is unusable.
        """
        with self._lock:
            case = self.case
            if not case.photos:
                sentence = "There is no photo yet: add one first, then ask about it."
                raise ChatError(sentence, "no_photo")
            if case.is_answering:
                raise ChatError(BUSY, "busy")
            history = case.conversation.copy()
            place = len(case.exchanges) if place is None else place
            if place < len(case.exchanges):
                history.messages = [list(message) for message in case.exchanges[place].before]
                # Photos that were added since stay: only what was said is taken back.
                for _ in range(len(case.photos) - case.exchanges[place].photos):
                    history.add_photo()
            before = history.copy().messages
            self.chat.ask(question, history)
            # Nothing above has changed the case, so a question that is refused leaves it as it is.
            case.conversation.messages = history.copy().messages
            case.begin("answer")
            photos = len(case.photos)
            case.pending = Exchange(question.strip(), history, before, photos, attempt)
            case.exchanges[place:] = [case.pending]
            case.unanswered = None

    def ask_again(self, question: str | None = None) -> None:
        """Ask the last question again, or another in its place; its answer is taken back.

        Args:
            question: What to ask; by default the same question.

        Raises:
            ChatError: As `ask`, and if nothing has been asked yet.
        """
        last = self.case.last
        if last is None:
            raise ChatError(
                "There is no question to ask again yet: ask one first.", "nothing_asked"
            )
        # A question that was taken back is no longer in the list: the new one goes to its end.
        place = len(self.case.exchanges) - (last in self.case.exchanges)
        if question is None:
            self.ask(last.question, place, last.attempt + bool(last.answer))
        else:
            self.ask(question, place)

    def answer(self, case: Case | None = None, **settings: Any) -> Iterator[Case]:
        """Write the answer to the question just asked, if any; gives the case after each piece.

        A question that gets no word, because of Stop or an error, is taken back. Sampling takes the
        case's seed, and the next one each time a question is asked again.

        Args:
            case: Whose question; by default the present one's.
            settings: Fields of ``Decoding``. With several beams the whole answer is one piece.

        Raises:
            ChatError: If the answer cannot be written.
        """
        with self._lock:
            case = case or self.case
            exchange, case.pending = case.pending, None
        if exchange is None:
            return
        # Noted with the answer: a report or a retry can say how it came about.
        exchange.settings = settings | {"seed": case.seed + exchange.attempt}
        try:
            for piece in self.chat.stream_answer(
                case.conversation,
                [photo.embeddings for photo in case.photos],
                cancel=case.cancel["answer"],
                **exchange.settings,
            ):
                exchange.answer += piece
                yield case
        except Exception:
            exchange.answer = ""
            raise
        finally:
            exchange.is_finished = True
            if not exchange.answer:
                # The chat keeps the question of a model that chose to say nothing.
                case.conversation.messages = [list(message) for message in exchange.before]
                case.exchanges.remove(exchange)
                case.unanswered = exchange

    def _encode(self, source: PhotoSource) -> ShownPhoto:
        """Open a photo and encode it in its full size; what the page keeps of it is smaller."""
        image = open_photo(source)
        (embeddings,) = self.chat.encode_photos([image])  # [1, image_tokens, D]
        if image is source:  # opened before: a panel may keep it in its full size
            image = image.copy()
        # After encoding: the model sees every pixel that was sent.
        image.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
        return ShownPhoto(image, embeddings, photo_url(image))

    def _replace(self, photos: list[ShownPhoto]) -> None:
        """Begin a new case with photos that have been encoded, and end the present one's jobs."""
        case = Case(self.chat.new_conversation(len(photos)), photos)
        with self._lock:
            last, self.case = self.case, case
        # A copy, for another thread may begin a job of the old case just now.
        for cancel in list(last.cancel.values()):
            cancel.set()
        self.chat.forget(last.conversation)


@dataclass(eq=False)
class Sessions:
    """The open sessions of all browser tabs, by the tab's random key.

    Gradio's own `gr.State` would keep a closed tab's photo in memory for an hour.

    Attributes:
        chat: What answers, in every tab.
        open: The sessions by key.
    """

    chat: Chat
    _lock: threading.Lock = field(default_factory=threading.Lock)
    open: dict[str, Session] = field(default_factory=dict)
    _seen: dict[str, float] = field(default_factory=dict)

    def get(self, key: str) -> Session:
        """Give the tab's session, a new one at its first action."""
        with self._lock:
            self._seen[key] = time.monotonic()
            if key not in self.open:
                self.open[key] = Session(self.chat)
            return self.open[key]

    def idle(self, seconds: float) -> list[str]:
        """Name the tabs that did nothing for so long and wait for no answer."""
        # Whoever waits for a long answer does nothing either, and is not idle.
        due = time.monotonic() - seconds
        with self._lock:
            return [
                key
                for key, session in self.open.items()
                if self._seen[key] < due and not session.case.is_answering
            ]

    def close(self, key: str) -> None:
        """Stop and forget the tab's session, if it has one."""
        with self._lock:
            session = self.open.pop(key, None)
            self._seen.pop(key, None)
        if session is not None:
            session.restart()


def photo_url(image: Image.Image, side: int | None = None) -> str:
    """Return an RGB image as a ``data:`` URL, so that showing it leaves no file.

    Args:
        image: The image; it is left as it is.
        side: Longest side of the picture, in pixels; by default the image's own.
    """
    return data_url(jpeg(image, side, PREVIEW_QUALITY))
