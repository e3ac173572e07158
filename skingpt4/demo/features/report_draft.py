"""The report for a patient: drafted from a conversation, edited by a person, written as a file.

A file is made in memory and goes to the browser as part of the page: none is ever on the disk.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timezone
from io import BytesIO
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from skingpt4.common.errors import ChatError
from skingpt4.demo.i18n import Language, say
from skingpt4.dermatology import QUESTIONS
from skingpt4.documents.images import data_url, jpeg
from skingpt4.documents.pdf import Pdf
from skingpt4.labeler import label_text

# The report's sections in order; their titles are texts of these names.
SECTIONS = (
    "description",
    "condition",
    "causes",
    "next_steps",
    "red_flags",
    "doctor_questions",
    "more",
)

# Characters; the answers to two questions, the longest the model gives, have some 2,500.
LONGEST_SECTION = 8000

JSON_FORMAT = "skingpt4-report/1"

PHOTO_QUALITY = 88

# Width and height at most of a photo in the PDF, and the room between two, in millimetres.
PHOTO_BOX, PHOTO_GAP = (83, 70), 8

# Font sizes of the PDF in points.
BODY, SMALL, TITLE, HEADING = 10.5, 8.5, 20, 12.5

# Colour of the PDF's headings.
ACCENT = (15, 86, 80)

# A condition, None where an answer names none, and how many answers name it.
ConditionCount = tuple[str | None, int]

# Lines that belong together: whether they are a list's items, and the lines without their "- ".
Run = tuple[bool, list[str]]


@dataclass(frozen=True)
class PatientReport:
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

    def filled(self) -> list[tuple[str, list[Run]]]:
        """Return the title of each section that is not empty, in order, and its runs of lines."""
        sections = []
        for name in SECTIONS:
            runs: list[Run] = []
            for line in self.sections.get(name, "").strip().splitlines():
                is_item = line.startswith("- ")
                if is_item and runs and runs[-1][0]:
                    runs[-1][1].append(line[2:])
                elif line.strip():
                    runs.append((is_item, [line[2:] if is_item else line]))
            if runs:
                sections.append((self.say(name), runs))
        return sections

    def photo_files(self) -> list[tuple[str, bytes]]:
        """Return each photo's title and its JPEG, in which nothing of the upload's metadata is."""
        key = "photos" if len(self.photos) == 1 else "photo_number"  # one needs no number
        return [
            (self.say(key, number=number), jpeg(photo, quality=PHOTO_QUALITY))
            for number, photo in enumerate(self.photos, start=1)
        ]


def draft(
    exchanges: Sequence[tuple[str, str]], language: Language, counts: Sequence[ConditionCount] = ()
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
    # The first sentence that names a disease without denying it: "not melanoma" names nothing.
    sentences = [s for answer in answers.values() for s in re.split(r"(?<=[.!?])\s+", answer)]
    naming = next((s for s in sentences if label_text(s).mentioned), "")
    condition = [naming or say("report.no_condition", language)]
    if counts:
        names = [f"{name or say('opinion.none', language)} ({count})" for name, count in counts]
        done = sum(count for _, count in counts)
        condition.append(say("report.counted", language, done=done, named="; ".join(names)))
    others = [f"{q}\n{answer}" for q, answer in answers.items() if q not in QUESTIONS]
    return {
        "description": "\n".join(filter(None, (described, features))) or missing,
        "condition": "\n".join(condition),
        "causes": causes or missing,
        "next_steps": "\n".join(filter(None, (treatment, say("report.see_doctor", language)))),
        "red_flags": say("report.red_flags_text", language),
        "doctor_questions": say("report.doctor_questions_text", language),
        "more": "\n\n".join(others),
    }


def to_json(report: PatientReport) -> bytes:
    """Write a report as JSON, with its photos as ``data:`` URLs."""
    content: dict[str, Any] = {
        "format": JSON_FORMAT,
        "title": report.say("title"),
        "date": report.day.isoformat(),
        "language": report.language,
        "model": report.model,
        "notice": report.notice,
        "disclaimer": report.disclaimer,
        "sections": {name: report.sections.get(name, "") for name in SECTIONS},
        "photos": [data_url(photo) for _, photo in report.photo_files()],
    }
    return json.dumps(content, ensure_ascii=False, indent=2).encode("utf-8")


def to_html(report: PatientReport) -> bytes:
    """Write a report as one web page with a print stylesheet; all text in it is escaped."""
    loader = PackageLoader("skingpt4.demo", "templates")
    template = Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template(
        "report.html"
    )
    photos = [(title, data_url(photo)) for title, photo in report.photo_files()]
    return template.render(report=report, photos=photos).encode("utf-8")


class ReportPdf(Pdf):
    """The look of the patient's report: larger type and wider margins than a study's report."""

    leading = 1.45
    foot_height, foot_gap, foot_size = 18.0, 4.0, 7.0
    ink, soft = (27, 36, 48), (74, 86, 102)
    warning_padding = (2, 3)


def to_pdf(report: PatientReport) -> bytes:
    """Write a report as PDF; the same report gives the same bytes."""
    # Midnight of the day, for the time of saving would change the bytes.
    made = datetime.combine(report.day, time(), timezone.utc)
    # For screen readers, which choose their voice by it.
    lang = "zh-CN" if report.language == "zh" else "en"
    pdf = ReportPdf(report.say("title"), [report.disclaimer], made, lang=lang, margin=18.0)
    pdf.set_creator(report.model)
    pdf.c_margin = 0.0  # text begins exactly under the photos' left edge
    pdf.add_page()
    pdf.paragraph(report.say("title"), TITLE, bold=True)
    facts = f"{report.say('date')}: {report.day.isoformat()} · {report.say('model')}: "
    pdf.paragraph(facts + report.model, SMALL, colour=pdf.soft)
    for notice in filter(None, (report.disclaimer, report.notice)):
        pdf.ln(1.5)
        pdf.paragraph(notice, SMALL + 0.5, ground=True)
    pdf.ln(3)
    # Photos stand two by two, each as large as its box allows.
    files = report.photo_files()
    for first in range(0, len(files), 2):
        sizes = []
        for photo in report.photos[first : first + 2]:
            scale = min(PHOTO_BOX[0] / photo.width, PHOTO_BOX[1] / photo.height)
            sizes.append((photo.width * scale, photo.height * scale))
        height = max(size[1] for size in sizes)
        if pdf.will_page_break(height + 8):
            pdf.add_page()
        top = pdf.get_y()
        for place, size in enumerate(sizes):
            title, file = files[first + place]
            left = pdf.l_margin + place * (PHOTO_BOX[0] + PHOTO_GAP)
            pdf.image(BytesIO(file), left, top, *size, alt_text=title)
            pdf.set_xy(left, top + height + 1)
            pdf.use_font(SMALL)
            pdf.set_text_color(*pdf.soft)
            pdf.cell(PHOTO_BOX[0], 5, pdf.printable(title))
        pdf.ln(7)
    for title, runs in report.filled():
        pdf.ln(3)
        if pdf.will_page_break(22):  # a title and two lines
            pdf.add_page()
        pdf.start_section(title)
        pdf.paragraph(title, HEADING, bold=True, colour=ACCENT)
        pdf.ln(0.5)
        for is_list, lines in runs:
            for line in lines:
                text, indent = (f"• {line}", 2) if is_list else (line, 0)
                pdf.paragraph(text, BODY, indent=indent)
    pdf.ln(4)
    pdf.paragraph(report.say("own_words"), SMALL, colour=pdf.soft)
    return bytes(pdf.output())
