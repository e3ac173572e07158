"""One person's conversation and what can be done with it; knows nothing of Gradio.

A session lives in memory only. It belongs to a browser tab, by a key that survives a reload, and
ends when the tab is closed, falls silent, or its data is deleted.
"""

import itertools
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, TypeVar

import torch
from PIL import Image

from skingpt4.common.errors import ChatError
from skingpt4.conversation.chat import Chat
from skingpt4.conversation.conversation import Conversation
from skingpt4.demo.features.photo_edit import WHOLE, Edit
from skingpt4.processors.photo import PhotoSource, open_photo
from skingpt4.processors.photo_quality import Problem, measure

# Photos with a longer side, in pixels, are scaled down; a phone's 12 megapixels stay whole.
OPENED_SIDE = 4096

# Originals are kept for turning and cropping with no longer side than this, in pixels.
KEPT_SIDE = 2048

# Longest side of the photo that the page shows and keeps, in pixels.
PREVIEW_SIDE = 1024

# Of the JPEG that the page shows: its edges are still free of blocks when looked at closely.
PREVIEW_QUALITY = 88

# Photos of one conversation.
MAX_PHOTOS = 6

# Seeds of new cases are below this: short enough to be written down.
SEEDS = 1_000_000

# How long what was removed can be had back.
UNDO_SECONDS = 10.0

# A tab that says it is left may be reloading, or sleep in a pocket.
LEFT_SECONDS = 2 * 60

# A tab that merely falls silent may be lying open beside a patient.
IDLE_SECONDS = 30 * 60

BUSY = "An answer is being written: wait for its end, or press Stop."

State = TypeVar("State")


@dataclass(eq=False)
class ShownPhoto:
    """A photo: in the composer until it is sent, then in the message that it was sent with.

    Attributes:
        original: As it was sent, RGB, no side longer than ``KEPT_SIDE``; edits start from it.
        image: As edited, no side longer than ``PREVIEW_SIDE``.
        embeddings: What the model sees of it, ``[1, image_tokens, D]``.
        problems: What makes it a poor photo, if anything does.
        is_accepted: Whether the visitor wants it used in spite of its problems.
        edit: How it was turned and cropped.
        key: Names it to the browser; nobody can guess it.
    """

    original: Image.Image
    image: Image.Image
    embeddings: torch.Tensor
    problems: tuple[Problem, ...] = ()
    is_accepted: bool = False
    edit: Edit = WHOLE
    key: str = field(default_factory=lambda: secrets.token_urlsafe(16))

    @property
    def is_undecided(self) -> bool:
        """Whether the visitor still has to say what to do with a poor photo."""
        return bool(self.problems) and not self.is_accepted


@dataclass(eq=False)
class Exchange:
    """A question and what has been answered so far.

    Attributes:
        question: As it was asked.
        history: The conversation that ends with it.
        before: The conversation's messages before it and before the photos sent with it.
        shown: How many photos there were before it.
        photos: How many photos there were when it was asked, with those sent with it.
        attempt: How often it had been asked before.
        sent: How many photos came from the composer with it.
        replaced: The exchanges whose place it takes.
        previous: All of the conversation's messages before that.
        settings: How its answer was chosen: fields of ``Decoding``.
        answer: What has been written so far.
        is_finished: Whether nothing follows.
    """

    question: str
    history: Conversation
    before: list[list[str | None]]
    shown: int
    photos: int
    attempt: int = 0
    sent: int = 0
    replaced: list["Exchange"] = field(default_factory=list)
    previous: list[list[str | None]] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    answer: str = ""
    is_finished: bool = False


