"""The report for a patient: drafted from a conversation, edited by a person, written as a file.

A file is made in memory and goes to the browser as part of the page: none is ever on the disk.
"""

import base64
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timezone
from functools import cache
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

from fpdf import FPDF
from fpdf.enums import XPos, YPos
from fpdf.fonts import TTFFont
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from skingpt4.common.errors import ChatError
from skingpt4.common.schema import ModelConfig
from skingpt4.demo.i18n import Language, say
from skingpt4.dermatology import QUESTIONS
from skingpt4.labeler import label_text

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
    """Return the first sentence that names one of the paper's diseases and does not deny it."""
    for answer in answers:
        for sentence in re.split(r"(?<=[.!?])\s+", answer):
            if label_text(sentence).mentioned:
                return sentence
    return ""


@cache
def _template() -> Any:
    loader = PackageLoader("skingpt4.demo", "templates")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    return environment.get_template("report.html")


FONTS = Path(__file__).parents[2] / "documents" / "fonts"

LATIN, CHINESE = "DejaVuSans", "DroidSansFallback-GB2312"

MARGIN, FOOT = 18, 18

PHOTO_BOX, PHOTO_GAP = (83, 70), 8

BODY, SMALL, TITLE, HEADING = 10.5, 8.5, 20, 12.5
"""Sizes in points; margins and boxes (width, height) in millimetres."""

LINE = 1.45
"""Height of a line as a multiple of the font's size."""

MM_PER_POINT = 25.4 / 72

GROUND, INK, SOFT, ACCENT = (255, 246, 224), (27, 36, 48), (74, 86, 102), (15, 86, 80)

MISSING = "□"
"""Stands for a character that no font of ours has."""


class _Pdf(FPDF):
    """Upright A4 pages whose foot repeats the disclaimer."""

    def __init__(self, report: Report) -> None:
        super().__init__(format="A4", unit="mm")
        self.add_font(LATIN, "", FONTS / f"{LATIN}.ttf")
        self.add_font(LATIN, "B", FONTS / f"{LATIN}-Bold.ttf")
        self.add_font(CHINESE, "", FONTS / f"{CHINESE}.ttf")
        self.set_fallback_fonts([CHINESE], exact_match=False)
        self.known = {
            c for font in self.fonts.values() if isinstance(font, TTFFont) for c in font.cmap
        }
        self.foot = report.disclaimer
        self.set_title(report.say("title"))
        self.set_creator(report.model)
        self.set_lang("zh-CN" if report.language == "zh" else "en")
        self.set_creation_date(datetime.combine(report.day, time(), timezone.utc))
        self.set_margin(MARGIN)
        self.c_margin = 0.0
        self.set_auto_page_break(True, FOOT + 4)
        self.add_page()

    def footer(self) -> None:
        """Draw the foot of a page; fpdf2 calls this."""
        self.set_y(-FOOT)
        self.paragraph(self.foot, size=7, colour=SOFT)
        self.set_y(-9)
        self._use(7)
        self.cell(self.epw, 4, str(self.page_no()), align="R")

    def paragraph(
        self,
        text: str,
        size: float = BODY,
        bold: bool = False,
        colour: tuple[int, int, int] = INK,
        ground: bool = False,
        indent: float = 0,
    ) -> None:
        """Write text over the page's width, less an indent in millimetres."""
        self._use(size, bold)
        self.set_text_color(*colour)
        self.set_fill_color(*GROUND)
        self.set_x(self.l_margin + indent)
        self.multi_cell(
            self.epw - indent,
            size * MM_PER_POINT * LINE,
            self.printable(text),
            align="L",
            fill=ground,
            padding=(2, 3) if ground else 0,
            new_x=XPos.LMARGIN,
            new_y=YPos.NEXT,
        )

    def label(self, text: str, width: float) -> None:
        """Write one line of small text from here on, in a box so wide (millimetres)."""
        self._use(SMALL)
        self.set_text_color(*SOFT)
        self.cell(width, 5, self.printable(text))

    def printable(self, text: str) -> str:
        """Leave out what has no form, and mark what no font has; fpdf2 would log the character."""
        shown = (char for char in text if char == "\n" or unicodedata.category(char)[0] != "C")
        return "".join(
            char if char == "\n" or ord(char) in self.known else MISSING for char in shown
        )

    def _use(self, size: float, bold: bool = False) -> None:
        """Set the font, also where fpdf2 thinks it is set: after Chinese text the file has another.

        Seen with fpdf2 2.8.9: it notes the font asked for, not the one that it fell back to.
        """
        self.set_font(LATIN, "", 1)
        self.set_font(LATIN, "B" if bold else "", size)


def to_pdf(report: Report) -> bytes:
    """Write a report as PDF; the same report gives the same bytes."""
    pdf = _Pdf(report)
    _add_head(pdf, report)
    _add_photos(pdf, report)
    for title, text in report.filled():
        _add_section(pdf, title, text)
    pdf.ln(4)
    pdf.paragraph(report.say("own_words"), size=SMALL, colour=SOFT)
    return bytes(pdf.output())


def _add_head(pdf: _Pdf, report: Report) -> None:
    pdf.paragraph(report.say("title"), size=TITLE, bold=True)
    facts = f"{report.say('date')}: {report.day.isoformat()} · {report.say('model')}: "
    pdf.paragraph(facts + report.model, size=SMALL, colour=SOFT)
    for notice in filter(None, (report.disclaimer, report.notice)):
        pdf.ln(1.5)
        pdf.paragraph(notice, size=SMALL + 0.5, ground=True)
    pdf.ln(3)


def _add_photos(pdf: _Pdf, report: Report) -> None:
    """Set the photos two by two."""
    for first in range(0, len(report.photos), 2):
        pair = report.photos[first : first + 2]
        sizes = [_fitted(photo) for photo in pair]
        height = max(size[1] for size in sizes)
        if pdf.will_page_break(height + 8):
            pdf.add_page()
        top = pdf.get_y()
        for place, (photo, size) in enumerate(zip(pair, sizes, strict=True)):
            title = report.photo_title(first + place + 1)
            left = pdf.l_margin + place * (PHOTO_BOX[0] + PHOTO_GAP)
            pdf.image(BytesIO(jpeg(photo)), left, top, *size, alt_text=title)
            pdf.set_xy(left, top + height + 1)
            pdf.label(title, PHOTO_BOX[0])
        pdf.ln(7)


def _fitted(photo: Image.Image) -> tuple[float, float]:
    """Return width and height in millimetres, inside the box."""
    scale = min(PHOTO_BOX[0] / photo.width, PHOTO_BOX[1] / photo.height)
    return photo.width * scale, photo.height * scale


def _add_section(pdf: _Pdf, title: str, text: str) -> None:
    pdf.ln(3)
    if pdf.will_page_break(22):  # a title and two lines
        pdf.add_page()
    pdf.start_section(title)
    pdf.paragraph(title, size=HEADING, bold=True, colour=ACCENT)
    pdf.ln(0.5)
    for is_list, lines in blocks(text):
        for line in lines:
            pdf.paragraph(f"• {line}" if is_list else line, indent=2 if is_list else 0)
