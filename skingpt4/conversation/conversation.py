"""A conversation's history: who said what, and where its photos stand.

As upstream, a message is text in which ``<Img><ImageHere></Img>`` is one photo's slot. Only
``Chat.upload_img`` writes slots: text of the user or the model passes :func:`plain_text` before it
enters a message, so nothing they write can become a slot, a separator or a special token.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from skingpt4.prompts import IMAGE_PLACEHOLDER, IMAGE_SLOT, PROMPT_STYLES, PromptStyle

# What shapes a prompt in any of the styles; a tokenizer's special tokens come on top.
MARKERS = (IMAGE_PLACEHOLDER, "<Img>", "</Img>", "###", "[INST]", "[/INST]", "<s>", "</s>")


def plain_text(text: str, markers: Iterable[str] = MARKERS) -> str:
    """Return the text with a space inside every marker, ``< ImageHere>``, so that it is only text.

    Markers of a single character or of white space only are left alone.
    """
    patterns = [re.escape(marker) for marker in markers if len(marker.strip()) > 1]
    if not patterns:
        return text
    # The lookahead also finds markers that overlap, as in "####".
    return re.sub(f"(?=(?:{'|'.join(patterns)}))(.)", r"\1 ", text)


@dataclass
class Conversation:
    """The history of one conversation, with upstream's fields.

    Attributes:
        system: System line; empty for none.
        roles: Names of the human and of the assistant.
        messages: ``[role, text]`` pairs; text None is the open answer.
        offset: Number of leading messages that are preset examples.
        sep: Ends the system line and every message.
        style: Renders the history, with the fields above in place of its own.
    """

    system: str
    roles: tuple[str, str]
    messages: list[list[str | None]] = field(default_factory=list)
    offset: int = 0
    sep: str = "###"
    style: PromptStyle = PROMPT_STYLES["skingpt4"]

    @classmethod
    def from_style(cls, style: PromptStyle) -> "Conversation":
        """Return an empty conversation in the given form."""
        return cls(system=style.system, roles=style.roles, sep=style.sep, style=style)

    def copy(self) -> "Conversation":
        """Return a conversation of its own with the same history."""
        return replace(self, messages=[list(message) for message in self.messages])

    def append_message(self, role: str, text: str | None) -> None:
        """Add a message as it is: slots in it count, so pass foreign text to ``Chat.ask``."""
        self.messages.append([role, text])

    def get_prompt(self) -> str:
        """Render the history, with ``<ImageHere>`` in place of each photo."""
        # Upstream's scripts change these fields, so they win over the style's own.
        style = replace(self.style, system=self.system, roles=self.roles, sep=self.sep)
        return style.chat([(str(role), text) for role, text in self.messages])

    def add_photo(self) -> None:
        """Add the slot of one photo, as a human's message."""
        self.append_message(self.roles[0], IMAGE_SLOT)

    def add_question(self, text: str) -> None:
        """Add a question, in the message of a photo that directly precedes it if there is one."""
        if self.messages and self.messages[-1] == [self.roles[0], IMAGE_SLOT]:
            self.messages[-1][1] = f"{IMAGE_SLOT} {text}"
        else:
            self.append_message(self.roles[0], text)

    def has_question(self) -> bool:
        """Tell whether a question stands unanswered (photos alone are none)."""
        pending = self.messages[self._answered() :]
        # None is an answer that is still open.
        return any(text not in (None, IMAGE_SLOT) for _, text in pending)

    def drop_question(self) -> None:
        """Remove what was asked since the last answer; its photos keep their slots."""
        answered = self._answered()
        pending = self.messages[answered:]
        self.messages[answered:] = [
            [role, IMAGE_SLOT]
            for role, text in pending
            for _ in range((text or "").count(IMAGE_SLOT))
        ]

    def drop_oldest_turn(self) -> bool:
        """Remove the first question and its answer; its photos move to the next question.

        Returns:
            False if only the last question is left, which stays.
        """
        # The first turn ends with the first answer; without one there is only the question.
        roles = [role for role, _ in self.messages]
        end = roles.index(self.roles[1]) + 1 if self.roles[1] in roles else len(roles)
        if end == len(roles):
            return False
        # A photo stays as long as the conversation: later questions may be about it.
        photos = [IMAGE_SLOT] * sum(
            (text or "").count(IMAGE_SLOT) for _, text in self.messages[:end]
        )
        del self.messages[:end]
        self.messages[0][1] = " ".join([*photos, self.messages[0][1] or ""])
        return True

    def _answered(self) -> int:
        """Return the number of messages up to the last answer."""
        answers = [i for i, (role, _) in enumerate(self.messages) if role == self.roles[1]]
        return answers[-1] + 1 if answers else 0


CONV_VISION = Conversation.from_style(PROMPT_STYLES["skingpt4"])
CONV_VISION_LLAMA2 = Conversation.from_style(PROMPT_STYLES["llama2"])
