"""A chat without a model: the methods of `Chat`, as slow or as faulty as a test wants it."""

import threading
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from skingpt4.common.schema import ModelConfig
from skingpt4.conversation.chat import Chat
from skingpt4.conversation.conversation import CONV_VISION


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


@pytest.fixture
def make_chat():
    return FakeChat


@pytest.fixture
def photo_bytes(tmp_path):
    """A small photo as the bytes of a PNG file."""
    path = tmp_path / "photo.png"
    Image.new("RGB", (40, 30), "peru").save(path)
    return path.read_bytes()


@pytest.fixture
def send(photo_bytes):
    """Send a photo with a question to a session, and let it be answered."""

    def send(session, question="What is it?", photo=photo_bytes):
        session.attach(photo).is_accepted = True
        session.ask(question)
        list(session.answer())

    return send
