"""What a report consists of, apart from how it is drawn: HTML and PDF are made from the same."""

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
        caption: What it shows, and of how many.
        head: The column names.
        rows: Cells, as many in each row as there are columns.
        numbers: Whether the cells after the first column are figures, set to the right.
    """

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: bool = True


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
