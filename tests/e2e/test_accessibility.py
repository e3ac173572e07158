"""The page for everybody: an automated check (axe-core) and what it cannot see, tried by hand."""

import re
from itertools import pairwise

import pytest
from playwright.sync_api import expect

from skingpt4.demo.app import EXAMPLES_FOLDER
from skingpt4.demo.i18n import say
from skingpt4.dermatology import QUESTIONS
from tests.e2e.conftest import DARK, NOTES, PHONE
from tests.e2e.test_clinician_path import dark_photo

PHOTO = (EXAMPLES_FOLDER / "acne.jpg").read_bytes()

DESKTOP = {"viewport": {"width": 1280, "height": 720}}
VIEWS = {
    "desktop_light": DESKTOP,
    "desktop_dark_zh": DESKTOP | DARK | {"locale": "zh-CN"},
    "phone_light_zh": PHONE | {"locale": "zh-CN"},
    "phone_dark": PHONE | DARK,
}

# What can be pressed or written in and is smaller than a fingertip; of a choice, its label counts.
SMALL_SCRIPT = """() => [...document.querySelectorAll(
        'button, a[href], input:not([type=file]), textarea, summary, [role=button]')]
    .filter(element => element.checkVisibility({visibilityProperty: true, opacityProperty: true}))
    .map(element => ['radio', 'checkbox'].includes(element.type)
        ? element.closest('label') : element)
    .filter(element => {
        const {width, height} = element.getBoundingClientRect();
        return width < 44 || height < 44;
    })
    .map(element => element.outerHTML.slice(0, 160))"""

# Text fields with letters so small that a phone would zoom into them.
SMALL_TEXT_SCRIPT = """() => [...document.querySelectorAll(
        'textarea, input:not([type=file], [type=range], [type=radio], [type=checkbox])')]
    .filter(field => field.checkVisibility() && parseFloat(getComputedStyle(field).fontSize) < 16)
    .map(field => field.outerHTML.slice(0, 160))"""

MOVING_SCRIPT = """() => [...document.querySelectorAll('*')].filter(element => {
        const style = getComputedStyle(element);
        return [style.transitionDuration, style.animationDuration].some(
            times => times.split(',').some(time => parseFloat(time) > 0.001));
    }).map(element => element.outerHTML.slice(0, 160))"""

IN_VIEW_SCRIPT = """element => {
    const {top, bottom, left, right} = element.getBoundingClientRect();
    const isInside = top >= 0 && left >= 0 && bottom <= innerHeight && right <= innerWidth;
    // The composer stays at the bottom, and could lie over it.
    return isInside && element.contains(document.elementFromPoint((left + right) / 2, bottom - 2));
}"""


def stages(visitor):
    """Go through the page, and stop wherever it looks different."""
    page = visitor.page
    yield "consent"
    visitor.agree()
    visitor.unfold("guide")
    yield "start"
    visitor.send_photo(dark_photo())
    expect(page.locator("#waiting .hint")).to_be_visible()
    yield "poor photo"
    page.click("#waiting [data-act=use]")
    expect(page.locator("#waiting .hint")).to_have_count(0)
    yield "photo"
    page.click("#waiting [data-local=edit]")
    expect(page.locator("dialog canvas")).to_be_visible()
    yield "dialog"
    page.keyboard.press("Escape")
    visitor.ask("What is it?")
    yield "answer"
    for part in ("settings", "advanced", "privacy"):
        visitor.unfold(part)
    page.click("#begin-opinion")
    expect(page.locator("#opinion-chart .verdict").first).to_be_visible()
    page.click("#begin-evidence")
    expect(page.locator("#evidence-map img")).to_be_visible()
    page.click("#make-report")
    expect(page.locator("#report-editor")).to_be_visible()
    yield "tools"
    visitor.send_photo(b"no photo")
    expect(page.locator("#status .error")).to_be_visible()
    yield "error"


@pytest.mark.parametrize("view", VIEWS)
def test_nothing_is_found_at_any_stage_and_all_is_large_enough(visit, view):
    visitor = visit(agrees=False, **VIEWS[view])
    found = {}
    for stage in stages(visitor):
        visitor.shoot(f"stage_{view}_{stage.replace(' ', '_')}")
        small = [*visitor.page.evaluate(SMALL_SCRIPT), *visitor.page.evaluate(SMALL_TEXT_SCRIPT)]
        found[stage] = visitor.violations() + small
    assert {stage: findings for stage, findings in found.items() if findings} == {}


