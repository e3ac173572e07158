"""How a conversation is written for each LLM family: one object for training and for chat.

A prompt is text in which ``<ImageHere>`` stands for the projected query outputs of one photo. The
rows ``skingpt4``, ``minigpt4`` and ``llama2`` are upstream's, because released weights depend on
their strings; the others write what the LLMs themselves were taught. No row writes the
beginning-of-text token (``llama2`` does, before each turn): who tokenises puts it in front, once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from skingpt4.common.errors import ConfigError

IMAGE_PLACEHOLDER = "<ImageHere>"
IMAGE_SLOT = f"<Img>{IMAGE_PLACEHOLDER}</Img>"

UPSTREAM_SYSTEM = (
    "Give the following image: <Img>ImageContent</Img>. "
    "You will be able to see the image once I provide it to you. Please answer my questions."
)

QuestionAnswer = tuple[str, str]
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
        sep: Ends every message; in chat, generation stops at it and at ``end_sym``.
        end_sym: Ends a training answer.
        template: Training form of a question, ``{}`` being the question; empty for the form that
            the chat writes.
        answer_prefix: Stands before a training answer.
        system_sep: Ends the system line; None for ``sep``.
        human_sep: Ends the human's message; None for ``sep``.
    """

    name: str
    system: str
    roles: tuple[str, str]
    role_sep: str
    open_role_sep: str
    sep: str
    end_sym: str
    template: str = ""
    answer_prefix: str = ""
    system_sep: str | None = None
    human_sep: str | None = None

    @property
    def opening(self) -> str:
        """What a chat begins with: the system line and its end."""
        return self.system + (self.sep if self.system_sep is None else self.system_sep)

    def message_end(self, role: str) -> str:
        """Return what ends a message of this role."""
        is_human = role == self.roles[0] and self.human_sep is not None
        return cast(str, self.human_sep) if is_human else self.sep

    def chat(self, messages: Sequence[Message]) -> str:
        """Render the conversation so far; a message without text is the open answer."""
        parts = [self.opening]
        for role, text in messages:
            closed = role + self.role_sep + (text or "") + self.message_end(role)
            parts.append(role + self.open_role_sep if text is None else closed)
        return "".join(parts)

    def training(self, turns: Sequence[QuestionAnswer]) -> list[Segment]:
        """Cut a dialogue into prompt and answer segments."""
        segments = []
        for number, (question, answer) in enumerate(turns):
            write = self._from_template if self.template else self._as_chat
            segments.append(Segment(write(question, number), is_target=False))
            segments.append(Segment(self.answer_prefix + answer + self.end_sym, is_target=True))
        return segments

    def _from_template(self, question: str, number: int) -> str:
        """Later turns drop the separator that the answer before them has already written."""
        prompt = self.template.replace("{}", question)
        return prompt.removeprefix(self.sep) if number and self.sep else prompt

    def _as_chat(self, question: str, number: int) -> str:
        """Later turns begin with what is left of the end of the answer before them."""
        before = self.sep.removeprefix(self.end_sym) if number else self.opening
        human, assistant = self.roles
        asked = human + self.role_sep + question + self.message_end(human)
        return before + asked + assistant + self.open_role_sep


_SKINGPT4 = PromptStyle(
    name="skingpt4",
    system=UPSTREAM_SYSTEM,
    roles=("Human", "Assistant"),
    role_sep=": ",
    open_role_sep=":",
    sep="###",
    end_sym="###",
    template="###Human: {} ###Assistant: ",
)

_CHATML = PromptStyle(
    name="qwen",
    system="",
    system_sep="",
    roles=("<|im_start|>user\n", "<|im_start|>assistant\n"),
    role_sep="",
    open_role_sep="",
    sep="<|im_end|>\n",
    end_sym="<|im_end|>",
)

PROMPT_STYLES: dict[str, PromptStyle] = {
    style.name: style
    for style in (
        _SKINGPT4,
        # MiniGPT-4's present chat ends the open role with a space, as its training does.
        replace(_SKINGPT4, name="minigpt4", open_role_sep=": "),
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
        replace(_SKINGPT4, name="chat", system="", template="", answer_prefix=" "),
        PromptStyle(
            name="vicuna",  # version 1.1 and later
            system=(
                "A chat between a curious user and an artificial intelligence assistant. "
                "The assistant gives helpful, detailed, and polite answers to the user's questions."
            ),
            system_sep=" ",
            roles=("USER", "ASSISTANT"),
            role_sep=": ",
            open_role_sep=":",
            human_sep=" ",
            sep="</s>",
            end_sym="</s>",
            answer_prefix=" ",
        ),
        PromptStyle(
            name="llama3",
            system="",
            system_sep="",
            roles=(
                "<|start_header_id|>user<|end_header_id|>\n\n",
                "<|start_header_id|>assistant<|end_header_id|>\n\n",
            ),
            role_sep="",
            open_role_sep="",
            sep="<|eot_id|>",
            end_sym="<|eot_id|>",
        ),
        PromptStyle(
            name="falcon",
            system="",
            system_sep="",
            roles=("User", "Assistant"),
            role_sep=": ",
            open_role_sep=":",
            human_sep="\n",
            sep="<|endoftext|>\n",
            end_sym="<|endoftext|>",
            answer_prefix=" ",
        ),
        PromptStyle(
            name="mistral",
            system="",
            system_sep="",
            roles=("[INST]", " [/INST]"),
            role_sep=" ",
            open_role_sep="",
            human_sep="",
            sep="</s>",
            end_sym="</s>",
            answer_prefix=" ",
        ),
        _CHATML,
        # SmolLM2's own chat template opens every conversation so.
        replace(
            _CHATML,
            name="smollm2",
            system="<|im_start|>system\n"
            "You are a helpful AI assistant named SmolLM, trained by Hugging Face",
            system_sep="<|im_end|>\n",
        ),
        PromptStyle(
            name="gemma",
            system="",
            system_sep="",
            roles=("<start_of_turn>user\n", "<start_of_turn>model\n"),
            role_sep="",
            open_role_sep="",
            sep="<end_of_turn>\n",
            end_sym="<end_of_turn>",
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
