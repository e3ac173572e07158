"""Documents as PDF, by fpdf2 and fonts of our own; no system package is needed."""

import unicodedata
from collections.abc import Sequence
from datetime import datetime, timezone
from io import BytesIO
from pathlib import Path
from typing import Any, cast

from fpdf import FPDF
from fpdf.enums import MethodReturnValue, TableBordersLayout, XPos, YPos
from fpdf.fonts import FontFace, TTFFont
from PIL import Image

from skingpt4.documents.document import Document, Table, Text

FONTS = Path(__file__).parent / "fonts"

LATIN, CHINESE = "DejaVuSans", "DroidSansFallback-GB2312"

# Stands for a character that none of the fonts has.
MISSING = "□"

MM_PER_POINT = 25.4 / 72

WARNING_GROUND, HEAD_GROUND, WHITE = (255, 246, 224), (225, 230, 236), (255, 255, 255)

# Lengths in millimetres, font sizes in points.
MARGIN = 14.0
BODY, SMALL, TITLE = 9.5, 7.5, 20.0
HEADINGS = {1: 15.0, 2: 11.5}
AFTER_PARAGRAPH = 1.5

# Width and height at most, in millimetres.
PHOTO_BOX, FIGURE_BOX = (60, 45), (190, 115)

# Written as a report's date, so that the same report gives the same bytes.
DATE = datetime(2000, 1, 1, tzinfo=timezone.utc)

# Of a table: the longest text that widens its column, and what fits into a row.
LONGEST, CHARACTERS = 60, 165


class Pdf(FPDF):
    """A4 pages whose foot repeats what must be said on each, with a page number.

    Subclasses set the look by class attributes (lengths in millimetres, sizes in points).

    Attributes:
        leading: Height of a line as a multiple of the font's size.
        foot_height: From the foot's first line to the lower edge.
        foot_gap: Between the text and the foot.
        foot_size: Font size of the foot.
        ink: RGB of the text, 0 to 255.
        soft: RGB of the foot.
        warning_padding: Around text on the warning ground: above and below, left and right.
    """

    leading = 1.35
    foot_height, foot_gap, foot_size = 14.0, 2.0, 6.5
    ink, soft = (0, 0, 0), (0, 0, 0)
    warning_padding = (0, 0)

    def __init__(
        self,
        title: str,
        foot: Sequence[str],
        created: datetime,
        *,
        lang: str = "en",
        landscape: bool = False,
        margin: float = MARGIN,
    ) -> None:
        super().__init__("landscape" if landscape else "portrait", format="A4", unit="mm")
        self.add_font(LATIN, "", FONTS / f"{LATIN}.ttf")
        self.add_font(LATIN, "B", FONTS / f"{LATIN}-Bold.ttf")
        self.add_font(CHINESE, "", FONTS / f"{CHINESE}.ttf")
        # Not exact, as there is no bold face with Chinese: there the regular one stands in.
        self.set_fallback_fonts([CHINESE], exact_match=False)
        self.known = {
            c for font in self.fonts.values() if isinstance(font, TTFFont) for c in font.cmap
        }
        self.foot = foot
        self.set_title(title)
        self.set_lang(lang)
        self.set_creation_date(created)
        self.set_margin(margin)
        self.set_auto_page_break(True, self.foot_height + self.foot_gap)

    def footer(self) -> None:
        """Draw the foot of a page; fpdf2 calls this."""
        self.set_y(-self.foot_height)
        for text in self.foot:
            self.paragraph(text, self.foot_size, colour=self.soft)
        # The number stands in the foot's lower half, where a short foot leaves room.
        self.set_y(-self.foot_height / 2)
        self.use_font(self.foot_size)
        height = self.foot_size * MM_PER_POINT * self.leading
        self.cell(self.epw, height, str(self.page_no()), align="R")

    def paragraph(
        self,
        text: str,
        size: float = BODY,
        *,
        bold: bool = False,
        colour: tuple[int, int, int] | None = None,
        ground: bool = False,
        indent: float = 0,
        after: float = 0,
    ) -> None:
        """Write text over the page's width; where it goes on overleaf, no line stands alone.

        Args:
            text: May have several lines.
            size: Font size in points.
            bold: Whether it stands out.
            colour: RGB; by default `ink`.
            ground: Whether it stands on the warning ground.
            indent: From the left margin, in millimetres.
            after: Room below, in millimetres.
        """
        height = size * MM_PER_POINT * self.leading
        cell: dict[str, Any] = {
            "w": self.epw - indent,
            "h": height,
            "align": "L",
            "fill": ground,
            "padding": self.warning_padding if ground else 0,
            "new_x": XPos.LMARGIN,
            "new_y": YPos.NEXT,
        }

        def write(lines: list[str], dry_run: bool = False) -> list[str]:
            """Write lines and return them as they were broken."""
            self.use_font(size, bold)
            self.set_text_color(*(colour or self.ink))
            self.set_fill_color(*WARNING_GROUND)
            self.set_x(self.l_margin + indent)
            text, output = "\n".join(lines), MethodReturnValue.LINES
            broken = self.multi_cell(text=text, dry_run=dry_run, output=output, **cell)
            return cast("list[str]", broken)

        lines = write([self.printable(text)], dry_run=True)
        while self.will_page_break(len(lines) * height):
            # Two lines at least stay behind, and two at least go overleaf.
            fitting = min(int((self.page_break_trigger - self.y) / height), len(lines) - 2)
            if fitting >= 2:
                write(lines[:fitting])
                lines = lines[fitting:]
            self.add_page()
        write(lines)
        if after:
            self.ln(after)

    def printable(self, text: str) -> str:
        """Leave out what has no form, and mark what no font has; fpdf2 would log the character."""
        return "".join(c if c == "\n" or ord(c) in self.known else MISSING for c in plain(text))

    def use_font(self, size: float, bold: bool = False) -> None:
        """Set the font, also where fpdf2 thinks it is set: after Chinese text the file has another.

        Seen with fpdf2 2.8.9: it notes the font asked for, not the one that it fell back to.
        """
        self.set_font(LATIN, "", 1)
        self.set_font(LATIN, "B" if bold else "", size)


