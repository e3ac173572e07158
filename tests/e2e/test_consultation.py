"""A consultation from the first step to the map, and ten of them at once."""

import io

import pytest
from PIL import Image
from playwright.sync_api import expect

from skingpt4.conversation.chat import load_chat
from skingpt4.demo.app import EXAMPLES_FOLDER
from skingpt4.demo.i18n import say
from skingpt4.dermatology import QUESTIONS
from skingpt4.synthetic.text import WORDINGS, Intent
from tests.conftest import PROJECT
from tests.waiting import wait_for

EXAMPLES = sorted(EXAMPLES_FOLDER.glob("*.jpg"))
VISITORS = 10
LEFT_OVER_MIB = 48
"""How much bigger the server may be once all have left; ten photos in full size take 150 MiB."""


def press_in(visitor, panel, name):
    visitor.page.locator(panel).get_by_role("button", name=name, exact=True).click()


def test_a_guided_consultation(visit):
    visitor = visit(viewport={"width": 1280, "height": 900})
    cards = visitor.page.locator("#cards button")
    visitor.page.locator("#examples button").nth(2).click()
    visitor.expect_status("The photo is ready.")
    expect(visitor.page.locator("#opinion, #evidence, #make-report")).to_have_count(0)
    expect(cards).to_have_count(len(QUESTIONS) + 1)
    visitor.press_card(QUESTIONS[0])
    first = visitor.finish()
    expect(cards).to_have_text(
        [say("conversation.step_2", "en"), say("conversation.ask_rest", "en", number=3)]
    )
    cards.last.click()
    visitor.finish(4)
    visitor.expect_status(say("conversation.all_asked", "en"))
    expect(cards).to_have_count(0)
    assert visitor.questions() == list(QUESTIONS)

    press_in(visitor, "#controls", say("conversation.retry", "en"))
    visitor.expect_status(say("conversation.same_again", "en"))
    press_in(visitor, "#controls", say("conversation.edit", "en"))
    expect(visitor.page.locator("#composer textarea")).to_have_value(QUESTIONS[-1])
    visitor.type_question("Is it dangerous?")
    visitor.send()
    expect(visitor.page.locator("#conversation .user-row").nth(3)).to_contain_text("dangerous")
    visitor.finish(4)
    assert visitor.questions() == [*QUESTIONS[:3], "Is it dangerous?"]
    assert visitor.answers()[0] == first
    check_opinion(visitor)
    check_map(visitor)
    visitor.shoot("consultation")
    visitor.page.click("#restart")
    expect(visitor.page.locator("#opinion")).to_have_count(0)
    expect(visitor.page.locator("#evidence")).to_have_count(0)


def check_opinion(visitor):
    press_in(visitor, "#opinion", "Get a second opinion")
    expect(visitor.page.locator("#opinion-chart .verdict").first).to_be_visible()
    expect(visitor.page.locator("#begin-opinion")).to_be_focused()
    counts = visitor.page.locator("#opinion-chart td").all_inner_texts()
    assert sum(int(text.split()[0]) for text in counts) == 10
    expect(visitor.page.locator("#opinion-chart tbody th").first).to_contain_text("melanoma")
    check_targets(visitor, "#opinion")


def check_map(visitor):
    press_in(visitor, "#evidence", "Make the map")
    picture = visitor.page.locator("#evidence-map img")
    expect(picture).to_be_visible()
    expect(visitor.page.locator("#evidence-status")).to_have_text("")
    assert picture.evaluate("image => image.naturalWidth") > 0
    expect(visitor.page.locator("#evidence-map")).to_contain_text(say("evidence.label", "en"))
    check_targets(visitor, "#evidence")


def test_stop_hands_the_focus_back_to_the_button_that_began(visit, server):
    visitor = visit(viewport={"width": 390, "height": 844})
    visitor.page.locator("#examples button").first.click()
    visitor.press_card(QUESTIONS[0])
    visitor.finish()
    begin = visitor.page.locator("#begin-evidence")
    expect(begin).to_be_enabled()
    begin.press("Enter")
    stop = visitor.page.locator("#evidence").get_by_role("button", name=say("evidence.stop", "en"))
    expect(stop).to_be_visible()
    with server.standing_still():  # so that the map is not done before Stop is pressed
        stop.press("Enter")
        expect(begin).to_be_focused()
    expect(stop).to_have_count(0)
    expect(begin).to_be_focused()


def check_targets(visitor, panel):
    """Check that what can be pressed is large enough for a finger."""
    targets = visitor.page.locator(f"{panel} :is(button, label, summary):visible").all()
    assert targets and all(one.bounding_box()["height"] >= 44 for one in targets)


def photo_of(number):
    """One of the examples, in a size that no other visitor's photo has."""
    size = (300 + 10 * number, 300 + 10 * number)
    buffer = io.BytesIO()
    Image.open(EXAMPLES[number % len(EXAMPLES)]).resize(size).save(buffer, "PNG")
    return buffer.getvalue()


def question_of(number):
    """Return a question of their own, whose answer the photo decides."""
    return WORDINGS[Intent.DIAGNOSIS][number].replace("{it}", "this")


@pytest.fixture(scope="module")
def alone():
    """What each visitor is answered when nobody else is there."""
    chat = load_chat(PROJECT / "eval_configs" / "skingpt4_eval_tiny.yaml", device="cpu")

    def answer(number):
        conversation, photos = chat.new_conversation(), []
        chat.upload_img(photo_of(number), conversation, photos)
        chat.ask(question_of(number), conversation)
        return chat.answer(conversation, photos)[0]

    return [answer(number) for number in range(VISITORS)]


def test_ten_people_at_once_stay_apart_and_leave_nothing(visit, server, alone):
    assert len(set(alone)) >= len(EXAMPLES)
    (once,) = consult([visit()], first=VISITORS)  # what is loaded once stays loaded
    once.finish()
    once.context.close()
    server.wait_until_idle()
    before = server.resident_mib()
    visitors = consult([visit() for _ in range(VISITORS)])
    for number, visitor in enumerate(visitors):
        assert visitor.finish() == alone[number]
        assert visitor.questions() == [question_of(number)]
        visitor.expect_photo(300 + 10 * number, 300 + 10 * number)
    for visitor in visitors:
        visitor.delete_everything()
        visitor.expect_status(say("privacy.deleted", "en"))
        visitor.context.close()
    server.wait_for_no_files()
    wait_for(lambda: server.resident_mib() < before + LEFT_OVER_MIB)


def consult(visitors, first=0):
    """Let everybody send a photo, then everybody ask, without waiting for one another."""
    for number, visitor in enumerate(visitors, first):
        visitor.send_photo(photo_of(number), mime="image/png")
    for visitor in visitors:
        expect(visitor.waiting()).to_have_count(1)
    for number, visitor in enumerate(visitors, first):
        visitor.type_question(question_of(number))
        visitor.send()
    return visitors
