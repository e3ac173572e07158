"""Conversations about photos: history, chat, and the engines that generate the answers."""

from skingpt4.conversation.chat import Chat, load_chat
from skingpt4.conversation.conversation import CONV_VISION, CONV_VISION_LLAMA2, Conversation

__all__ = ["CONV_VISION", "CONV_VISION_LLAMA2", "Chat", "Conversation", "load_chat"]
