"""The report at the page: edits that stay, newer texts that are offered, files."""

import json
import re
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from skingpt4.demo.app import EXAMPLES_FOLDER
from skingpt4.demo.i18n import say
from skingpt4.dermatology import QUESTIONS

PHOTO = (EXAMPLES_FOLDER / "psoriasis.jpg").read_bytes()

# Presses keys faster than a slow line takes them.
QUICKLY = {"delay": 5}

VIEWS = {
    "desktop_light_en": {"viewport": {"width": 1440, "height": 900}, "locale": "en-US"},
    "phone_dark_zh": {
        "viewport": {"width": 390, "height": 844},
        "locale": "zh-CN",
        "color_scheme": "dark",
        "has_touch": True,
        "is_mobile": True,
    },
}


def answer(visitor, language="en", question="What is it?"):
    """Let the visitor ask and be answered."""
    if visitor.page.locator("#photo img").count() == 0:
        visitor.send_photo(PHOTO)
        visitor.expect_status(say("photo.ready", language))
    asked = len(visitor.questions())
    visitor.type_question(question)
    visitor.press(say("conversation.send", language))
    visitor.finish(asked + 1)


def make(visitor, language="en"):
    visitor.page.click("#make-report")
    expect(visitor.page.locator("#report-status")).to_contain_text(say("report.made", language))


def box(visitor, name):
    return visitor.page.locator(f"#report-{name} :is(textarea, input)")


def write(visitor, name, text):
    """Type as a person does, key by key, and wait until the server knows."""
    box(visitor, name).fill("")
    box(visitor, name).press_sequentially(text, **QUICKLY)
    expect(visitor.page.locator("#report-unsaved")).to_have_attribute("data-unsaved", "true")


def saved(visitor, ending, folder: Path) -> bytes:
    with visitor.page.expect_download() as download:
        visitor.page.click(f"#save-{ending}")
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path.read_bytes()


@pytest.mark.parametrize("name", VIEWS)
def test_a_newer_conversation_is_offered_and_an_edit_stays(visit, name, tmp_path):
    visitor, language = visit(**VIEWS[name]), name[-2:]
    page = visitor.page
    expect(page.locator("#report")).to_have_count(0)
    answer(visitor, language)
    make(visitor, language)
    write(visitor, "causes", "Mine, key by key.")
    write(visitor, "patient", "Case 7")
    answer(visitor, language, QUESTIONS[3])
    page.click("#make-report")
    expect(page.locator("#offer-all")).to_contain_text("1")
    offered = page.locator(".offer:visible h3")
    expect(offered).to_have_count(1)  # of all that is newer, one by one
    expect(offered).to_contain_text(say("report.treatment", language))
    expect(page.locator("#offer-treatment .added")).not_to_have_count(0)
    expect(page.locator("#offer-treatment .removed")).to_contain_text(
        say("report.removed", language)
    )
    expect(box(visitor, "treatment")).to_have_value(say("report.not_asked", language))
    assert Axe().run(page, context="#report").response["violations"] == []
    visitor.shoot(f"report_{name}")
    page.locator("#offer-treatment button").first.click()
    expect(page.locator(".offer:visible")).to_have_count(0)
    assert page.evaluate("document.activeElement.id") == "report-treatment"
    expect(box(visitor, "treatment")).not_to_have_value(say("report.not_asked", language))
    expect(box(visitor, "causes")).to_have_value("Mine, key by key.")
    report = json.loads(saved(visitor, "json", tmp_path))
    assert (report["patient"], report["date"]) == ("Case 7", "")
    assert report["sections"]["causes"] == "Mine, key by key."
    expect(page.locator("#report-unsaved")).to_have_count(0)
    for part in page.locator("#report button:visible").all():
        assert part.bounding_box()["height"] >= 44
    for part in page.locator("#report :is(textarea, input[type=text]):visible").all():
        assert part.evaluate("part => parseFloat(getComputedStyle(part).fontSize)") >= 16


def test_what_the_pdf_cannot_set_is_named_and_the_web_page_prints_it(visit, browser, tmp_path):
    visitor = visit(viewport={"width": 1280, "height": 720}, locale="en-US")
    answer(visitor)
    make(visitor)
    text = "عربي हिन्दी 😀 頭髮"
    write(visitor, "more", text)
    visitor.page.click("#save-pdf")
    line = visitor.page.locator("#report-link .error")
    for part in ("😀", "頭", "ع", say("report.save_html", "en")):
        expect(line).to_contain_text(part)
    expect(visitor.page.locator("#report-link a")).to_have_count(0)
    path = tmp_path / "saved.html"
    path.write_bytes(saved(visitor, "html", tmp_path))
    printed = browser.new_page()
    printed.goto(path.as_uri())
    assert Axe().run(printed).response["violations"] == []
    expect(printed.locator("main")).to_contain_text(text)
    mark = printed.locator(".watermark span")
    expect(mark).to_have_text(say("report.watermark", "en"))
    printed.emulate_media(media="print")
    expect(mark).to_be_visible()
    printed.close()


def test_map_and_bars_are_offered_when_they_are_there(visit, tmp_path):
    visitor = visit(viewport={"width": 1280, "height": 720}, locale="en-US")
    page = visitor.page
    answer(visitor)
    make(visitor)
    for name in ("evidence", "opinion"):
        expect(page.locator(f"#report-with-{name}")).to_have_count(0)
    visitor.press(say("opinion.begin", "en"))
    expect(page.locator("#opinion-chart .verdict")).to_be_visible()
    visitor.press(say("evidence.begin", "en"))
    expect(page.get_by_role("button", name=say("evidence.begin", "en"))).to_be_enabled()
    page.click("#make-report")
    expect(page.locator("#offer-condition .added")).to_contain_text(re.compile(r"\(\d+\)"))
    page.locator("#offer-all button").last.click()
    for name in ("evidence", "opinion"):
        page.locator(f"#report-with-{name} input").check()
    page.locator("#report-with-photos input").uncheck()
    report = json.loads(saved(visitor, "json", tmp_path))
    assert report["photos"] == []
    assert report["evidence"]["sentence"] in page.locator("#evidence-map").inner_text()
    assert sum(one["answers"] for one in report["opinion"]) == 10
