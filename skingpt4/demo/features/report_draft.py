"""The report for a patient: drafted from a conversation, edited by a person, written as a file.

A file is made in memory and goes to the browser as part of the page: none is ever on the disk.
"""

import base64
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
from skingpt4.documents.pdf import MM_PER_POINT, Pdf, plain
from skingpt4.labeler import label_text

# What stands at the head of the report, for a person to fill in: nothing is filled in before.
FIELDS = ("patient", "clinician", "date")

# The report's sections in order; their titles are texts of these names.
SECTIONS = (
    "description",
    "condition",
    "causes",
    "treatment",
    "next_steps",
    "red_flags",
    "doctor_questions",
    "more",
)

# Characters; the answers to two questions, the longest the model gives, have some 2,500.
LONGEST_SECTION = 8000

# Characters of what stands at the head.
LONGEST_FIELD = 120

# Characters that a sentence lists at most.
LISTED = 20

JSON_FORMAT = "skingpt4-report/2"

PHOTO_QUALITY = 88

# Width and height at most of a photo in the PDF, and the room between two, in millimetres.
PHOTO_BOX, PHOTO_GAP = (83, 70), 8

# Of the evidence map.
MAP_BOX = (110, 80)

# What a title needs below it in the PDF, in millimetres: two lines of its own, and three of its
# text, the most that are never parted.
TITLE_ROOM = 32

# Of the head's fields, in millimetres: room for the label, and the line to be written on.
LABEL, BLANK = 55, 80

# Of the watermark: how far it reaches at most over the page in millimetres, its angle, its size.
WATERMARK_WIDTH, WATERMARK_ANGLE, WATERMARK_SIZE = 250, 52, 48

# Font sizes of the PDF in points.
BODY, SMALL, TITLE, HEADING = 10.5, 8.5, 20, 12.5

# Colours of the PDF's headings, of the watermark, which must be seen on skin, and of bars, which
# are no good news and no bad.
ACCENT, WATERMARK, BAR = (15, 86, 80), (20, 50, 150), (110, 120, 132)

# A condition, or that none is named, and how many answers name it.
ConditionCount = tuple[str, int]

# Lines that belong together: whether they are a list's items, and the lines without their "- ".
Run = tuple[bool, list[str]]


@dataclass(frozen=True)
class PatientReport:
    """A report as it will be written.

    Attributes:
        sections: Text of each of `SECTIONS`; lines that begin with "- " are a list.
        head: What stands in each of `FIELDS`; a line to fill in, where nothing does.
        photos: RGB, in the order of their numbers; none, if they are not wanted.
        model: What wrote the answers, in plain words.
        notice: What must be known of this model; may be empty.
        language: Of titles and fixed sentences.
        day: When it was made.
        details: The same with the model's files, for whoever runs it; only in the JSON.
        evidence: An evidence map as a ``data:`` address, and what it says; None if not wanted.
        opinion: How often a second opinion named which condition; empty if not wanted.
        malignancy: What the second opinion says of that.
    """

    sections: Mapping[str, str]
    head: Mapping[str, str]
    photos: Sequence[Image.Image]
    model: str
    notice: str
    language: Language
    day: date
    details: str = ""
    evidence: tuple[str, str] | None = None
    opinion: Sequence[ConditionCount] = ()
    malignancy: str = ""

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

    @staticmethod
    def language_of(text: str) -> str:
        """Return a text's language for screen readers, as far as it is known."""
        if re.search("[\u4e00-\u9fff]", text):
            return "zh-CN"
        return "en" if re.search("[A-Za-z]", text) else ""

    def bars(self) -> list[tuple[str, str, float]]:
        """Return the second opinion's conditions, their counts in words, and their shares."""
        done = sum(count for _, count in self.opinion)
        return [
            (name, say("opinion.count", self.language, count=count, done=done), count / done)
            for name, count in self.opinion
        ]

    def caption(self) -> str:
        """Return what the bars count, and what they say of malignancy."""
        done = sum(count for _, count in self.opinion)
        return f"{say('opinion.caption', self.language, done=done)}. {self.malignancy}"

    def evidence_caption(self) -> str:
        """Return what the evidence map shows and, before it, what it is not."""
        label = say("evidence.label", self.language)
        return f"{label}. {self.evidence[1]}" if self.evidence else ""

    def photo_files(self) -> list[tuple[str, bytes]]:
        """Return each photo's title and its JPEG, in which nothing of the upload's metadata is."""
        key = "photos" if len(self.photos) == 1 else "photo_number"  # one needs no number
        return [
            (self.say(key, number=number), jpeg(photo, quality=PHOTO_QUALITY))
            for number, photo in enumerate(self.photos, start=1)
        ]


