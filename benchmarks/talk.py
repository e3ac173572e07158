"""A question about a photo, for the scripts beside it."""

from PIL import Image
from torch import Tensor

from skingpt4.conversation.chat import Chat
from skingpt4.conversation.conversation import Conversation
from skingpt4.dermatology import QUESTIONS


def open_question(
    chat: Chat, question: str = QUESTIONS[0], number: int = 0
) -> tuple[Conversation, list[Tensor]]:
    """Return a conversation with a question open, about a photo unlike those of other numbers."""
    conv = chat.new_conversation()
    photos: list[Tensor] = []
    chat.upload_img(Image.new("RGB", (640, 480), (10 * number, 120, 90)), conv, photos)
    chat.ask(question, conv)
    return conv, photos
