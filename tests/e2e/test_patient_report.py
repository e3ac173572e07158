"""The report at the page: edits that stay, newer texts that are offered, files."""

import json
import re
from io import BytesIO
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect
from pypdf import PdfReader

from skingpt4.demo.app import EXAMPLE_FILES
from skingpt4.demo.i18n import say
from skingpt4.dermatology import QUESTIONS
from tests.e2e.conftest import DARK, PHONE

PHOTO = EXAMPLE_FILES[-1].read_bytes()

# Presses keys faster than a slow line takes them.
QUICKLY = {"delay": 5}

VIEWS = {
    "desktop_light_en": {"viewport": {"width": 1440, "height": 900}, "locale": "en-US"},
    "phone_dark_zh": PHONE | DARK | {"locale": "zh-CN"},
}


@pytest.fixture
def come(visit):
    """Open the page, show it a drawn photo, ask about it, and make the report."""

    def come(language="en", **view):
        visitor = visit(**view)
        visitor.show(PHOTO)
        expect(visitor.page.locator("#report")).to_have_count(0)
        visitor.ask("What is it?")
        make(visitor, language)
        return visitor

    return come


def make(visitor, language):
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


def test_an_edit_outlives_a_reload_and_is_asked_about_before_the_page_is_left(come, tmp_path):
    visitor = come(viewport={"width": 1280, "height": 720}, locale="en-US")
    page = visitor.page
    write(visitor, "more", "Written for an hour.")
    write(visitor, "date", "1 May")
    page.reload()
    assert len(visitor.asked) == 1, "the browser did not ask before it left"
    expect(box(visitor, "more")).to_have_value("Written for an hour.")
    expect(box(visitor, "date")).to_have_value("1 May")
    expect(page.locator("#make-report")).to_have_text(say("report.update", "en"))
    saved(visitor, "html", tmp_path)
    expect(page.locator("#report-unsaved")).to_have_count(0)
    page.reload()
    expect(box(visitor, "more")).to_have_value("Written for an hour.")
    assert len(visitor.asked) == 1, "the browser did not ask before it left"


def test_what_is_written_during_a_second_opinion_stays(come):
    """While something is under way the page asks again and again for what is new."""
    visitor = come(viewport={"width": 1280, "height": 720}, locale="en-US")
    visitor.press(say("opinion.begin", "en"))
    text = "Key by key, while bars grow beside it. " * 5
    box(visitor, "more").fill("")
    box(visitor, "more").press_sequentially(text, delay=20)
    expect(visitor.page.locator("#opinion-chart .verdict").first).to_be_visible()
    expect(box(visitor, "more")).to_have_value(text)


@pytest.mark.parametrize("name", VIEWS)
def test_a_newer_conversation_is_offered_and_an_edit_stays(come, name, tmp_path):
    language = name[-2:]
    visitor = come(language, **VIEWS[name])
    page = visitor.page
    write(visitor, "causes", "Mine, key by key.")
    write(visitor, "patient", "Case 7")
    visitor.ask(QUESTIONS[3])
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


def test_what_the_pdf_cannot_set_is_named_and_the_web_page_prints_it(come, browser, tmp_path):
    visitor = come(viewport={"width": 1280, "height": 720}, locale="en-US")
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
    # As the browser prints it: on paper of a postcard's size, so that there are several pages.
    pages = PdfReader(BytesIO(printed.pdf(width="105mm", height="148mm"))).pages
    assert len(pages) > 1
    for page in pages:
        assert say("report.watermark", "en") in page.extract_text()
    printed.close()


def test_map_and_bars_are_offered_when_they_are_there(come, tmp_path):
    visitor = come(viewport={"width": 1280, "height": 720}, locale="en-US")
    page = visitor.page
    for name in ("evidence", "opinion"):
        expect(page.locator(f"#report-with-{name}")).to_have_count(0)
    visitor.press(say("opinion.begin", "en"))
    expect(page.locator("#opinion-chart .verdict").first).to_be_visible()
    visitor.press(say("evidence.begin", "en"))
    expect(page.locator("#report-with-evidence")).to_be_visible()  # the map is whole
    page.click("#make-report")
    expect(page.locator("#offer-condition")).to_contain_text(re.compile(r"\(\d+\)"))
    page.locator("#offer-all button").last.click()
    for name in ("evidence", "opinion"):
        page.locator(f"#report-with-{name} input").check()
    page.locator("#report-with-photos input").uncheck()
    report = json.loads(saved(visitor, "json", tmp_path))
    assert report["photos"] == []
    said = page.locator("#evidence-map figcaption p").nth(1).inner_text()
    assert said and said in report["evidence"]["sentence"]
    assert sum(one["answers"] for one in report["opinion"]) == 10
