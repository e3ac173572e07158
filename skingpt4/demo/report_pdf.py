"""The report as PDF, by fpdf2 and the fonts in ``fonts/``; no system package is needed."""

import unicodedata
from datetime import datetime, time, timezone
from io import BytesIO
from pathlib import Path

from fpdf import FPDF
from fpdf.enums import XPos, YPos
from fpdf.fonts import TTFFont
from PIL import Image

from skingpt4.demo.report import Report, blocks, jpeg

FONTS = Path(__file__).parent / "fonts"
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
