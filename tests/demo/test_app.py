"""The page as Gradio will serve it."""

import pytest

from skingpt4.common.theme import THEME
from skingpt4.demo import app as app_module
from skingpt4.demo.app import QUESTION_LABELS, STYLE_PATH, build_app
from skingpt4.dermatology import DISCLAIMER, QUESTIONS


@pytest.fixture
def page(make_chat):
    return build_app(make_chat(), examples=[]).get_config_file()


def values(page, kind):
    return [part["props"].get("value") for part in page["components"] if part["type"] == kind]


def test_disclaimer_and_notice_are_shown_as_text(page):
    masthead = values(page, "html")[0]
    assert DISCLAIMER in masthead
    assert "Drawn &lt;images&gt; only." in masthead


def test_no_banner_without_a_notice(make_chat):
    page = build_app(make_chat(notice=""), examples=[]).get_config_file()
    assert "banner" not in values(page, "html")[0]


def test_every_question_of_the_paper_has_a_button(page):
    assert len(QUESTION_LABELS) == len(QUESTIONS)
    assert set(QUESTION_LABELS) <= set(values(page, "button"))


def test_nothing_is_offered_as_an_api(page):
    assert page["dependencies"]
    assert {event["api_visibility"] for event in page["dependencies"]} == {"private"}


def test_defaults_are_greedy(page):
    assert values(page, "slider") == [1, 0]


def test_examples_are_there_and_small():
    photos = list(app_module.EXAMPLES_FOLDER.glob("*.jpg"))
    assert photos
    assert sum(photo.stat().st_size for photo in photos) < 400_000


def test_style_asks_nobody_else_for_anything():
    assert THEME._stylesheets == []
    css = STYLE_PATH.read_text(encoding="utf-8")
    assert "url(" not in css and "@import" not in css