@dataclass(eq=False)
class Case:
    """Photos with their conversation; a new conversation makes a new case.

    Attributes:
        conversation: The history that the model sees.
        photos: Those that were sent, in the order of their numbers (from 1).
        attached: Those that wait in the composer, to go with the next question.
        exchanges: The history that the page shows.
        pending: The question that `Session.answer` is to answer next.
        unanswered: The last question, if it was taken back for want of an answer.
        seed: Makes its sampled answers repeatable.
        running: Names of the jobs under way.
        told: What each job's status line says, by the job's name.
        cancel: Set to end a job that has begun, by the job's name.
    """

    conversation: Conversation
    photos: list[ShownPhoto] = field(default_factory=list)
    attached: list[ShownPhoto] = field(default_factory=list)
    exchanges: list[Exchange] = field(default_factory=list)
    pending: Exchange | None = None
    unanswered: Exchange | None = None
    seed: int = field(default_factory=lambda: secrets.randbelow(SEEDS))
    running: set[str] = field(default_factory=set)
    told: dict[str, str] = field(default_factory=dict)
    cancel: dict[str, threading.Event] = field(default_factory=dict)
    _states: dict[type, Any] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in it that anybody could miss."""
        return not (self.photos or self.attached or self.exchanges or self.unanswered)

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

    def end(self, *jobs: str) -> None:
        """Ask jobs to end, if they have begun; by default all."""
        # A copy, for another thread may begin one just now.
        for job, cancel in list(self.cancel.items()):
            if not jobs or job in jobs:
                cancel.set()

    def take_back(self, exchange: Exchange) -> None:
        """Undo a question that got no answer: it can be asked again, its photos go back."""
        self.conversation.messages = exchange.previous
        # What it was to take the place of comes back.
        self.exchanges[-1:] = exchange.replaced
        kept = len(self.photos) - exchange.sent
        self.attached[:0] = self.photos[kept:]
        del self.photos[kept:]
        is_again = any(one.question == exchange.question for one in exchange.replaced)
        self.unanswered = None if is_again else exchange

    def panel_state(self, kind: type[State]) -> State:
        """Give a panel's own record of this case, made by ``kind()`` when first asked for."""
        return self._states.setdefault(kind, kind())


@dataclass(frozen=True)
class Undo:
    """How to have back what was removed.

    Attributes:
        restore: Puts it back.
        until: When it is too late, by the monotonic clock.
        lost: The case that goes then, if one does.
        edited: The photo that was edited, if one was.
    """

    restore: Callable[[], None]
    until: float
    lost: Case | None = None
    edited: ShownPhoto | None = None


