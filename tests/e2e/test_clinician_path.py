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

MOST_TABS = 80
STOP_ATTEMPTS = 5
QUICK_STOP = """stop => {
    new MutationObserver((_, observer) => {
        const said = document.querySelector('#conversation .bot .message-content')?.innerText ?? '';
        if (said.length < 4 || stop.disabled) return;
        observer.disconnect();
        stop.click();
    }).observe(document.querySelector('#main'), {subtree: true, childList: true, attributes: true});
}"""
"""Presses Stop at the first words; no hand is quick enough for the embedded model."""

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

    def pause(self, place: str) -> None:
        """Look at the page as it is now."""
        assert self.visitor.violations() == []
        self.visitor.shoot(f"{self.name}_{place}")

    def quick_stop(self) -> None:
        """Press Stop as soon as an answer begins."""
        stop = self.page.locator(self.button("conversation.stop")).element_handle()
        self.page.evaluate(QUICK_STOP, stop)

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
            self.press("#photo button.upload-container")
        file = {"name": "photo.jpg", "mimeType": "image/jpeg", "buffer": data}
        chooser.value.set_files(file)

    def write(self, selector: str, text: str) -> None:
        self.focus(selector)
        self.page.keyboard.press("Control+A")
        self.page.keyboard.type(text)


def walk(person: Clinician, folder: Path) -> str:
    """Go all the way; return the text of the saved PDF."""
    person.pause("1_consent")
    expect(person.page.locator("#photo")).to_have_count(0)
    person.press("#agree")
    expect(person.page.locator("#conversation")).to_be_visible()
    person.pause("2_guide")
    show_photos(person)
    converse(person)
    look_deeper(person)
    text = report(person, folder)
    forget(person)
    return text


def show_photos(person: Clinician) -> None:
    """Send a photo that is too dark, be told, and send a better one."""
    person.choose_photo(dark_photo())
    person.expect("#hint", person.say("photo.dark"))
    person.pause("3_poor_photo")
    person.press(person.button("photo.retake"))
    person.expect("#status", person.say("photo.empty"))
    person.choose_photo(GOOD)
    person.expect("#status", person.say("photo.ready"))


def converse(person: Clinician) -> None:
    """Take the four steps, stop them half-way, ask the last again, then go to the end."""
    visitor = person.visitor
    stop_half_way(person)
    person.press(person.button("conversation.retry"))
    for state in ("stopped", "writing"):  # the one that was, then the one that follows
        over = person.say(f"conversation.{state}")
        expect(person.page.locator("#status")).not_to_contain_text(over)
    stopped = len(visitor.questions())
    visitor.finish(stopped)
    if stopped < len(QUESTIONS):
        person.press("#steps button:last-of-type")
    visitor.finish(len(QUESTIONS))
    assert visitor.questions() == list(QUESTIONS)
    assert "psoriasis" in visitor.answers()[0]
    person.pause("4_consultation")
    person.write("#question textarea", "Is it contagious?")
    person.press(person.button("conversation.send"))
    visitor.finish(len(QUESTIONS) + 1)


def stop_half_way(person: Clinician) -> None:
    """Stop the four steps; where all four were quicker than Stop, begin again."""
    ends = [person.say(f"conversation.{end}") for end in ("stopped", "all_asked")]
    for _ in range(STOP_ATTEMPTS):
        person.quick_stop()
        person.press("#steps button:last-of-type")
        person.expect("#status", re.compile("|".join(map(re.escape, ends))))
        if ends[0] in person.page.locator("#status").inner_text():
            return
        person.press(person.button("conversation.restart"))
        person.expect("#status", person.say("photo.empty"))
        person.choose_photo(GOOD)
        person.expect("#status", person.say("photo.ready"))
    pytest.fail(f"Stop came too late {STOP_ATTEMPTS} times")


def look_deeper(person: Clinician) -> None:
    """Get a second opinion and an evidence map."""
    person.press(person.button("opinion.begin"))
    expect(person.page.locator("#opinion-chart .verdict").first).to_be_visible()
    person.press(person.button("evidence.begin"))
    expect(person.page.locator("#evidence img")).to_be_visible()
    expect(person.page.locator(person.button("evidence.stop"))).to_have_count(0)
    person.pause("5_opinion_and_evidence")


def report(person: Clinician, folder: Path) -> str:
    """Make the report, edit it, save it; return the PDF's text."""
    person.press("#make-report")
    person.expect("#report-status", person.say("report.made"))
    person.write("#report-doctor-questions textarea", "Do I need a biopsy?")
    person.pause("6_report")
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
    expect(person.page.locator("#photo img")).to_have_count(0)
    person.pause("7_deleted")


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
    "phone_dark_zh": {
        "viewport": {"width": 390, "height": 844},
        "locale": "zh-CN",
        "color_scheme": "dark",
        "has_touch": True,
        "is_mobile": True,
    },
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


def test_stop_is_reached_by_keyboard(visit, rambling_server):
    person = KeyboardClinician(visit(rambling_server.url, agrees=False), "stop", "en")
    person.press("#agree")
    person.press("#examples button:first-child")
    person.expect("#status", person.say("photo.ready"))
    person.visitor.watch_answers()
    person.write("#question textarea", "Tell me everything.")
    person.page.keyboard.press("Enter")
    person.page.wait_for_function("window.growth.some(text => text.length > 3)")
    with rambling_server.standing_still(), person.page.expect_request("**/run/predict*"):
        person.press(person.button("conversation.stop"))
    person.expect("#status", person.say("conversation.stopped"))
