"""Two languages: the same texts in both."""

import string

import pytest

from skingpt4.common.config import Config
from skingpt4.demo.i18n import (
    CHINESE,
    catalogue,
    say,
    t,
    translated_notice,
    translations,
)
from skingpt4.dermatology import DISCLAIMER
from tests.conftest import PROJECT

SAME_IN_BOTH = {"report.filename"}


def placeholders(text):
    return sorted(name for _, name, _, _ in string.Formatter().parse(text) if name)


def test_both_languages_have_the_same_texts_in_the_same_order():
    assert list(catalogue("en")) == list(catalogue("zh"))
    assert all(isinstance(text, str) and text for text in catalogue("zh").values())


@pytest.mark.parametrize("key", catalogue("en"))
def test_a_text_has_the_same_places_for_values_and_tags_in_both_languages(key):
    english, chinese = catalogue("en")[key], catalogue("zh")[key]
    assert placeholders(english) == placeholders(chinese)
    assert english.count("<") == chinese.count("<")
    if key not in SAME_IN_BOTH and any(c.isalpha() for c in english.replace("{", "")):
        assert any("\u4e00" <= char <= "\u9fff" for char in chinese)


def test_a_sentence_has_its_values():
    assert say("report.photo_number", "en", number=2) == "Photo 2"
    assert say("report.photo_number", "zh", number=2) == "照片 2"


def test_a_text_that_no_panel_has_is_found_out_when_the_page_is_built():
    with pytest.raises(KeyError, match=r"report\.nonsense"):
        t("report.nonsense")


def test_gradio_gets_every_text_for_the_locales_that_its_page_knows():
    dictionary = translations().translations_dict
    assert dictionary.keys() == {"en", CHINESE}
    assert dictionary["en"]["report.make"] == say("report.make", "en")
    assert dictionary["zh-CN"].keys() == dictionary["en"].keys()


def test_fixed_sentences_are_the_same_as_elsewhere():
    assert say("masthead.disclaimer", "en") == DISCLAIMER
    notice = Config.load(PROJECT / "eval_configs" / "skingpt4_eval_tiny.yaml").model.notice
    assert translated_notice("zh", notice) == say("masthead.drawn", "zh")
    assert translated_notice("zh", notice + " Untrained: all.") == notice + " Untrained: all."
