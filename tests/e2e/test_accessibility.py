"""The page for everybody: an automated check (axe-core), names, order of focus, languages."""

import pytest
from playwright.sync_api import expect

from skingpt4.demo.app import EXAMPLES_FOLDER
from skingpt4.demo.i18n import say

PHOTO = (EXAMPLES_FOLDER / "acne.jpg").read_bytes()


def test_nothing_serious_is_found_with_everything_unfolded_and_an_error(visit):
    """The usual states are checked on the whole way, in ``test_clinician_path.py``."""
    visitor = visit(viewport={"width": 1280, "height": 900})
    page = visitor.page
    for section in page.locator("#main button.label-wrap:visible").all():
        if "open" not in section.get_attribute("class"):
            section.click()
    for _ in range(2):
        visitor.send_photo(PHOTO)
        expect(page.locator("#photo-tools")).to_be_visible()
        page.locator("#photo-tools button").first.click()
        expect(page.locator("#photo img")).to_have_count(0)
    visitor.send_photo(b"no photo")
    expect(page.locator("#status .error")).to_be_visible()
    assert visitor.violations() == []
    visitor.shoot("unfolded")


def test_the_check_finds_what_is_wrong(visit):
    visitor = visit(agrees=False)
    visitor.page.locator("#agree").evaluate("button => { button.innerText = ''; }")
    assert [finding.split(":")[0] for finding in visitor.violations()] == ["button-name"]


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
    firsts = sorted(set(order), key=order.index)
    assert firsts == [part for part in PARTS if part in firsts]
    assert {"photo", "steps", "question", "opinion", "evidence"} <= set(firsts)


PARTS = ("photo", "privacy", "steps", "question", "settings", "opinion", "evidence", "report")
"""Order in which the page is read."""

FOCUSED = """() => {
  const element = document.activeElement;
  if (!element || element === document.body) return null;
  window.seen = window.seen ?? new Map();
  if (!window.seen.has(element)) window.seen.set(element, window.seen.size);
  const labels = [...(element.labels ?? [])].map(label => label.innerText).join(" ");
  const name = element.getAttribute("aria-label") || element.innerText || labels
    || element.getAttribute("title") || "";
  const style = getComputedStyle(element);
  const shown = style.outlineStyle === "solid" && parseFloat(style.outlineWidth) >= 2;
  const parts = %s;
  const part = parts.find(id => element.closest("#" + id)) ?? null;
  return {key: window.seen.get(element), name: name.trim(), is_marked: shown, part: part};
}"""
FOCUSED %= list(PARTS)


@pytest.mark.parametrize(
    ("locale", "language", "code"),
    [("zh-TW", "zh", "zh-TW"), ("fr", "en", "fr")],
)
def test_the_browsers_language_is_spoken_in_labels_and_sentences(visit, locale, language, code):
    visitor = visit(locale=locale)
    page = visitor.page
    expect(page.locator("html")).to_have_attribute("lang", code)
    expect(page.locator("#disclaimer")).to_contain_text(say("masthead.disclaimer", language))
    expect(page.locator("#ask-all")).to_have_text(say("conversation.ask_all", language))
    page.locator("#examples button").first.click()
    visitor.expect_status(say("photo.ready", language))