def test_the_check_finds_what_is_wrong(visit):
    visitor = visit(agrees=False)
    visitor.page.locator("#agree").evaluate("button => { button.innerText = ''; }")
    assert [finding.split(":")[0] for finding in visitor.violations()] == ["button-name"]
    small = "button => { button.style = 'min-height: 0; height: 20px; padding: 0'; }"
    visitor.page.locator("#agree").evaluate(small)
    visitor.page.wait_for_function(f"({SMALL_SCRIPT})().length > 0")  # it shrinks slowly
    assert "agree" in visitor.page.evaluate(SMALL_SCRIPT)[0]


def test_every_control_has_a_name_and_focus_is_seen(visit):
    """Tab through the whole page: what is reached has a name, and shows that it is reached."""
    visitor = visit(viewport={"width": 1280, "height": 900})
    page = visitor.page
    page.locator("#examples button").first.click()
    expect(page.locator("#status")).to_contain_text("ready")
    visitor.ask("What is it?")  # only then can the second opinion and the map be made
    page.locator("h1").evaluate("title => { title.tabIndex = -1; title.focus(); }")
    reached = []
    for _ in range(80):
        page.keyboard.press("Tab")
        control = page.evaluate(FOCUSED)
        if control is None or control["key"] in [one["key"] for one in reached]:
            break
        reached.append(control)
    assert [one for one in reached if not one["name"]] == []
    assert [one["name"] for one in reached if not one["is_marked"]] == []
    order = [one["part"] for one in reached if one["part"]]
    assert sorted(set(order), key=order.index) == list(PARTS)


PARTS = (
    "languages",
    "conversation",
    "cards",
    "composer",
    "controls",
    "opinion",
    "evidence",
    "report",
    "settings",
    "privacy",
)
"""Order in which the page is read."""

FOCUSED = """() => {
  const element = document.activeElement;
  if (!element || element === document.body) return null;
  window.seen = window.seen ?? new Map();
  if (!window.seen.has(element)) window.seen.set(element, window.seen.size);
  const labels = [...(element.labels ?? [])].map(label => label.innerText).join(" ");
  const name = element.getAttribute("aria-label") || element.innerText || labels
    || element.querySelector("img")?.alt || element.getAttribute("title") || "";
  const style = getComputedStyle(element);
  const shown = style.outlineStyle === "solid" && parseFloat(style.outlineWidth) >= 2;
  const parts = %s;
  const part = parts.find(id => element.closest("#" + id)) ?? null;
  return {key: window.seen.get(element), name: name.trim(), is_marked: shown, part: part};
}"""
FOCUSED %= list(PARTS)


def test_the_focus_is_never_lost(visit):
    """What was pressed by keyboard is often gone afterwards; the focus is then elsewhere."""
    visitor = visit(agrees=False, **DESKTOP)
    page = visitor.page

    def press(selector, then):
        page.locator(selector).first.press("Enter")
        expect(page.locator(then)).not_to_have_count(0)
        page.wait_for_function("document.activeElement.closest('main, dialog')")

    press("#agree", "#choose")
    press("#examples button", "#waiting figure")
    press("#waiting [data-local=edit]", "dialog canvas")
    page.keyboard.press("Escape")
    expect(page.locator("#waiting [data-local=edit]")).to_be_focused()
    press("#waiting .zoom", "dialog img")
    page.keyboard.press("Escape")
    expect(page.locator("#waiting .zoom")).to_be_focused()
    press("#waiting [data-act=remove]", "#choose:visible")
    press("#undo", "#waiting figure")
    press("#cards button", NOTES)
    press("#restart", "#choose:visible")
    press("#undo", NOTES)
    press("#ask-all", f":nth-match({NOTES}, {len(QUESTIONS)})")


