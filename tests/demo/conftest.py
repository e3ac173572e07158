"""A chat without a model, and a tab of the page without a browser."""

import json
import threading
from io import BytesIO
from types import SimpleNamespace

import pytest
import torch
from PIL import Image, ImageFilter

from skingpt4.common.schema import ModelConfig
from skingpt4.conversation.chat import Chat
from skingpt4.conversation.conversation import CONV_VISION
from skingpt4.demo.app import EXAMPLE_FILES
from skingpt4.demo.session import Session
from tests.waiting import wait_for


class FakeChat:
    """Answers ``word0 word1 …``; each step waits for `go` when `paused` is set.

    Args:
        words: Number of words of an answer.
        error: Raised by every answer after its first word, if given.
    """

    ask = Chat.ask
    _plain = Chat._plain

    def __init__(self, words=3, error=None, notice="Drawn <images> only."):
        self.model = SimpleNamespace(notice=notice, config=ModelConfig(llm_model="models/fake"))
        self._markers = set()
        self.engine = SimpleNamespace(at_once=1)
        self.words = words
        self.error = error
        self.go = threading.Semaphore(0)
        self.paused = False
        self.active = 0
        self.decodings = []
        self.forgotten = []

    def new_conversation(self, photos=0):
        conversation = CONV_VISION.copy()
        for _ in range(photos):
            conversation.add_photo()
        return conversation

    def forget(self, conversation):
        self.forgotten.append(conversation)

    def encode_photos(self, images):
        return [torch.tensor(image.size) for image in images]

    def stream_answer(self, conv, img_list, *, cancel, **decoding):
        self.decodings.append(decoding)
        self.active += 1
        said, is_whole = [], False
        try:
            for number in range(self.words):
                if self.paused:
                    assert self.go.acquire(timeout=60), "nobody let it go on"
                if cancel.is_set():
                    break
                said.append(f"word{number} ")
                yield said[-1]
                if self.error is not None:
                    said.clear()
                    raise self.error
            is_whole = not cancel.is_set()
        finally:
            self.active -= 1
            if said or is_whole:
                conv.append_message(conv.roles[1], "".join(said))
            else:
                conv.drop_question()


class Tab:
    """A browser's tab: keeps its key, and what it was shown last of each part.

    Args:
        page: What it shows.
        name: Gradio's name for the page; another one after a reload.
        key: The tab's own; by default made from the name.
        language: Of the visitor.
    """

    def __init__(self, page, name="anna", key=None, language="en"):
        self.page = page
        self.request = SimpleNamespace(session_hash=name)
        self.key = key or f"key-of-{name}-".ljust(22, "0")
        self.shown = {}
        entry = {"key": self.key, "language": language, "root": ""}
        self.shown |= page.enter(json.dumps(entry), self.request)

    @property
    def session(self):
        return self.page.sessions.open[self.key]

    def look(self):
        """Ask for what is new, as the page's script does, and return all that is shown then."""
        self.shown |= self.page.refresh(self.shown.get("version", ""), self.request)
        return self.shown

    def settle(self):
        """Wait until nothing is under way, and return all that is shown then."""
        wait_for(lambda: not self.session.is_busy)
        return self.look()


@pytest.fixture
def make_chat():
    return FakeChat


@pytest.fixture
def photo_bytes(tmp_path):
    """A small photo as the bytes of a PNG file."""
    path = tmp_path / "photo.png"
    Image.new("RGB", (40, 30), "peru").save(path)
    return path.read_bytes()


def encoded(image, **saving):
    """Return a photo as the bytes of a JPEG file."""
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=92, **saving)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def good_image():
    """A photo that is judged good."""
    return Image.open(EXAMPLE_FILES[0]).convert("RGB").resize((400, 300))


@pytest.fixture(scope="session")
def good_photo(good_image):
    """A photo that is judged good, as a file's bytes."""
    return encoded(good_image)


@pytest.fixture(scope="session")
def poor_photo(good_image):
    """A photo that is judged blurred, as a file's bytes."""
    return encoded(good_image.filter(ImageFilter.GaussianBlur(6)))


@pytest.fixture
def open_session(make_chat, good_photo):
    """Make a session with a photo in its composer, unless told otherwise."""

    def make(photos=1, **chat):
        session = Session(make_chat(**chat))
        for _ in range(photos):
            session.attach(good_photo)
        return session

    return make


@pytest.fixture
def send(photo_bytes):
    """Send a photo with a question to a session, and let it be answered."""

    def send(session, question="What is it?", photo=photo_bytes):
        session.attach(photo).is_accepted = True
        session.ask(question)
        list(session.answer())

    return send