def draft(
    exchanges: Sequence[tuple[str, str]],
    language: Language,
    counts: Sequence[ConditionCount] = (),
    malignancy: str = "",
) -> dict[str, str]:
    """Sort a conversation into sections: the model's own words, and advice that fits every report.

    The paper's four questions fill the sections they ask for; what else was asked comes last.

    Args:
        exchanges: Finished questions and answers, in order.
        language: Of the fixed sentences.
        counts: How often a second opinion named which condition.
        malignancy: What it says of that.

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
        names = [f"{name} ({count})" for name, count in counts]
        done = sum(count for _, count in counts)
        condition.append(say("report.counted", language, done=done, named="; ".join(names)))
        condition.append(malignancy)
    others = [f"{q}\n{answer}" for q, answer in answers.items() if q not in QUESTIONS]
    return {
        "description": "\n".join(filter(None, (described, features))) or missing,
        "condition": "\n".join(filter(None, condition)),
        "causes": causes or missing,
        "treatment": treatment or missing,
        "next_steps": say("report.see_doctor", language),
        "red_flags": say("report.red_flags_text", language),
        "doctor_questions": say("report.doctor_questions_text", language),
        "more": "\n\n".join(others),
    }


def to_json(report: PatientReport) -> bytes:
    """Write a report as JSON, with its photos as ``data:`` URLs."""
    content: dict[str, Any] = {
        "format": JSON_FORMAT,
        "title": report.say("title"),
        **{name: report.head.get(name, "") for name in FIELDS},
        "made": report.day.isoformat(),
        "language": report.language,
        "model": report.model,
        "model_details": report.details,
        "notice": report.notice,
        "disclaimer": report.disclaimer,
        "sections": {name: report.sections.get(name, "") for name in SECTIONS},
        "photos": [data_url(photo) for _, photo in report.photo_files()],
        "evidence": report.evidence and {"map": report.evidence[0], "sentence": report.evidence[1]},
        "opinion": [{"condition": name, "answers": count} for name, count in report.opinion],
        "malignancy": report.malignancy if report.opinion else "",
    }
    return json.dumps(content, ensure_ascii=False, indent=2).encode("utf-8")


def to_html(report: PatientReport) -> bytes:
    """Write a report as one web page with a print stylesheet; all text in it is escaped."""
    loader = PackageLoader("skingpt4.demo", "templates")
    template = Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template(
        "report.html"
    )
    photos = [(title, data_url(photo)) for title, photo in report.photo_files()]
    return template.render(report=report, photos=photos, fields=FIELDS).encode("utf-8")


class ReportPdf(Pdf):
    """The look of the patient's report: larger type and wider margins than a study's report.

    Attributes:
        watermark: Stands across every page, over what else is there; may be empty.
    """

    leading = 1.45
    foot_height, foot_gap, foot_size = 18.0, 4.0, 7.0
    ink, soft = (27, 36, 48), (74, 86, 102)
    warning_padding = (2, 3)
    watermark = ""

    def footer(self) -> None:
        """Draw the foot of a page, and last the watermark, which a photo would hide."""
        super().footer()
        if not self.watermark:
            return
        self.use_font(WATERMARK_SIZE, bold=True)
        size = WATERMARK_SIZE * min(1, WATERMARK_WIDTH / self.get_string_width(self.watermark))
        x, y = self.w / 2, self.h / 2
        with self.local_context(fill_opacity=0.2), self.rotation(WATERMARK_ANGLE, x, y):
            self.use_font(size, bold=True)
            self.set_text_color(*WATERMARK)
            # Not by `set_xy`, which takes what is left of the page for a place from the right.
            self.x, self.y = x - WATERMARK_WIDTH / 2, y - 10
            self.cell(WATERMARK_WIDTH, 20, self.watermark, align="C")

    def section(self, text: str, room: float = TITLE_ROOM) -> None:
        """Write a section's title, on the next page if there is no room for what it needs."""
        self.ln(3)
        if self.will_page_break(room):
            self.add_page()
        self.start_section(text)
        self.paragraph(text, HEADING, bold=True, colour=ACCENT, after=0.5)

    def cell_at(self, left: float, text: str, size: float = BODY) -> None:
        """Write one line at a place from the left margin, and stay in it."""
        self.use_font(size)
        self.set_text_color(*self.soft)
        self.set_x(self.l_margin + left)
        self.cell(0, size * MM_PER_POINT * self.leading, self.printable(text))