def test_headings_and_regions_tell_the_parts_apart(visit):
    visitor = visit(agrees=False)
    page = visitor.page
    expect(page.get_by_role("heading", level=1)).to_have_text("SkinGPT-4")
    for stage in stages(visitor):
        levels = page.locator("h1:visible, h2:visible, h3:visible, h4:visible").evaluate_all(
            "headings => headings.map(heading => Number(heading.tagName[1]))"
        )
        assert levels.count(1) == 1, stage
        assert all(below <= above + 1 for above, below in pairwise(levels)), stage
        expect(page.get_by_role("main")).to_have_count(1)
        # The page is as wide as it may be, however little is on it.
        assert page.locator(".gradio-container").bounding_box()["width"] == 1240, stage
    for role, name in (
        ("navigation", re.compile("Language")),
        ("region", say("script.conversation", "en")),
        ("region", say("script.tools", "en")),
        ("log", say("script.conversation", "en")),
    ):
        expect(page.get_by_role(role, name=name, exact=True)).to_have_count(1)


@pytest.mark.parametrize("part", ["guide", "settings", "privacy"])
def test_what_folds_says_whether_it_is_open(visit, part):
    page = visit().page
    fold = page.locator(f"#{part} button.label-wrap")
    for state in ("false", "true", "false"):
        expect(fold.first).to_have_attribute("aria-expanded", state)
        fold.first.press("Enter")


def test_one_lasting_region_tells_what_is_new(visit):
    visitor = visit()
    page = visitor.page
    live = page.locator("#live").element_handle()
    expect(page.locator("#live")).to_have_attribute("role", "status")
    page.locator("#examples button").first.click()
    expect(page.locator("#live")).to_have_text(say("photo.ready", "en"))
    visitor.send_photo(b"no photo")
    expect(page.locator("#status .error")).to_be_visible()
    assert page.locator("#live").inner_text() == page.locator("#status").inner_text().strip()
    page.click("#restart")
    expect(page.locator("#live")).to_have_text(say("conversation.begun_again", "en"))
    assert live.evaluate("element => element === document.querySelector('#live')")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_it_is_said_who_speaks(visit, language):
    visitor = visit(locale=language)
    visitor.page.locator("#examples button").first.click()
    visitor.press_card(QUESTIONS[0])
    answer = visitor.finish()
    asked, said = (
        visitor.page.get_by_role("group", name=say(f"script.{who}", language), exact=True)
        for who in ("you", "model")
    )
    expect(asked).to_contain_text(QUESTIONS[0])
    expect(said).to_contain_text(answer)


def test_whoever_asks_for_less_motion_gets_it(visit):
    visitor = visit(reduced_motion="reduce")
    visitor.page.locator("#examples button").first.click()
    visitor.press_card(QUESTIONS[0])
    visitor.finish()
    assert visitor.page.evaluate(MOVING_SCRIPT) == []


def test_what_comes_of_something_is_said_where_it_is_seen(visit):
    """On a phone, without scrolling."""
    visitor = visit(**PHONE)
    page = visitor.page

    def expect_in_view(selector):
        shown = page.locator(selector).first
        expect(shown).to_be_visible()
        page.wait_for_function(IN_VIEW_SCRIPT, arg=shown.element_handle())

    visitor.send_photo(b"no photo")
    expect_in_view("#status .error")
    visitor.show(PHOTO)
    expect_in_view("#waiting figure")
    visitor.type_question(" ")
    visitor.send()
    expect_in_view("#status .error")
    visitor.ask("What is it?")
    expect_in_view(NOTES)
    page.click("#begin-opinion")
    expect_in_view("#opinion-chart .verdict")
    page.click("#begin-evidence")
    expect_in_view("#evidence-map figure img")
    page.click("#make-report")
    expect_in_view("#report-status p")


@pytest.mark.parametrize(
    ("locale", "language", "code"),
    [("zh-TW", "zh", "zh-CN"), ("fr", "en", "en")],
)
def test_the_browsers_language_is_spoken_in_labels_and_sentences(visit, locale, language, code):
    visitor = visit(locale=locale)
    page = visitor.page
    expect(page.locator("html")).to_have_attribute("lang", code)
    expect(page.locator("#disclaimer")).to_contain_text(say("masthead.disclaimer", language))
    expect(page.locator("#choose")).to_have_text(say("photo.choose", language))
    page.locator("#examples button").first.click()
    visitor.expect_status(say("photo.ready", language))
    visitor.ask("What is it?")
    expect(page.locator("#make-report")).to_have_text(say("report.make", language))
