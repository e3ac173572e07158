"""A rater at the rating page, by keyboard only; the server is killed in between."""

import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import expect

from skingpt4.evaluation.report.build import write_report
from skingpt4.evaluation.report.inputs import load_evaluation
from skingpt4.evaluation.study.ratings import read_ratings
from tests.conftest import PROJECT
from tests.evaluation.small_study import SYSTEMS, make_folder
from tests.waiting import free_port

NAME = "Dr Ida Key"
MOST_TABS = 120
DIAGNOSIS = "#diagnosis textarea, #diagnosis input"
NAME_BOX = "#name textarea, #name input"
ITEM = "fieldset.item input"


@pytest.fixture
def folder(tmp_path):
    make_folder(tmp_path / "evaluation", count=2)
    return tmp_path / "evaluation"


@contextmanager
def served(folder, port, *options):
    """Run ``evaluate.py rate``; killed at the end as a power cut would, unless it has ended."""
    process = subprocess.Popen(
        [sys.executable, "evaluate.py", "rate", "--output", folder, "--port", str(port), *options],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    log = []
    for line in process.stdout:
        log.append(line)
        if "http://127.0.0.1:" in line:
            break
    else:
        pytest.fail("the rating page was not served:\n" + "".join(log))
    threading.Thread(target=lambda: log.extend(process.stdout), daemon=True).start()
    try:
        yield process
    finally:
        process.kill()
        process.wait(timeout=30)
    assert "Traceback" not in "".join(log), "".join(log)
    assert NAME not in "".join(log)


class Keyboard:
    """Somebody without a mouse."""

    def __init__(self, page) -> None:
        self.page = page

    def tab_to(self, selector: str) -> None:
        """Press Tab until an element is focused, once it can be."""
        expect(self.page.locator(selector).first).to_be_enabled()
        for _ in range(MOST_TABS):
            if self.page.evaluate("s => !!document.activeElement?.matches(s)", selector):
                return
            self.page.keyboard.press("Tab")
        pytest.fail(f"{MOST_TABS} times Tab did not lead to {selector}")

    def push(self, button: str) -> None:
        """Tab to a button by its text, once it can be pressed, and press Enter."""
        expect(self.page.get_by_role("button", name=button, exact=True)).to_be_enabled()
        for _ in range(MOST_TABS):
            if self.page.evaluate("document.activeElement?.innerText?.trim()") == button:
                self.page.keyboard.press("Enter")
                return
            self.page.keyboard.press("Tab")
        pytest.fail(f"{MOST_TABS} times Tab did not lead to the button '{button}'")

    def write(self, selector: str, text: str) -> None:
        self.tab_to(selector)
        self.page.keyboard.type(text)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def expect_status(self, text: str) -> None:
        expect(self.page.locator("#status")).to_contain_text(text)

    def open(self, url: str) -> None:
        self.page.goto(url)
        expect(self.page.locator(NAME_BOX)).to_be_visible()

    def shoot(self, name: str) -> None:
        if where := os.environ.get("SKINGPT4_SCREENSHOTS"):
            self.page.screenshot(path=Path(where) / f"{name}.png", full_page=True)


def begin(rater, url, button):
    rater.open(url)
    rater.write(NAME_BOX, NAME)
    rater.push(button)


def checked(page):
    """Return which radio of each item is chosen."""
    chosen = page.locator("fieldset.item input:checked").all()
    return [radio.get_attribute("value") for radio in chosen]


def test_a_case_by_keyboard_and_a_killed_server(browser, folder):
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    requests = []
    context.on("request", lambda request: requests.append(request.url))
    rater = Keyboard(context.new_page())
    with served(folder, port):
        begin(rater, url, "Start")
        rater.expect_status("write your own diagnosis")
        assert "could be a skin disease" not in rater.page.content()
        rater.shoot("rating_diagnosis")
        rater.write(DIAGNOSIS, "psoriasis")
        rater.push("Lock diagnosis")
        expect(rater.page.locator(".answers").first).to_contain_text("could be a skin disease")
        expect(rater.page.locator(ITEM).first).to_be_focused()
        for place, key in enumerate("543", start=1):
            rater.press(key)
            rater.expect_status(f"Saved. {7 - place} still to rate.")
        rater.shoot("rating_items")

    with served(folder, port) as process:
        begin(rater, url, "Continue")
        rater.expect_status("Rate each item")
        expect(rater.page.locator(DIAGNOSIS)).to_be_disabled()
        expect(rater.page.locator(DIAGNOSIS)).to_have_value("psoriasis")
        expect(rater.page.locator("fieldset.item input:checked")).to_have_count(3)
        assert checked(rater.page) == ["5", "4", "3"]
        rater.push("Next case")
        rater.expect_status("4 ratings are missing, first item 4")
        finish_case(rater, first_item=4)
        rater.push("Next case")
        rater.expect_status("write your own diagnosis")
        expect(rater.page.locator(DIAGNOSIS)).to_be_focused()
        rater.write(DIAGNOSIS, "hives")
        rater.push("Lock diagnosis")
        expect(rater.page.locator(ITEM).first).to_be_focused()
        finish_case(rater, first_item=1)
        rater.push("Next case")
        rater.expect_status("You have rated all your cases")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    context.close()
    assert [one for one in requests if not one.startswith((url, "data:", "blob:"))] == []
    check_export(folder)


def finish_case(rater, first_item):
    """Rate the items from one on: the first by Space and the arrows, the others by digits."""
    item = rater.page.locator("fieldset.item").nth(first_item - 1)
    rater.tab_to(f"{ITEM}[name='{item.locator('input').first.get_attribute('name')}']")
    rater.press("Space", "ArrowRight")
    rater.expect_status(f"Saved. {7 - first_item} still to rate.")
    expect(item.locator("input:checked")).to_have_value("2")
    rater.press("2")
    for place in range(first_item + 1, 8):
        rater.press("1")
        rest = f"{7 - place} still to rate." if place < 7 else "This case is complete."
        rater.expect_status(rest)


def check_export(folder):
    """Both cases, all items, nothing lost; the file read back gives the same report."""
    ratings = read_ratings(folder / "ratings.csv")
    scores = {}
    for rating in ratings:
        assert (rating.rater, rating.rater_kind) == (NAME, "dermatologist")
        assert rating.system == SYSTEMS[0]
        scores.setdefault(rating.case, []).append(rating.score)
    assert sorted(scores.values()) == [[2, 1, 1, 1, 1, 1, 1], [5, 4, 3, 2, 1, 1, 1]]
    assert "psoriasis" in (folder / "diagnoses.csv").read_text(encoding="utf-8")
    report = write_report(load_evaluation(folder), folder)[0].read_bytes()
    (folder / "report.html").unlink()
    assert write_report(load_evaluation(folder), folder)[0].read_bytes() == report


def test_lay_raters_see_two_items_and_names_are_taken_once(browser, folder):
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    context = browser.new_context(viewport={"width": 1600, "height": 1000})
    with served(folder, port, "--blind", "--systems", *SYSTEMS):
        rater = Keyboard(context.new_page())
        rater.open(url)
        rater.write(NAME_BOX, NAME)
        rater.tab_to("#kind input")
        rater.press("ArrowRight")
        rater.push("Start")
        rater.write(DIAGNOSIS, "a rash")
        rater.push("Lock diagnosis")
        rater.expect_status("Rate each item")
        expect(rater.page.locator("fieldset.item:visible")).to_have_count(2 * 2)
        expect(rater.page.locator(".answers h3").first).to_have_text("Answer A")
        assert not any(name in rater.page.content() for name in SYSTEMS)
        rater.shoot("rating_blinded")
        other = Keyboard(context.new_page())
        begin(other, url, "Start")
        other.expect_status("is already taken")
    context.close()