def plain(text: str) -> str:
    """Compose accents, make every blank a space, and leave out what has no form of its own."""
    composed = unicodedata.normalize("NFC", text)
    blanks = (" " if char.isspace() and char != "\n" else char for char in composed)
    # Control and format characters, and what only chooses between two forms of another.
    return "".join(
        char
        for char in blanks
        if char == "\n"
        or not (unicodedata.category(char)[0] == "C" or "\ufe00" <= char <= "\ufe0f")
    )


def render_pdf(document: Document) -> bytes:
    """Write a document as PDF; the same document gives the same bytes."""
    # Broad pages, so that several systems' answers fit side by side.
    pdf = Pdf(document.title, document.notices, DATE, landscape=True)
    pdf.add_page()
    pdf.paragraph(document.title, TITLE, bold=True, after=AFTER_PARAGRAPH)
    for notice in document.notices:
        pdf.paragraph(notice, ground=True, after=AFTER_PARAGRAPH)
    for section in document.sections:
        if section.new_page:
            pdf.add_page()
        pdf.ln(2)
        if pdf.will_page_break(30):  # a heading at the foot of a page belongs to the next
            pdf.add_page()
        pdf.start_section(section.title, level=section.level - 1)
        pdf.paragraph(section.title, HEADINGS[section.level], bold=True, after=AFTER_PARAGRAPH)
        for block in section.blocks:
            if isinstance(block, Text):
                bold = ground = block.notice
                pdf.paragraph(block.text, bold=bold, ground=ground, after=AFTER_PARAGRAPH)
            elif isinstance(block, Table):
                _add_table(pdf, block)
            else:
                file = BytesIO(block.data)
                # Formats by name: Pillow would otherwise try every decoder that it has.
                with Image.open(file, formats=("JPEG", "PNG")) as image:
                    shape = image.width / image.height
                # As wide as its box, or as the box's height allows where the picture is tall.
                width, height = PHOTO_BOX if block.small else FIGURE_BOX
                pdf.image(file, w=min(width, height * shape), alt_text=block.alt)
                pdf.ln(1)
                if block.caption:
                    pdf.paragraph(block.caption, SMALL, after=AFTER_PARAGRAPH)
    return bytes(pdf.output())


def _add_table(pdf: Pdf, table: Table) -> None:
    pdf.paragraph(table.caption, SMALL + 1, bold=True, after=AFTER_PARAGRAPH)
    pdf.use_font(SMALL)
    pdf.set_fill_color(*WHITE)
    pdf.set_draw_color(*HEAD_GROUND)
    # Each column gets its longest word; what room is left goes to those with longer cells.
    columns = list(zip(table.head, *table.rows, strict=True))
    # Widths in characters, the cell's margins being two; a column may hold no word at all.
    words, cells = (
        [min(max(map(len, texts), default=0), LONGEST) + 2 for texts in groups]
        for groups in ([" ".join(column).split() for column in columns], columns)
    )
    wanted = [cell - word for cell, word in zip(cells, words, strict=True)]
    share = min(1.0, max(CHARACTERS - sum(words), 0) / max(sum(wanted), 1))
    with pdf.table(
        [[pdf.printable(cell) for cell in row] for row in (table.head, *table.rows)],
        col_widths=[word + share * want for word, want in zip(words, wanted, strict=True)],
        text_align=("LEFT", *["RIGHT" if table.numbers else "LEFT"] * (len(columns) - 1)),
        borders_layout=TableBordersLayout.HORIZONTAL_LINES,
        headings_style=FontFace(emphasis="BOLD", fill_color=HEAD_GROUND),
        line_height=SMALL * MM_PER_POINT * pdf.leading,
        padding=0.6,
    ):
        pass  # fpdf2 draws the rows given above when the block ends
    pdf.ln(3)