def to_pdf(report: PatientReport) -> bytes:
    """Write a report as PDF; the same report gives the same bytes.

    Raises:
        ChatError: If it has characters that our fonts lack.
    """
    # Midnight of the day, for the time of saving would change the bytes.
    made = datetime.combine(report.day, time(), timezone.utc)
    # For screen readers, which choose their voice by it.
    lang = "zh-CN" if report.language == "zh" else "en"
    pdf = ReportPdf(report.say("title"), [report.disclaimer], made, lang=lang, margin=18.0)
    written = [*report.sections.values(), *report.head.values(), report.notice]
    text = plain("\n".join([*written, report.evidence_caption()])).replace("\n", "")
    if unknown := [char for char in dict.fromkeys(text) if ord(char) not in pdf.known]:
        listed = " ".join(unknown[:LISTED]) + " …" * (len(unknown) > LISTED)
        raise ChatError(report.say("cannot_set", characters=listed))
    pdf.watermark = report.say("watermark") if report.notice else ""
    pdf.set_creator(report.model)
    pdf.c_margin = 0.0  # text begins exactly under the photos' left edge
    pdf.add_page()
    pdf.paragraph(report.say("title"), TITLE, bold=True)
    made_by = report.say("made_by", day=report.day.isoformat(), model=report.model)
    pdf.paragraph(made_by, SMALL, colour=pdf.soft, after=2)
    for name in FIELDS:
        pdf.cell_at(0, f"{report.say(name)}:")
        if text := report.head.get(name, "").strip():
            pdf.paragraph(text, BODY, indent=LABEL)
        else:  # a line to be written on
            pdf.ln()
            left, y = pdf.l_margin + LABEL, pdf.get_y() - 1
            pdf.line(left, y, left + BLANK, y)
        pdf.ln(1)
    for notice in filter(None, (report.disclaimer, report.notice)):
        pdf.ln(1.5)
        pdf.paragraph(notice, SMALL + 0.5, ground=True)
    pdf.ln(3)
    _add_photos(pdf, report)
    for title, runs in report.filled():
        pdf.section(title)
        for is_list, lines in runs:
            for line in lines:
                text, indent = (f"• {line}", 2) if is_list else (line, 0)
                pdf.paragraph(text, BODY, indent=indent)
    _add_extras(pdf, report)
    pdf.ln(4)
    pdf.paragraph(report.say("own_words"), SMALL, colour=pdf.soft)
    return bytes(pdf.output())


def _add_photos(pdf: ReportPdf, report: PatientReport) -> None:
    """Add the photos two by two, each as large as its box allows."""
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
            left = place * (PHOTO_BOX[0] + PHOTO_GAP)
            pdf.image(BytesIO(file), pdf.l_margin + left, top, *size, alt_text=title)
            pdf.set_y(top + height + 1)
            pdf.cell_at(left, title, SMALL)
        pdf.ln(7)


def _add_extras(pdf: ReportPdf, report: PatientReport) -> None:
    """Add the evidence map and the second opinion's bars, each with what it says in words."""
    if report.evidence:
        file = BytesIO(base64.b64decode(report.evidence[0].partition(",")[2]))
        # Formats by name: Pillow would otherwise try every decoder that it has.
        with Image.open(file, formats=("JPEG", "PNG")) as image:
            shape = image.width / image.height
        width = min(MAP_BOX[0], MAP_BOX[1] * shape)
        pdf.section(report.say("with_evidence"), room=width / shape + TITLE_ROOM)
        pdf.image(file, w=width, alt_text=report.evidence_caption())
        pdf.ln(1)
        pdf.paragraph(report.evidence_caption(), SMALL, colour=pdf.soft)
    if report.opinion:
        pdf.section(report.say("with_opinion"))
        pdf.paragraph(report.caption(), SMALL, colour=pdf.soft, after=1)
    for name, count, share in report.bars():
        if pdf.will_page_break(12):
            pdf.add_page()
        pdf.paragraph(f"{name}: {count}", SMALL + 1)
        pdf.set_fill_color(*BAR)
        pdf.rect(pdf.l_margin, pdf.get_y() + 0.5, share * pdf.epw, 3, style="F")
        pdf.ln(5)