class Session:
    """What one person can do: attach photos, ask, stop, ask again, begin a new conversation.

    Actions of one tab can overlap (Stop during an answer, a double click), so each changes the
    current case under a lock. An answer keeps writing to the case it began with.

    Attributes:
        chat: What answers; shared by all sessions.
        case: The photos and what has been said about them.
        language: In which the page speaks to the visitor.
        root: Path under which the browser finds the page, without a slash at the end.
        has_agreed: Whether the visitor has agreed to what is said before the first photo.
        message: The line of status, as HTML.
        settings: Those of an answer that the visitor has changed, by name.
        taken: The numbers of the photos that have come, as the tab counts them.
        version: Grows whenever there is something new to show.
        workers: Threads that do something for the visitor.
    """

    def __init__(self, chat: Chat) -> None:
        self.chat = chat
        self.case = Case(chat.new_conversation())
        self.language: Literal["en", "zh"] = "en"
        self.root = ""
        self.has_agreed = False
        self.message = ""
        self.settings: dict[str, float] = {}
        self.taken: set[str] = set()
        self.version = 1
        self.workers: set[threading.Thread] = set()
        self._versions = itertools.count(2)
        self._undo: Undo | None = None
        self._deletions = 0
        self._lock = threading.Lock()

    def changed(self, message: str | None = None) -> None:
        """Note that there is something new to show, and perhaps to say."""
        if message is not None:
            self.message = message
        self.version = next(self._versions)

    @property
    def is_busy(self) -> bool:
        """Whether something is under way that will have something new to show."""
        return bool(self.workers)

    @property
    def can_undo(self) -> bool:
        """Whether what was removed last can still be had back."""
        undo = self._undo  # read once, for the janitor may let go of it meanwhile
        if undo is None or time.monotonic() >= undo.until:
            return False
        # Once a photo is sent, the model has seen it as it is.
        return undo.edited is None or undo.edited in self.case.attached

    def attach(self, source: PhotoSource, name: str | None = None) -> ShownPhoto:
        """Put a photo into the composer, to go with the next question; judged and encoded now.

        Args:
            source: The photo.
            name: Its file's, for an error to name it.

        Raises:
            PhotoError: If it is not a photo that can be opened.
            ChatError: If there are ``MAX_PHOTOS`` already, or everything was deleted meanwhile.
        """
        self._check_room()  # before the work
        deletions = self._deletions
        image = open_photo(source, max_side=OPENED_SIDE, name=name)
        problems = measure(image).problems
        (embeddings,) = self.chat.encode_photos([image])  # [1, image_tokens, D]
        # After encoding: the model sees every pixel that was sent.
        image.thumbnail((KEPT_SIDE, KEPT_SIDE))
        photo = ShownPhoto(image, _small(image), embeddings, problems)
        with self._lock:
            # Encoding takes a while, in which other photos may have come, or all were deleted.
            if self._deletions != deletions:
                sentence = "Your data was deleted while this photo was on its way; it is gone, too."
                raise ChatError(sentence, "photo_deleted")
            self._check_room()
            self.case.attached.append(photo)
        return photo

    def _check_room(self) -> None:
        if len(self.case.photos) + len(self.case.attached) >= MAX_PHOTOS:
            raise ChatError(
                f"There are {MAX_PHOTOS} photos already; begin a new conversation for another.",
                "many_photos",
                most=MAX_PHOTOS,
            )

    def attached(self, key: str) -> ShownPhoto:
        """Find a photo of the composer.

        Raises:
            ChatError: If it is not there (any more).
        """
        photo = next((photo for photo in self.case.attached if photo.key == key), None)
        if photo is None:
            sentence = "This photo has been sent or removed; only waiting photos can change."
            raise ChatError(sentence, "photo_gone")
        return photo

    def photo(self, key: str) -> ShownPhoto | None:
        """Find any photo that the page shows, also one that can still be had back."""
        undo = self._undo
        cases = (self.case, undo.lost) if undo and undo.lost else (self.case,)
        photos = [photo for case in cases for photo in (*case.photos, *case.attached)]
        return next((photo for photo in photos if photo.key == key), None)

    def detach(self, key: str) -> None:
        """Take a photo out of the composer; it can be had back for a while.

        Raises:
            ChatError: If it is not there.
        """
        with self._lock:
            case, photo = self.case, self.attached(key)
            place = case.attached.index(photo)
            case.attached.remove(photo)
        self._offer_undo(lambda: case.attached.insert(min(place, len(case.attached)), photo))

    def edit(self, key: str, edit: Edit) -> None:
        """Show a waiting photo turned and cropped; the model looks at it again.

        Raises:
            ChatError: If it is not there.
        """
        image = edit.apply(self.attached(key).original)
        (embeddings,) = self.chat.encode_photos([image])
        problems = measure(image).problems
        with self._lock:
            photo = self.attached(key)  # looking took a while, in which it may have been sent
            before = vars(photo).copy()
            photo.image, photo.embeddings, photo.problems = _small(image), embeddings, problems
            # A new name, so that no browser shows the picture that it has kept.
            photo.edit, photo.key = edit, secrets.token_urlsafe(16)
        self._offer_undo(partial(vars(photo).update, before), edited=photo)

    def begin_again(self) -> None:
        """Begin a new conversation; the old one can be had back for a while."""
        with self._lock:
            if self.case.is_empty:
                return
            old, self.case = self.case, Case(self.chat.new_conversation())

        def restore() -> None:
            new, self.case = self.case, old
            new.end()
            self.chat.forget(new.conversation)
            # Photos that have come since are not lost either.
            old.attached += [*new.photos, *new.attached]

        self._offer_undo(restore, lost=old)

    def undo(self) -> bool:
        """Have back what was removed last; tell whether there was anything."""
        with self._lock:
            undo = self._undo
            if undo is None or not self.can_undo:
                return False
            self._undo = None
            undo.restore()
            return True

    def forget_removed(self, now: float) -> None:
        """Let go of what can no longer be had back, by the monotonic clock."""
        with self._lock:
            undo = self._undo
            if undo is None or now < undo.until:
                return
            self._undo = None
        self._let_go(undo)
        self.changed()

    def _offer_undo(self, restore: Callable[[], None], **what: Any) -> None:
        undo = Undo(restore, time.monotonic() + UNDO_SECONDS, **what)
        with self._lock:
            last, self._undo = self._undo, undo
        if last is not None:
            self._let_go(last)

    def _let_go(self, undo: Undo) -> None:
        if undo.lost is not None:
            undo.lost.end()
            self.chat.forget(undo.lost.conversation)

    def forget(self) -> None:
        """Stop whatever is under way and forget the photos and everything said, for good."""
        with self._lock:
            old, self.case = self.case, Case(self.chat.new_conversation())
            undo, self._undo = self._undo, None
            self._deletions += 1
        old.end()
        self.chat.forget(old.conversation)
        if undo is not None:
            self._let_go(undo)

    def stop(self) -> None:
        """Stop the answer being written, if any; what has been written stays.

        A question that nobody has begun to answer is taken back.
        """
        with self._lock:
            case = self.case
            case.end("answer")
            # The action that writes the answer has not begun, and will find nothing to do.
            if case.pending is not None:
                pending, case.pending = case.pending, None
                case.take_back(pending)

    def ask(
        self,
        question: str,
        place: int | None = None,
        attempt: int = 0,
        case: Case | None = None,
    ) -> None:
        """Send a question with the photos in the composer; `answer` then writes its answer.

        Args:
            question: What to ask.
            place: Its index among the exchanges: it takes the place of that one and of all after
                it. By default it comes last.
            attempt: How often it was asked before.
            case: Whose conversation; by default the present one's.

        Raises:
            ChatError: If there is no photo, a photo waits for a decision, an answer is under way,
                or the question is unusable.
        """
        with self._lock:
            case = case or self.case
            if case.is_answering:
                raise ChatError(BUSY, "busy")
            place = len(case.exchanges) if place is None else place
            history, shown = case.conversation.copy(), len(case.photos)
            previous, sent = case.conversation.copy().messages, len(case.attached)
            if place < len(case.exchanges):
                first = case.exchanges[place]
                history.messages = [list(message) for message in first.before]
                shown = first.shown
            # Photos that were sent since stay: only what was said is taken back.
            joining = case.photos[shown:] + case.attached
            if not shown and not joining:
                sentence = "There is no photo yet: add one first, then ask about it."
                raise ChatError(sentence, "no_photo")
            for number, photo in enumerate(joining, shown + 1):
                if photo.is_undecided:
                    raise ChatError(
                        f"Photo {number} could be better: press “Use it anyway”, or remove it and "
                        "take another, then ask.",
                        "undecided",
                        number=number,
                    )
            before = history.copy().messages
            for _ in joining:
                history.add_photo()
            self.chat.ask(question, history)
            # Nothing above has changed the case, so a question that is refused leaves it as it is.
            case.conversation.messages = history.copy().messages
            case.begin("answer")
            case.photos[shown:], case.attached = joining, []
            photos = len(case.photos)
            pending = Exchange(question.strip(), history, before, shown, photos, attempt)
            pending.sent, pending.previous = sent, previous
            pending.replaced, case.exchanges[place:] = case.exchanges[place:], [pending]
            case.pending = pending
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
            sentence = "There is no question to ask again yet: ask one first."
            raise ChatError(sentence, "nothing_asked")
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
            with self._lock:
                exchange.is_finished = True
                if exchange.answer:
                    exchange.replaced.clear()
                else:
                    # The chat keeps the question of a model that chose to say nothing.
                    case.take_back(exchange)


