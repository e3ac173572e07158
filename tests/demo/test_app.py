"""The page as Gradio will serve it."""

import pytest

from skingpt4.demo import app as app_module
from skingpt4.demo.app import build_app
from skingpt4.demo.features.consultation import CHOICES, DEFAULTS
from skingpt4.demo.features.opinion import DRAWS
from skingpt4.demo.server import STYLES
from skingpt4.dermatology import DISCLAIMER, QUESTIONS
from skingpt4.documents.launch import launch_options


@pytest.fixture
def page(make_chat):
    return build_app(make_chat(), examples=[]).get_config_file()


def values(page, kind):
    return [part["props"].get("value") for part in page["components"] if part["type"] == kind]


def test_disclaimer_and_notice_are_shown_as_text(page):
    texts = "".join(map(str, values(page, "html")))
    assert "masthead.disclaimer" in texts or DISCLAIMER in texts
    assert "Drawn &lt;images&gt; only." in texts


def test_no_banner_without_a_notice(make_chat):
    page = build_app(make_chat(notice=""), examples=[]).get_config_file()
    assert "banner" not in "".join(map(str, values(page, "html")))


def test_every_question_of_the_paper_is_a_step(page):
    ids = [str(value) for value in values(page, "button")]
    steps = [f"conversation.step_{number}" for number in range(1, len(QUESTIONS) + 1)]
    assert [step for step in steps if any(step in value for value in ids)] == steps


def test_nothing_is_offered_as_an_api(page):
    assert page["dependencies"]
    assert {event["api_visibility"] for event in page["dependencies"]} == {"private"}


def test_defaults_are_greedy(page):
    chosen = {
        part["props"]["elem_id"]: part["props"]["value"]
        for part in page["components"]
        if str(part["props"].get("elem_id")).startswith("setting-") and part["type"] == "slider"
    }
    assert chosen.pop("setting-draws") == DRAWS == 10
    assert chosen == {f"setting-{name}": getattr(DEFAULTS, name) for name in CHOICES}
    assert DEFAULTS.temperature == 0 and DEFAULTS.num_beams == 1


def test_examples_are_there_and_small():
    photos = list(app_module.EXAMPLES_FOLDER.glob("*.jpg"))
    assert photos
    assert sum(photo.stat().st_size for photo in photos) < 400_000


def test_style_asks_nobody_else_for_anything():
    assert launch_options()["theme"]._stylesheets == []
    (style,) = STYLES
    css = style.read_text(encoding="utf-8")
    assert "url(" not in css and "@import" not in css
