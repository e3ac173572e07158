"""Two languages: the same texts in both, and the same rule for who sees which."""

import string
from importlib import import_module
from pkgutil import iter_modules
from types import SimpleNamespace

import pytest

from skingpt4.common.config import Config
from skingpt4.demo import texts
from skingpt4.demo.features.masthead import notice_in
from skingpt4.demo.i18n import CHINESE_LOCALES, language_of, say, t, translations
from skingpt4.dermatology import DISCLAIMER
from tests.conftest import PROJECT

PANELS = [module.name for module in iter_modules(texts.__path__)]
SAME_IN_BOTH = {"filename"}


def placeholders(text):
    return sorted(name for _, name, _, _ in string.Formatter().parse(text) if name)


def request(languages):
    return SimpleNamespace(headers={} if languages is None else {"accept-language": languages})


@pytest.mark.parametrize("panel", PANELS)
def test_both_languages_have_the_same_texts_with_the_same_places_for_values(panel):
    words = import_module(f"{texts.__name__}.{panel}")
    assert words.EN.keys() == words.ZH.keys()
    for key, english in words.EN.items():
        chinese = words.ZH[key]
        assert placeholders(english) == placeholders(chinese), key
        assert english.count("<") == chinese.count("<"), key
        if key not in SAME_IN_BOTH and any(c.isalpha() for c in english.replace("{", "")):
            assert any("\u4e00" <= char <= "\u9fff" for char in chinese), key


@pytest.mark.parametrize(
    ("languages", "expected"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("zh-TW", "zh"),
        ("ZH-cn;q=1", "zh"),
        ("en-US,zh-CN;q=0.9", "en"),
        ("zh", "en"),  # Gradio's page shows English labels then, so sentences are English, too
        ("de-DE,de;q=0.9", "en"),
        ("<script>", "en"),
        ("", "en"),
        (None, "en"),
    ],
)
def test_the_browsers_first_language_decides(languages, expected):
    assert language_of(request(languages)) == expected


def test_a_sentence_has_its_values():
    assert say("report.photo_number", "en", number=2) == "Photo 2"
    assert say("report.photo_number", "zh", number=2) == "照片 2"


def test_a_text_that_no_panel_has_is_found_out_when_the_page_is_built():
    with pytest.raises(KeyError, match=r"report\.nonsense"):
        t("report.nonsense")


def test_gradio_gets_every_text_for_the_locales_that_its_page_knows():
    dictionary = translations().translations_dict
    assert dictionary.keys() == {"en", *CHINESE_LOCALES}
    assert dictionary["en"]["report.make"] == say("report.make", "en")
    assert dictionary["zh-TW"] == dictionary["zh-CN"]
    assert dictionary["zh-CN"].keys() == dictionary["en"].keys()


def test_fixed_sentences_are_the_same_as_elsewhere():
    assert say("masthead.disclaimer", "en") == DISCLAIMER
    notice = Config.load(PROJECT / "eval_configs" / "skingpt4_eval_tiny.yaml").model.notice
    assert notice_in("zh", notice) == say("masthead.drawn", "zh")
    assert notice_in("zh", notice + " Untrained: all.") == notice + " Untrained: all."
