"""The page's two languages: labels that the browser translates, sentences that the server writes.

``data/locales/en.yaml`` and ``zh.yaml`` hold the texts, by panel and key:

    gr.Button(t("photo.remove"))                        # a label: label, value, info, placeholder …
    say("photo.too_many", language_of(request), most=4)  # a sentence with values in it

    failure(error, language_of(request))                 # an error that was raised in English

A browser's first language decides, by the same rule on both sides. The rule is Gradio's: of the
forms of Chinese its page knows ``zh-CN`` and ``zh-TW``; every other language sees English.
"""

import logging
from functools import cache
from html import escape
from typing import Literal

import gradio as gr
from gradio.i18n import I18nData

from skingpt4.common.errors import UserError
from skingpt4.common.files import load_data
from skingpt4.documents.launch import log_place

logger = logging.getLogger(__name__)

Language = Literal["en", "zh"]

# Browser languages that see Chinese: those that Gradio's own page has a Chinese text for.
CHINESE_LOCALES = ("zh-CN", "zh-TW")


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


def language_of(request: gr.Request) -> Language:
    """Give the visitor's language: their browser's first, as its labels are shown."""
    accepted = str(request.headers.get("accept-language", "")) if request.headers else ""
    first = accepted.split(",")[0].split(";")[0].strip().lower()
    return "zh" if first in {locale.lower() for locale in CHINESE_LOCALES} else "en"


def translations() -> gr.I18n:
    """Give every text to Gradio, whose ``launch`` takes it as ``i18n``."""
    chinese = dict.fromkeys(CHINESE_LOCALES, catalogue("zh"))
    return gr.I18n(en=catalogue("en"), **chinese)


def translated_notice(language: Language, notice: str) -> str:
    """Give the embedded model's notice in the visitor's language, and any other as it is."""
    return say("masthead.drawn", language) if notice == say("masthead.drawn", "en") else notice


def status(message: str) -> str:
    """Write a message for people, as plain text inside HTML."""
    return f'<p role="status">{escape(message)}</p>'


def failure(error: Exception, language: Language = "en") -> str:
    """Write an error for people; an unforeseen one goes to the log, without what it quotes."""
    if isinstance(error, UserError):
        text = error_texts(language).get(error.key)
        sentence = text.format(**error.values) if text else str(error)
    else:
        sentence = say("page.unexpected", language)
        log_place(error, logger, "an action of the page")
    return f'<p role="alert" class="error">{escape(sentence)}</p>'
