"""The page's two languages: labels that the browser translates, sentences that the server writes.

``data/locales/en.yaml`` and ``zh.yaml`` hold the texts, by panel and key:

    gr.Button(t("photo.remove"))                        # a label: label, value, info, placeholder …
    say("photo.number", session.language, number=2)  # a sentence with values in it

The page's own script decides: what the visitor has switched to, else Chinese for a browser whose
first language is any kind of Chinese, else English. It tells Gradio's script by ``zh-CN`` or ``en``
and the server when the page is entered.
"""

import json
import logging
from functools import cache
from html import escape
from pathlib import Path
from typing import Literal, get_args

from gradio.i18n import I18nData

from skingpt4.common.errors import UserError
from skingpt4.common.files import load_data
from skingpt4.documents.launch import log_place

logger = logging.getLogger(__name__)

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = get_args(Language)

# What the page's script calls Chinese to Gradio, which has texts of its own by this name.
CHINESE = "zh-CN"


@cache
def catalogue(language: Language) -> dict[str, str]:
    """Read the texts of all panels, as ``panel.key``."""
    panels = load_data(f"locales/{language}.yaml")
    return {
        f"{panel}.{key}": text
        for panel, texts in panels.items()
        if panel != "errors"
        for key, text in texts.items()
    }


@cache
def error_texts(language: Language) -> dict[str, str]:
    """Read the sentences of errors, by their key; of English there are none but those raised."""
    return dict(load_data(f"locales/{language}.yaml").get("errors", {}))


def t(key: str) -> I18nData:
    """Give a text for a component's label, value, info, placeholder, description or title.

    The browser fills it in, also in an update. It must stand alone: no values, nothing around it.

    Raises:
        KeyError: If no panel has the text.
    """
    catalogue("en")[key]  # a missing text is found when the page is built, not when it is shown
    return I18nData(key)


def say(key: str, language: Language, **values: object) -> str:
    """Write a sentence in the visitor's language, with the values put in its placeholders.

    Raises:
        KeyError: If no panel has the text, or a value is missing.
    """
    return catalogue(language)[key].format(**values)


def page_script() -> str:
    """Return the page's own script, with its texts in both languages, as JavaScript."""
    texts = {name: load_data(f"locales/{name}.yaml")["script"] for name in ("en", "zh")}
    # "</" would end the script in the middle of a text.
    data = json.dumps(texts, ensure_ascii=False).replace("</", "<\\/")
    code = (Path(__file__).parent / "page.js").read_text(encoding="utf-8")
    return f"window.skingpt4 = {{texts: {data}}};\n{code}"


def login_message() -> str:
    """Say what the page is, as HTML for the login page, which the server writes for everybody.

    It holds both languages, and shows that of the document, which the page's script has set.
    """
    said = "".join(
        f'<span class="about" lang="{language}">{escape(say("login.about", language))}</span>'
        for language in LANGUAGES
    )
    hidden = "html:lang(en) .about:lang(zh), html:lang(zh) .about:lang(en)"
    return f"<style>.about {{display: block}} {hidden} {{display: none}}</style>{said}"


def translated_notice(language: Language, notice: str, otherwise: str = "") -> str:
    """Give the embedded model's notice in the visitor's language, and any other as it is.

    Args:
        language: The visitor's.
        notice: The model's own; may be empty.
        otherwise: Names the text to give in place of an empty one.
    """
    if not notice:
        return say(otherwise, language) if otherwise else ""
    return say("masthead.drawn", language) if notice == say("masthead.drawn", "en") else notice


def status(message: str) -> str:
    """Write a message for people, as plain text inside HTML."""
    return f'<p role="status">{escape(message)}</p>'


def failure(error: Exception, language: Language = "en") -> str:
    """Write an error for people; an unforeseen one goes to the log, without what it quotes."""
    if isinstance(error, UserError):
        text = error_texts(language).get(error.key)
        sentence = text.format(sentence=error, **error.values) if text else str(error)
    else:
        sentence = say("page.unexpected", language)
        log_place(error, logger, "an action of the page")
    return f'<p role="alert" class="error">{escape(sentence)}</p>'
