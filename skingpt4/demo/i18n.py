"""The page's two languages: labels that the browser translates, sentences that the server writes.

A panel keeps its words in ``texts/<panel>.py`` and names them ``<panel>.<key>``:

    gr.Button(t("photo.remove"))                        # a label: label, value, info, placeholder …
    say("photo.too_many", language_of(request), most=4)  # a sentence with values in it

A browser's first language decides, by the same rule on both sides. The rule is Gradio's: of the
forms of Chinese its page knows ``zh-CN`` and ``zh-TW``; every other language sees English.
"""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Literal

import gradio as gr
from gradio.i18n import I18nData

from skingpt4.demo import texts

Language = Literal["en", "zh"]

CHINESE_LOCALES = ("zh-CN", "zh-TW")
"""Browser languages that see Chinese: those that Gradio's own page has a Chinese text for."""


def t(key: str) -> I18nData:
    """Give a text for a component's label, value, info, placeholder, description or title.

    The browser fills it in, also in an update. It must stand alone: no values, nothing around it.

    Raises:
        KeyError: If no panel has the text.
    """
    _catalogue("en")[key]
    return I18nData(key)


def say(key: str, language: Language, **values: object) -> str:
    """Write a sentence in the visitor's language, with the values put in its placeholders.

    Raises:
        KeyError: If no panel has the text, or a value is missing.
    """
    return _catalogue(language)[key].format(**values)


def language_of(request: gr.Request) -> Language:
    """Give the visitor's language: their browser's first, as its labels are shown."""
    accepted = str(request.headers.get("accept-language", "")) if request.headers else ""
    first = accepted.split(",")[0].split(";")[0].strip().lower()
    return "zh" if first in {locale.lower() for locale in CHINESE_LOCALES} else "en"


def translations() -> gr.I18n:
    """Give every text to Gradio, whose ``launch`` takes it as ``i18n``."""
    locales: dict[str, dict[str, str]] = {"en": _catalogue("en")}
    locales |= {locale: _catalogue("zh") for locale in CHINESE_LOCALES}
    return gr.I18n(**locales)


@cache
def _catalogue(language: Language) -> dict[str, str]:
    """Collect the texts of all panels as ``panel.key``."""
    catalogue: dict[str, str] = {}
    for module in iter_modules(texts.__path__):
        panel = import_module(f"{texts.__name__}.{module.name}")
        words: dict[str, str] = getattr(panel, language.upper())
        catalogue |= {f"{module.name}.{key}": text for key, text in words.items()}
    return catalogue
