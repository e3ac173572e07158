"""The parts of a report, which HTML, PDF and Markdown share, and its HTML.

The HTML is self-contained: no script, nothing fetched, fit for print.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from skingpt4.documents.images import data_url


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


TEMPLATES = Path(__file__).parent / "templates"


def fill_template(name: str, folder: Path = TEMPLATES, **values: Any) -> str:
    """Fill a template; ``style`` in it is the print style sheet that all of them share.

    Args:
        name: The template's file.
        folder: Where it lies.
        values: What it shows, escaped; a name that the template lacks is an error.
    """
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,  # by default a misspelt name is printed as nothing
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Pictures become part of the page, so that it can be passed on as one file.
    environment.filters["data_url"] = data_url
    # Templates have no isinstance() to ask what a block is.
    environment.tests["text"] = lambda block: isinstance(block, Text)
    environment.tests["table"] = lambda block: isinstance(block, Table)
    style = (TEMPLATES / "print.css").read_text(encoding="utf-8")
    # Our own file, so not escaped: a quote in a style sheet must stay a quote.
    return environment.get_template(name).render(style=Markup(style), **values)
