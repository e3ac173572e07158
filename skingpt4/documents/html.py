"""Documents as self-contained HTML: no script, nothing fetched, fit for print."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from skingpt4.documents.document import Document, Table, Text
from skingpt4.documents.images import data_url

TEMPLATES = Path(__file__).parent / "templates"

STYLE = "print.css"


def render_html(document: Document) -> str:
    """Write a document as one HTML page; all text in it is escaped."""
    return fill_template("report.html", document=document)


def fill_template(name: str, **values: Any) -> str:
    """Fill one of the templates; ``style`` is the shared style sheet.

    Args:
        name: A file of ``templates/``.
        values: What it shows.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["address"] = data_url
    environment.tests["text"] = lambda block: isinstance(block, Text)
    environment.tests["table"] = lambda block: isinstance(block, Table)
    style = (TEMPLATES / STYLE).read_text(encoding="utf-8")
    # Ours, so not escaped: quotes in it mean quotes.
    return environment.get_template(name).render(style=Markup(style), **values)
