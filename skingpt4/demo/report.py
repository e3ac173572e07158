"""The report for a patient: drafted from a conversation, edited by a person, written as a file.

A file is made in memory and goes to the browser as part of the page: none is ever on the disk.
"""

import base64
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from skingpt4.common.errors import ChatError
from skingpt4.common.schema import ModelConfig
from skingpt4.demo.i18n import Language, say
from skingpt4.dermatology import QUESTIONS, classes_named

SECTIONS = (
    "description",
    "condition",
    "causes",
    "next_steps",
    "red_flags",
    "doctor_questions",
    "more",
)
"""The report's sections in order; their titles are texts of these names."""

LONGEST_SECTION = 8000
"""Characters; the answers to two questions, the longest the model gives, have some 2,500."""

JSON_FORMAT = "skingpt4-report/1"
PHOTO_QUALITY = 88

Exchange = tuple[str, str]
"""A question and its answer."""

Count = tuple[str | None, int]
"""A condition, None where an answer names none, and how many answers name it."""


@dataclass(frozen=True)
class Report:
    """A report as it will be written.

    Attributes:
        sections: Text of each of `SECTIONS`; lines that begin with "- " are a list.
        photos: RGB, in the order of their numbers.
        model: What wrote the answers.
        notice: What must be known of this model; may be empty.
        language: Of titles and fixed sentences.
        day: When it was made.
    """

    sections: Mapping[str, str]
    photos: Sequence[Image.Image]
    model: str
    notice: str
    language: Language
    day: date

    def __post_init__(self) -> None:
        """Refuse a section that nobody would read.

        Raises:
            ChatError: If one is longer than `LONGEST_SECTION`.
        """
        for name, text in self.sections.items():
            if len(text) > LONGEST_SECTION:
                title = say(f"report.{name}", self.language)
                raise ChatError(
                    self.say("too_long", section=title, length=len(text), most=LONGEST_SECTION)
                )

    def say(self, key: str, **values: object) -> str:
        """Give one of the report's own words in its language."""
        return say(f"report.{key}", self.language, **values)

    @property
    def disclaimer(self) -> str:
        """What the software is not for."""
        return say("masthead.disclaimer", self.language)

    def filled(self) -> list[tuple[str, str]]:
        """Return title and text of each section that is not empty, in order."""
        texts = [(name, self.sections.get(name, "").strip()) for name in SECTIONS]
        return [(self.say(name), text) for name, text in texts if text]

    def photo_title(self, number: int) -> str:
        """Name a photo; a single one needs no number."""
        return self.say("photos" if len(self.photos) == 1 else "photo_number", number=number)


def draft(
    exchanges: Sequence[Exchange], language: Language, counts: Sequence[Count] = ()
) -> dict[str, str]:
    """Sort a conversation into sections: the model's own words, and advice that fits every report.

    The paper's four questions fill the sections they ask for; what else was asked comes last.

    Args:
        exchanges: Finished questions and answers, in order.
        language: Of the fixed sentences.
        counts: How often a second opinion named which condition.

    Raises:
        ChatError: If nothing has been answered yet.
    """
    if not exchanges:
        raise ChatError(say("report.nothing", language))
    answers = dict(exchanges)  # of a question asked twice, the last answer
    described, features, causes, treatment = (answers.get(question, "") for question in QUESTIONS)
    missing = say("report.not_asked", language)
    others = [(q, a) for q, a in answers.items() if q not in QUESTIONS]
    return {
        "description": _joined(described, features) or missing,
        "condition": _joined(
            _naming_sentence(answers.values()) or say("report.no_condition", language),
            _counted(counts, language),
        ),
        "causes": causes or missing,
        "next_steps": _joined(treatment, say("report.see_doctor", language)),
        "red_flags": say("report.red_flags_text", language),
        "doctor_questions": say("report.doctor_questions_text", language),
        "more": "\n\n".join(f"{question}\n{answer}" for question, answer in others),
    }


def model_name(config: ModelConfig) -> str:
    """Name what wrote the answers: this software's version, the language model, the checkpoint."""
    parts = [Path(part).name for part in (config.llm_model, config.ckpt) if part]
    return ", ".join([f"SkinGPT-4 {version('skingpt4')}", *parts])


def to_json(report: Report) -> bytes:
    """Write a report as JSON, with its photos as ``data:`` addresses."""
    content: dict[str, Any] = {
        "format": JSON_FORMAT,
        "title": report.say("title"),
        "date": report.day.isoformat(),
        "language": report.language,
        "model": report.model,
        "notice": report.notice,
        "disclaimer": report.disclaimer,
        "sections": {name: report.sections.get(name, "") for name in SECTIONS},
        "photos": [data_url(jpeg(photo), "image/jpeg") for photo in report.photos],
    }
    return json.dumps(content, ensure_ascii=False, indent=2).encode("utf-8")


def to_html(report: Report) -> bytes:
    """Write a report as one web page with a print stylesheet; all text in it is escaped."""
    page = _template().render(
        report=report,
        sections=[(title, blocks(text)) for title, text in report.filled()],
        photos=[data_url(jpeg(photo), "image/jpeg") for photo in report.photos],
    )
    return page.encode("utf-8")


def blocks(text: str) -> list[tuple[bool, list[str]]]:
    """Split a section into paragraphs and lists.

    Returns:
        Runs of lines: whether they are a list's items, and the lines without their "- ".
    """
    runs: list[tuple[bool, list[str]]] = []
    for line in text.splitlines():
        is_item = line.startswith("- ")
        if not line.strip():
            continue
        if is_item and runs and runs[-1][0]:
            runs[-1][1].append(line[2:])
        else:
            runs.append((is_item, [line[2:] if is_item else line]))
    return runs


def jpeg(photo: Image.Image) -> bytes:
    """Encode a photo; of what came with the upload nothing is written along."""
    buffer = BytesIO()
    photo.save(buffer, format="JPEG", quality=PHOTO_QUALITY, exif=b"")
    return buffer.getvalue()


def data_url(content: bytes, mime: str) -> str:
    """Make content part of a page."""
    return f"data:{mime};base64,{base64.b64encode(content).decode('ascii')}"


def _joined(*texts: str) -> str:
    return "\n".join(text for text in texts if text)


def _counted(counts: Sequence[Count], language: Language) -> str:
    """Write a second opinion as one sentence."""
    if not counts:
        return ""
    named = [f"{name or say('opinion.none', language)} ({count})" for name, count in counts]
    done = sum(count for _, count in counts)
    return say("report.counted", language, done=done, named="; ".join(named))


def _naming_sentence(answers: Iterable[str]) -> str:
    """Return the first sentence that names one of the paper's diseases."""
    for answer in answers:
        for sentence in re.split(r"(?<=[.!?])\s+", answer):
            if classes_named(sentence):
                return sentence
    return ""


@cache
def _template() -> Any:
    loader = PackageLoader("skingpt4.demo", "templates")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    return environment.get_template("report.html")
