"""Documents as PDF, by fpdf2 and the font that matplotlib brings; no system package is needed."""

from collections.abc import Sequence
from datetime import datetime, timezone
from io import BytesIO
from pathlib import Path

import matplotlib
from fpdf import FPDF
from fpdf.enums import TableBordersLayout, XPos, YPos
from fpdf.fonts import FontFace
from PIL import Image

from skingpt4.documents.document import Block, Document, Picture, Section, Table, Text

FONT = "DejaVuSans"

MARGIN, FOOT = 14, 16

BODY, SMALL = 9.5, 7.5

HEADINGS = {1: 15, 2: 11.5}
"""Sizes in points; margins in millimetres."""

LINE = 1.35
"""Height of a line as a multiple of the font's size."""

MM_PER_POINT = 25.4 / 72

PHOTO_BOX, FIGURE_BOX = (60, 45), (190, 115)
"""Width and height at most, in millimetres."""

WARNING_GROUND, HEAD_GROUND, WHITE = (255, 246, 224), (225, 230, 236), (255, 255, 255)

DATE = datetime(2000, 1, 1, tzinfo=timezone.utc)
"""Written as the file's date, so that the same report gives the same bytes."""

LONGEST, CHARACTERS = 60, 165
"""Of a table: the longest text that widens its column, and what fits into a row."""


class _Pdf(FPDF):
    """Broad A4 pages, for answers side by side, whose foot repeats the notices."""

    def __init__(self, document: Document) -> None:
        super().__init__(orientation="landscape", format="A4", unit="mm")
        fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
        self.add_font(FONT, "", fonts / f"{FONT}.ttf")
        self.add_font(FONT, "B", fonts / f"{FONT}-Bold.ttf")
        self.notices = document.notices
        self.set_title(document.title)
        self.set_lang("en")
        self.set_creation_date(DATE)
        self.set_margin(MARGIN)
        self.set_auto_page_break(True, FOOT)
        self.add_page()

    def footer(self) -> None:
        """Draw the foot of a page; fpdf2 calls this."""
        self.set_y(2 - FOOT)
        self.set_font(FONT, "", 6.5)
        height = 6.5 * MM_PER_POINT * LINE
        for notice in self.notices:
            self.multi_cell(self.epw, height, notice, align="L", new_x=XPos.LMARGIN)
        self.set_y(-7)
        self.cell(self.epw, height, str(self.page_no()), align="R")

    def paragraph(
        self, text: str, size: float = BODY, bold: bool = False, ground: bool = False
    ) -> None:
        """Write text over the page's width."""
        self.set_font(FONT, "B" if bold else "", size)
        self.set_fill_color(*WARNING_GROUND)
        height = size * MM_PER_POINT * LINE
        self.multi_cell(
            self.epw, height, text, align="L", fill=ground, new_x=XPos.LMARGIN, new_y=YPos.NEXT
        )
        self.ln(1.5)


def render_pdf(document: Document) -> bytes:
    """Write a document as PDF; the same document gives the same bytes."""
    pdf = _Pdf(document)
    pdf.paragraph(document.title, size=20, bold=True)
    for notice in document.notices:
        pdf.paragraph(notice, ground=True)
    for section in document.sections:
        _add_section(pdf, section)
    return bytes(pdf.output())


def _add_section(pdf: _Pdf, section: Section) -> None:
    if section.new_page:
        pdf.add_page()
    pdf.ln(2)
    size = HEADINGS[section.level]
    if pdf.will_page_break(30):
        pdf.add_page()
    pdf.start_section(section.title, level=section.level - 1)
    pdf.paragraph(section.title, size=size, bold=True)
    for block in section.blocks:
        _add_block(pdf, block)


def _add_block(pdf: _Pdf, block: Block) -> None:
    if isinstance(block, Text):
        pdf.paragraph(block.text, bold=block.notice, ground=block.notice)
    elif isinstance(block, Table):
        _add_table(pdf, block)
    else:
        _add_picture(pdf, block)


def _add_table(pdf: _Pdf, table: Table) -> None:
    pdf.paragraph(table.caption, size=SMALL + 1, bold=True)
    pdf.set_font(FONT, "", SMALL)
    pdf.set_fill_color(*WHITE)
    pdf.set_draw_color(*HEAD_GROUND)
    rest = "RIGHT" if table.numbers else "LEFT"
    with pdf.table(
        (table.head, *table.rows),
        col_widths=_widths(table),
        text_align=("LEFT", *[rest] * (len(table.head) - 1)),
        borders_layout=TableBordersLayout.HORIZONTAL_LINES,
        headings_style=FontFace(emphasis="BOLD", fill_color=HEAD_GROUND),
        line_height=SMALL * MM_PER_POINT * LINE,
        padding=0.6,
    ):
        pass
    pdf.ln(3)


def _widths(table: Table) -> Sequence[float]:
    """Give each column its longest word, then share out the rest to those with longer cells."""
    columns = list(zip(table.head, *table.rows, strict=True))
    words = [_longest([word for cell in cells for word in cell.split()]) for cells in columns]
    cells = [_longest(column) for column in columns]
    wanted = [cell - word for cell, word in zip(cells, words, strict=True)]
    share = min(1.0, max(CHARACTERS - sum(words), 0) / max(sum(wanted), 1))
    return [word + share * want for word, want in zip(words, wanted, strict=True)]


def _longest(texts: Sequence[str]) -> int:
    """Length of the longest text and its margins, in characters, up to the longest counted."""
    return min(max(map(len, texts), default=0), LONGEST) + 2


def _add_picture(pdf: _Pdf, picture: Picture) -> None:
    file = BytesIO(picture.data)
    with Image.open(file) as image:
        shape = image.width / image.height
    width, height = PHOTO_BOX if picture.small else FIGURE_BOX
    pdf.image(file, w=min(width, height * shape), alt_text=picture.alt)
    pdf.ln(1)
    if picture.caption:
        pdf.paragraph(picture.caption, size=SMALL)