def _small(image: Image.Image) -> Image.Image:
    """Return a copy as the page shows and keeps it."""
    small = image.copy()
    small.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
    return small


@dataclass(eq=False)
class View:
    """A page that a browser has loaded: a tab has one at a time, a tab's copy another.

    Attributes:
        key: Of the tab, kept by the browser through reloads.
        shown: What was sent to it last, by component.
        version: Of the session when that was sent; 0 if nothing was.
        written: What a person has put into it, by component.
    """

    key: str
    shown: dict[Any, Any] = field(default_factory=dict)
    version: int = 0
    written: dict[Any, Any] = field(default_factory=dict)


@dataclass(eq=False)
class Sessions:
    """The open sessions of all browser tabs, by the tab's random key.

    Gradio's own `gr.State` would lose a tab's conversation with a reload, and keep that of a closed
    tab for an hour.

    Attributes:
        chat: What answers, in every tab.
        open: The sessions by key.
        views: The pages that show them, by Gradio's name for a page.
        forget_page: Makes Gradio forget a page, too, by its name: it keeps what each part showed.
    """

    chat: Chat
    _lock: threading.Lock = field(default_factory=threading.Lock)
    open: dict[str, Session] = field(default_factory=dict)
    views: dict[str, View] = field(default_factory=dict)
    forget_page: Callable[[str], object] = field(default=lambda name: None)
    _seen: dict[str, float] = field(default_factory=dict)

    def enter(self, name: str, key: str) -> Session:
        """Give a tab's session to a page that has just been loaded, a new one at the first."""
        with self._lock:
            self.views[name] = View(key)
            self._seen[key] = time.monotonic()
            if key not in self.open:
                self.open[key] = Session(self.chat)
            return self.open[key]

    def get(self, key: str) -> Session | None:
        """Give the tab's session, if there is one, and note that the tab is alive."""
        with self._lock:
            if key in self.open:
                self._seen[key] = time.monotonic()
            return self.open.get(key)

    def leave(self, name: str) -> None:
        """Note that a page is being left: closed, reloaded, or put away by a phone."""
        with self._lock:
            view = self.views.pop(name, None)
            if view is not None and view.key in self.open:
                self._seen[view.key] = time.monotonic()
        self.forget_page(name)

    def due(self, now: float) -> list[str]:
        """Name the tabs to be forgotten at a time of the monotonic clock.

        Those that were left two minutes ago, and those that have been silent for half an hour.
        Whoever waits for a long answer does nothing either, and is not silent.
        """
        with self._lock:
            shown = {view.key for view in self.views.values()}
            return [
                key
                for key, session in self.open.items()
                if now - self._seen[key] >= (IDLE_SECONDS if key in shown else LEFT_SECONDS)
                and not (key in shown and session.is_busy)
            ]

    def close(self, key: str, stays: bool = False) -> None:
        """Stop and forget the tab's session, if it has one, and what its pages were sent.

        Args:
            key: Of the tab.
            stays: Whether the tab stays open, with nothing in it.
        """
        with self._lock:
            session = self.open.get(key)
            names = [name for name, view in self.views.items() if view.key == key]
            if stays:
                self.views |= {name: View(key) for name in names}
            else:
                self.views = {n: view for n, view in self.views.items() if n not in names}
                self.open.pop(key, None)
                self._seen.pop(key, None)
        if session is not None:
            session.forget()
        for name in names:
            self.forget_page(name)
