"""Two languages: the same texts in both."""

import ast
import pickle
import string

import pytest

from skingpt4.common.config import Config
from skingpt4.common.errors import ChatError, PhotoError
from skingpt4.demo.address import Address
from skingpt4.demo.i18n import (
    CHINESE,
    catalogue,
    error_texts,
    failure,
    say,
    t,
    translated_notice,
)
from skingpt4.demo.server import served
from skingpt4.dermatology import DISCLAIMER
from skingpt4.processors.photo import REFUSALS, open_photo
from tests.conftest import PROJECT
from tests.waiting import free_port

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


def test_gradio_gets_every_text_for_the_locales_that_its_page_knows(make_chat):
    with served(make_chat(), Address(port=free_port())) as app:
        dictionary = app.i18n_instance.translations_dict
    assert dictionary.keys() == {"en", CHINESE}
    assert dictionary["en"]["report.make"] == say("report.make", "en")
    assert dictionary["zh-CN"].keys() == dictionary["en"].keys()


def test_fixed_sentences_are_the_same_as_elsewhere():
    assert say("masthead.disclaimer", "en") == DISCLAIMER
    notice = Config.load(PROJECT / "eval_configs" / "skingpt4_eval_tiny.yaml").model.notice
    assert translated_notice("zh", notice) == say("masthead.drawn", "zh")
    assert translated_notice("zh", notice + " Untrained: all.") == notice + " Untrained: all."


def raised_errors():
    """Yield the key and the values of each error that the page's visitors can meet, as raised."""
    for folder in ("conversation", "demo", "processors"):
        for path in (PROJECT / "skingpt4" / folder).rglob("*.py"):
            for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if getattr(getattr(call, "func", None), "id", "") in ("ChatError", "PhotoError"):
                    # A sentence that `say` wrote is in the visitor's language already.
                    if isinstance(call.args[0], ast.Call):
                        continue
                    where = f"{path.name}:{call.lineno}"
                    if path.name == "terminal.py":  # no part of the page
                        continue
                    key = call.args[1] if len(call.args) > 1 else None
                    yield where, key, {value.arg for value in call.keywords}


def test_every_error_of_the_page_has_a_chinese_sentence_with_its_values():
    chinese, seen = error_texts("zh"), set()
    for where, key, values in raised_errors():
        if where.startswith("photo.py") and isinstance(key, ast.JoinedStr):
            continue  # of a table, and checked below
        if where.startswith("chat.py") and key is None and not values:
            continue  # a photo's tensor of another shape, or unlike numbers of photos: a program's
        assert key is not None, f"{where}: no key"
        assert set(placeholders(chinese[key.value])) <= {"sentence", *values}, where
        seen.add(key.value)
    for kind, english in REFUSALS.items():
        key = f"photo_{kind}"
        assert set(placeholders(chinese[key])) == {"name", *placeholders(english)}, kind
        seen.add(key)
    assert seen == set(chinese)


def test_an_error_is_shown_in_the_visitors_language():
    with pytest.raises(PhotoError) as caught:
        open_photo(b"\0\0\0\x14ftypqt  " + bytes(99), name="IMG_0042.MOV")
    assert "is a film: take a photo, or send a still" in failure(caught.value, "en")
    chinese = failure(caught.value, "zh")
    assert "文件&#x27;IMG_0042.MOV&#x27;是视频" in chinese and "film" not in chinese
    error = ChatError("There are 1,234 things.", "long_question", length=1234, limit=1000)
    assert "1,234" in failure(error, "zh") and "1,000" in failure(error, "zh")
    assert "Only in English" in failure(ChatError("Only in English."), "zh")


def test_an_error_keeps_its_key_between_processes():
    error = pickle.loads(pickle.dumps(PhotoError("It is big.", "photo_large", limit=3)))
    assert (str(error), error.key, error.values) == ("It is big.", "photo_large", {"limit": 3})
