"""The parts of a report, apart from how they are drawn: HTML, PDF and Markdown share them."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Text:
    """A paragraph of plain text; `notice` sets it apart as a warning."""

    text: str
    notice: bool = False


@dataclass(frozen=True)
class Table:
    """A table of plain text with a caption above it.

    Attributes:
        caption: What it shows, and of how many; may be empty.
        head: The column names.
        rows: Cells, as many in each row as there are columns.
        numbers: Whether the cells after the first column are figures, set to the right.
    """

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: bool = True

    def markdown(self) -> str:
        """Write the table as Markdown, its caption above it, with a newline at the end."""
        rows = [self.head, ("---",) * len(self.head), *self.rows]
        # A bar or a newline inside a cell would end it.
        cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
        lines = [f"| {' | '.join(row)} |\n" for row in cells]
        return (f"{self.caption}\n\n" if self.caption else "") + "".join(lines)


@dataclass(frozen=True)
class Picture:
    """An image file's bytes (PNG or JPEG), with the text for those who cannot see it.

    Attributes:
        data: The file's bytes.
        mime: Its type.
        alt: What it shows, in words.
        caption: The line under it.
        small: A case's photo rather than a figure.
    """

    data: bytes
    mime: str
    alt: str
    caption: str = ""
    small: bool = False


Block = Text | Table | Picture


@dataclass
class Section:
    """A heading and what stands under it.

    Attributes:
        title: The heading.
        blocks: The content, in order.
        level: 1 for a chapter, 2 for a part of one.
        new_page: Begin on a new page when printed.
    """

    title: str
    blocks: list[Block] = field(default_factory=list)
    level: int = 1
    new_page: bool = False


@dataclass
class Document:
    """A whole report.

    Attributes:
        title: The heading of all.
        notices: Warnings that stand before everything else, and at the foot of each PDF page.
        sections: The content, in order.
    """

    title: str
    notices: list[str]
    sections: list[Section]
