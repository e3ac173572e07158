"""A chat without a model: it has the methods of `Chat`, answers slowly, and remembers what it was given."""

import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch

from skingpt4.common.errors import ChatError
from skingpt4.conversation.conversation import CONV_VISION, Conversation


class FakeChat:
    """Echoes the question word by word after a fixed opening.

    Args:
        delay: Seconds before each word.
        words: Number of words of an answer.
        error: Raised by every answer after its first word, if given.
    """

    def __init__(self, delay: float = 0.0, words: int = 12, error: Exception | None = None) -> None:
        self.model = SimpleNamespace(notice="Fake notice & <b>bold</b>.")
        self.delay = delay
        self.words = words
        self.error = error
        self.active = 0
        self.decodings: list[dict[str, Any]] = []

    def new_conversation(self) -> Conversation:
        return CONV_VISION.copy()

    def upload_img(self, image: Any, conv: Conversation, img_list: list[torch.Tensor]) -> str:
        conv.add_photo()
        img_list.append(torch.full((1, 1, 2), float(image.size[0])))
        return "Received."

    def ask(self, text: str, conv: Conversation) -> None:
        if not text.strip():
            raise ChatError("The question is empty; write one and send it again.")
        if len(text) > 4000:
            raise ChatError("The question has too many characters; shorten it.")
        conv.add_question(text)

    def stream_answer(
        self,
        conv: Conversation,
        img_list: list[torch.Tensor],
        *,
        cancel: threading.Event,
        **decoding: Any,
    ) -> Iterator[str]:
        self.decodings.append(decoding)
        self.active += 1
        width = int(img_list[0].flatten()[0])
        said: list[str] = []
        try:
            for number in range(self.words):
                if cancel.wait(self.delay):
                    return
                said.append(f"word{number} of a photo {width} wide. ")
                yield said[-1]
                if self.error is not None:
                    raise self.error
        finally:
            self.active -= 1
            if said and self.error is None:
                conv.append_message(conv.roles[1], "".join(said))
            else:
                conv.drop_question()
