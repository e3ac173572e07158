"""Documents as self-contained HTML: no script, nothing fetched, fit for print."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from skingpt4.documents.document import Document, Table, Text
from skingpt4.documents.images import data_url

TEMPLATES = Path(__file__).parent / "templates"


def render_html(document: Document) -> str:
    """Write a document as one HTML page; all text in it is escaped."""
    return fill_template("report.html", document=document)


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
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_url"] = data_url
    environment.tests["text"] = lambda block: isinstance(block, Text)
    environment.tests["table"] = lambda block: isinstance(block, Table)
    style = (TEMPLATES / "print.css").read_text(encoding="utf-8")
    # Our own file, so not escaped: a quote in a style sheet must stay a quote.
    return environment.get_template(name).render(style=Markup(style), **values)
