"""How a conversation is written for each LLM family: one object for training and for chat.

A prompt is text in which ``<ImageHere>`` stands for the projected query outputs of one photo.
Strings of the rows are upstream's (MiniGPT-4, SkinGPT-4), because released weights depend on them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from skingpt4.common.errors import ConfigError

IMAGE_PLACEHOLDER = "<ImageHere>"
IMAGE_SLOT = f"<Img>{IMAGE_PLACEHOLDER}</Img>"

UPSTREAM_SYSTEM = (
    "Give the following image: <Img>ImageContent</Img>. "
    "You will be able to see the image once I provide it to you. Please answer my questions."
)

Turn = tuple[str, str]
Message = tuple[str, str | None]


@dataclass(frozen=True)
class Segment:
    """A piece of training text, tokenised on its own; the loss falls on targets only."""

    text: str
    is_target: bool


@dataclass(frozen=True)
class PromptStyle:
    """The written form of a conversation.

    Attributes:
        name: Row name, as in ``model.prompt_style``.
        system: System line of the chat; empty for none.
        roles: Names of the human and of the assistant.
        role_sep: Stands between a role and its text.
        open_role_sep: Follows the assistant's role when its answer is still to come.
        sep: Ends the system line and every message; in chat, generation stops at ``end_sym``.
        template: Training form of a question; ``{}`` is the question.
        answer_prefix: Stands before a training answer.
        end_sym: Ends a training answer.
    """

    name: str
    system: str
    roles: tuple[str, str]
    role_sep: str
    open_role_sep: str
    sep: str
    template: str
    answer_prefix: str
    end_sym: str

    def chat(self, messages: Sequence[Message]) -> str:
        """Render the conversation so far; a message without text is the open answer."""
        parts = [self.system + self.sep]
        for role, text in messages:
            closed = role + self.role_sep + (text or "") + self.sep
            parts.append(role + self.open_role_sep if text is None else closed)
        return "".join(parts)

    def training(self, turns: Sequence[Turn]) -> list[Segment]:
        """Cut a dialogue into prompt and answer segments.

        Later turns drop the separator that the answer before them has already written.
        """
        segments = []
        for number, (question, answer) in enumerate(turns):
            prompt = self.template.replace("{}", question)
            if number and self.sep:
                prompt = prompt.removeprefix(self.sep)
            segments.append(Segment(prompt, is_target=False))
            segments.append(Segment(self.answer_prefix + answer + self.end_sym, is_target=True))
        return segments


_SKINGPT4 = PromptStyle(
    name="skingpt4",
    system=UPSTREAM_SYSTEM,
    roles=("Human", "Assistant"),
    role_sep=": ",
    open_role_sep=":",
    sep="###",
    template="###Human: {} ###Assistant: ",
    answer_prefix="",
    end_sym="###",
)

PROMPT_STYLES: dict[str, PromptStyle] = {
    style.name: style
    for style in (
        _SKINGPT4,
        replace(
            _SKINGPT4,
            name="llama2",
            roles=("<s>[INST] ", " [/INST] "),
            role_sep="",
            open_role_sep="",
            sep="",
            template="[INST] {} [/INST] ",
            end_sym="</s>",
        ),
        # The embedded model is trained on exactly the string that the chat renders.
        replace(
            _SKINGPT4,
            name="chat",
            system="",
            template="###Human: {}###Assistant:",
            answer_prefix=" ",
        ),
    )
}


def get_prompt_style(name: str, template: str = "", end_sym: str = "") -> PromptStyle:
    """Return a row, with the template and end symbol of a config where it gives them.

    Raises:
        ConfigError: If the row is unknown or the template has no ``{}``.
    """
    if name not in PROMPT_STYLES:
        known = ", ".join(PROMPT_STYLES)
        raise ConfigError(f"model.prompt_style '{name}' is unknown; choose one of: {known}.")
    style = PROMPT_STYLES[name]
    if template and "{}" not in template:
        raise ConfigError(
            f"model.prompt_template '{template}' has no '{{}}' where the question goes; add it."
        )
    return replace(style, template=template or style.template, end_sym=end_sym or style.end_sym)


def with_image_slot(question: str) -> str:
    """Put the photo before a question that does not place it itself."""
    return question if IMAGE_PLACEHOLDER in question else f"{IMAGE_SLOT} {question}"


def load_prompts(path: str | Path) -> list[str]:
    """Read training prompts, one per line.

    Raises:
        ConfigError: If the file is missing, empty, or a line lacks ``<ImageHere>``.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"model.prompt_path '{path}' cannot be read: {error.strerror}.") from None
    prompts = [line.strip() for line in text.splitlines() if line.strip()]
    if not prompts:
        raise ConfigError(f"model.prompt_path '{path}' holds no prompt; write one per line.")
    for number, prompt in enumerate(prompts, start=1):
        if IMAGE_PLACEHOLDER not in prompt:
            raise ConfigError(
                f"Line {number} of model.prompt_path '{path}' has no {IMAGE_PLACEHOLDER}, "
                f"so the photo would be left out: '{prompt}'."
            )
    return prompts
