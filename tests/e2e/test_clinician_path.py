"""The whole way through the page, as a clinician takes it with a patient: twice, and by keyboard.

Between them the ways cover both sizes, both colour schemes and both languages; wherever a way
stops, axe-core looks for what would hinder somebody.
"""

import io
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import expect
from pypdf import PdfReader

from skingpt4.demo.app import EXAMPLES_FOLDER
from skingpt4.demo.i18n import say
from skingpt4.dermatology import QUESTIONS
from tests.e2e.conftest import DARK, PHONE, SEND, STOP

MOST_TABS = 80
GOOD = (EXAMPLES_FOLDER / "psoriasis.jpg").read_bytes()


def dark_photo() -> bytes:
    with Image.open(io.BytesIO(GOOD)) as image:
        buffer = io.BytesIO()
        image.point(lambda value: value // 12).save(buffer, "JPEG")
    return buffer.getvalue()


@dataclass
class Clinician:
    """Somebody who works with a mouse or a finger."""

    visitor: object
    name: str
    language: str

    @property
    def page(self):
        return self.visitor.page

    def say(self, key: str, **values) -> str:
        return say(key, self.language, **values)

    def press(self, selector: str) -> None:
        self.page.locator(selector).click()

    def button(self, key: str) -> str:
        return f'#main button:text-is("{self.say(key)}")'

    def expect(self, selector: str, text: str | re.Pattern[str]) -> None:
        expect(self.page.locator(selector)).to_contain_text(text)

    def choose_photo(self, data: bytes) -> None:
        self.visitor.send_photo(data)

    def show_photo(self, data: bytes) -> None:
        """Choose a photo, and wait until it can be asked about."""
        self.choose_photo(data)
        self.expect("#status", self.say("photo.ready"))

    def pause(self, place: str) -> None:
        """Look at the page as it is now."""
        assert self.visitor.violations() == []
        self.visitor.shoot(f"{self.name}_{place}")

    def write(self, selector: str, text: str) -> None:
        self.page.fill(selector, text)


class KeyboardClinician(Clinician):
    """Somebody without a mouse."""

    def focus(self, selector: str) -> None:
        """Press Tab until the element is focused."""
        expect(self.page.locator(selector)).to_be_enabled()
        wanted = self.page.locator(selector).element_handle()
        for _ in range(MOST_TABS):
            if self.page.evaluate("element => element === document.activeElement", wanted):
                return
            self.page.keyboard.press("Tab")
        pytest.fail(f"{MOST_TABS} times Tab did not lead to {selector}")

    def press(self, selector: str) -> None:
        self.focus(selector)
        self.page.keyboard.press("Enter")

    def choose_photo(self, data: bytes) -> None:
        with self.page.expect_file_chooser() as chooser:
            self.press("#choose")
        file = {"name": "photo.jpg", "mimeType": "image/jpeg", "buffer": data}
        chooser.value.set_files(file)

    def write(self, selector: str, text: str) -> None:
        self.focus(selector)
        self.page.keyboard.press("Control+A")
        self.page.keyboard.type(text)


def walk(person: Clinician, folder: Path) -> str:
    """Go all the way; return the text of the saved PDF."""
    person.pause("1_consent")
    expect(person.page.locator("#composer, #choose")).to_have_count(0)
    person.press("#agree")
    expect(person.page.locator("#composer textarea")).to_be_visible()
    person.pause("2_start")
    show_photos(person)
    converse(person)
    look_deeper(person)
    text = report(person, folder)
    forget(person)
    return text


def show_photos(person: Clinician) -> None:
    """Send a photo that is too dark, be told, and send a better one."""
    person.choose_photo(dark_photo())
    person.expect("#waiting .hint", person.say("photo.dark"))
    expect(person.page.locator("#cards")).to_have_count(0)  # nothing is asked before the decision
    person.pause("3_poor_photo")
    person.press("#waiting [data-act=remove]")
    person.expect("#status", person.say("photo.removed"))
    expect(person.visitor.waiting()).to_have_count(0)
    person.show_photo(GOOD)
    person.pause("4_photo")


def converse(person: Clinician) -> None:
    """Take the four steps, ask one more question."""
    visitor = person.visitor
    person.press("#ask-all")
    visitor.finish(len(QUESTIONS))
    assert visitor.questions() == list(QUESTIONS)
    assert "psoriasis" in visitor.answers()[0]
    person.pause("5_consultation")
    person.write("#composer textarea", "Is it contagious?")
    person.press(SEND)
    visitor.finish(len(QUESTIONS) + 1)


def look_deeper(person: Clinician) -> None:
    """Get a second opinion and an evidence map."""
    person.press(person.button("opinion.begin"))
    expect(person.page.locator("#opinion-chart .verdict").first).to_be_visible()
    person.press(person.button("evidence.begin"))
    expect(person.page.locator("#evidence img")).to_be_visible()
    expect(person.page.locator(person.button("evidence.stop"))).to_have_count(0)
    person.pause("6_opinion_and_evidence")


def report(person: Clinician, folder: Path) -> str:
    """Make the report, edit it, save it; return the PDF's text."""
    person.press("#make-report")
    person.expect("#report-status", person.say("report.made"))
    person.write("#report-doctor-questions textarea", "Do I need a biopsy?")
    person.pause("7_report")
    with person.page.expect_download() as saved:
        person.press("#save-pdf")
    path = folder / saved.value.suggested_filename
    saved.value.save_as(path)
    return "\n".join(page.extract_text() for page in PdfReader(path).pages)


def forget(person: Clinician) -> None:
    """Delete everything, and see that it is gone."""
    person.press("#privacy > button, #privacy button.label-wrap")
    person.press("#delete")
    person.expect("#status", person.say("privacy.deleted"))
    person.visitor.expect_nothing_said()
    expect(person.page.locator("#report-editor")).to_have_count(0)
    expect(person.visitor.waiting()).to_have_count(0)
    person.pause("8_deleted")


def check(text: str, person: Clinician) -> None:
    """Check that the PDF holds what was said, what was edited, and the warnings."""
    flat = "".join(text.split())
    for part in (
        "This could be a skin disease image of psoriasis.",
        "Psoriasis is an immune disease",
        "Is it contagious?",
        "Do I need a biopsy?",
        person.say("report.title"),
        person.say("report.red_flags"),
        person.say("masthead.disclaimer"),
        person.say("masthead.drawn"),
    ):
        assert "".join(part.split()) in flat


WAYS = {
    "desktop_light_en": {"viewport": {"width": 1280, "height": 900}, "locale": "en-US"},
    "phone_dark_zh": PHONE | DARK | {"locale": "zh-CN"},
}


@pytest.mark.parametrize("name", WAYS)
def test_the_whole_way(visit, server, name, tmp_path):
    person = Clinician(visit(agrees=False, **WAYS[name]), name, name[-2:])
    check(walk(person, tmp_path), person)
    width = person.page.evaluate("document.documentElement.scrollWidth")
    assert width <= WAYS[name]["viewport"]["width"]
    server.wait_for_no_files()


def test_the_whole_way_by_keyboard_alone(visit, server, tmp_path):
    view = {"viewport": {"width": 1280, "height": 900}, "locale": "en-US", "color_scheme": "dark"}
    person = KeyboardClinician(visit(agrees=False, **view), "keyboard", "en")
    check(walk(person, tmp_path), person)
    server.wait_for_no_files()


def test_stop_and_ask_again_by_keyboard(visit, rambling_server):
    person = KeyboardClinician(visit(rambling_server.url, agrees=False), "stop", "en")
    person.press("#agree")
    person.press("#examples button:first-child")
    person.expect("#status", person.say("photo.ready"))
    person.visitor.watch_answers()
    person.press("#ask-all")
    stop_at_the_first_words(person, rambling_server)
    stopped = person.visitor.finish()
    assert person.visitor.questions() == [QUESTIONS[0]]
    person.press(person.button("conversation.retry"))
    stop_at_the_first_words(person, rambling_server)
    person.visitor.finish()
    assert person.visitor.questions() == [QUESTIONS[0]]
    assert len(person.visitor.answers()) == 1 and stopped


def stop_at_the_first_words(person: Clinician, server) -> None:
    expect(person.page.locator(STOP)).to_be_visible()
    person.page.evaluate("window.growth = []")
    person.page.wait_for_function("window.growth.some(text => text.length > 3)")
    with server.standing_still(), person.page.expect_request("**/run/predict*"):
        person.press(STOP)
    person.expect("#status", person.say("conversation.stopped"))
