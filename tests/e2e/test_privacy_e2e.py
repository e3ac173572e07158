"""The photo panel and the privacy panel, in a real browser; what is left on the disk: nothing."""

import io

import httpx
import pytest
from PIL import Image, ImageFilter
from playwright.sync_api import expect

from skingpt4.demo.app import EXAMPLES_FOLDER
from tests.waiting import wait_for

PHOTOS = [Image.open(path).convert("RGB") for path in sorted(EXAMPLES_FOLDER.glob("*.jpg"))]
POOR = PHOTOS[3].filter(ImageFilter.GaussianBlur(6))
DESKTOP = {"viewport": {"width": 1280, "height": 1000}}


def encoded(image, kind="JPEG"):
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture
def calm(visit):
    """Open a page at which the browser finds nothing to complain about."""
    complaints = []

    def open_page(**context):
        visitor = visit(agrees=False, **context)
        visitor.page.on(
            "console",
            lambda message: (
                complaints.append(message.text) if "Security Policy" in message.text else None
            ),
        )
        visitor.page.reload()
        visitor.agree()
        return visitor

    yield open_page
    assert complaints == []


def test_from_a_poor_photo_to_two_good_ones(calm, server):
    visitor = calm(**DESKTOP)
    page = visitor.page
    visitor.unfold("guide")
    expect(page.locator("#guide svg:visible")).to_have_count(6)
    visitor.shoot("photo_guide")
    visitor.choose("#choose", encoded(POOR))
    hint = page.locator("#waiting .hint")
    expect(hint).to_contain_text("It looks blurred")
    expect(page.locator("#guide")).to_be_hidden()
    visitor.shoot("photo_poor")
    visitor.type_question("What is it?")
    visitor.send()
    visitor.expect_status("Use it anyway")
    visitor.expect_nothing_said()
    page.click("#waiting [data-act=remove]")
    expect(visitor.waiting()).to_have_count(0)
    visitor.expect_status("removed")
    visitor.show(encoded(PHOTOS[3]))
    visitor.choose("#composer [data-testid=upload-button]", encoded(PHOTOS[0]))
    visitor.expect_status("Photo 2 is ready.")
    expect(visitor.waiting()).to_have_count(2)
    visitor.shoot("photo_two")
    assert visitor.ask("What are these?")
    expect(page.locator("#conversation .user img")).to_have_count(2)
    expect(page.locator("#conversation .bot")).to_contain_text("photos 1 to 2")
    expect(visitor.waiting()).to_have_count(0)
    server.wait_for_no_files()


def test_a_poor_photo_is_used_if_the_visitor_wants_it(calm):
    visitor = calm(**DESKTOP)
    visitor.send_photo(encoded(POOR))
    visitor.press("Use it anyway")
    expect(visitor.page.locator("#waiting .hint")).to_have_count(0)
    assert visitor.ask("What is it?")


def test_turn_and_crop_by_a_tap_and_by_keyboard(calm):
    visitor = calm(**DESKTOP)
    page = visitor.page
    canvas = page.locator("dialog canvas")
    visitor.show(encoded(PHOTOS[1].crop((0, 0, 448, 300))))
    page.click("#waiting [data-local=edit]")
    visitor.press("Turn left")
    visitor.press("Done")
    visitor.expect_status("was changed")
    visitor.expect_photo(300, 448)
    page.click("#waiting [data-local=edit]")
    expect(canvas).to_have_attribute("data-box", BOX.format(0, 0, 1, 1))
    canvas.click(position={"x": 1, "y": 1})
    expect(canvas).to_have_attribute("data-box", BOX.format(0, 0, 0.5, 0.5))
    visitor.shoot("photo_crop")
    visitor.press("Done")
    visitor.expect_photo(150, 224)
    page.locator("#waiting [data-local=edit]").press("Enter")
    expect(canvas).to_have_attribute("data-box", BOX.format(0, 0, 0.5, 0.5))
    canvas.press("ArrowRight")
    for _ in range(2):
        canvas.press("Shift+ArrowDown")
    expect(canvas).to_have_attribute("data-box", BOX.format(0.05, 0, 0.55, 0.6))
    page.get_by_role("button", name="Done").press("Enter")
    visitor.expect_photo(150, 269)
    expect(page.locator("dialog")).to_have_count(0)


BOX = "{:.4f},{:.4f},{:.4f},{:.4f}"
"""The part of the photo to keep: left, top, right, bottom."""


@pytest.mark.parametrize("way", ["delete", "restart"])
def test_everything_goes_when_asked(calm, server, way):
    visitor = calm(**DESKTOP)
    visitor.show(encoded(PHOTOS[0]))
    visitor.ask("What is it?")
    visitor.unfold("privacy")
    expect(visitor.page.locator("#privacy")).to_contain_text("Offline: this program refuses")
    visitor.shoot("privacy")
    address = visitor.page.locator("#conversation .user img").get_attribute("src")
    assert httpx.get(server.url + address[1:], trust_env=False).status_code == 200
    visitor.page.click(f"#{way}")
    expect(visitor.page.locator("#conversation .bot-row")).to_have_count(0)
    expect(visitor.waiting()).to_have_count(0)
    # At once if deleted, and after the time in which a new conversation can be undone.
    if way == "delete":
        visitor.expect_status("deleted")
        assert "Nothing can bring them back" in visitor.asked[0]
        expect(visitor.page.locator("#undo")).to_have_count(0)
        assert httpx.get(server.url + address[1:], trust_env=False).status_code == 404
    wait_for(lambda: httpx.get(server.url + address[1:], trust_env=False).status_code == 404)
    server.wait_for_no_files()
    visitor.type_question("Do you remember?")
    visitor.send()
    visitor.expect_status("no photo yet")


def test_nothing_is_deleted_before_the_visitor_says_yes(visit):
    visitor = visit()
    visitor.show(encoded(PHOTOS[0]))
    visitor.says_yes = False
    visitor.delete_everything()
    assert len(visitor.asked) == 1
    assert visitor.ask("Is it still there?")


def test_answers_carry_the_headers_and_closed_routes_are_closed(server):
    page = httpx.get(server.url, trust_env=False)
    policy = page.headers["content-security-policy"]
    assert "'sha256-" in policy and "script-src 'self' 'sha256-" in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    closed = ("gradio_api/info", "monitoring", "docs", "gradio_api/file=/etc/passwd")
    for path in (*closed, "gradio_api/queue/data", "gradio_api/heartbeat/x", "gradio_api/upload"):
        answer = httpx.get(server.url + path, trust_env=False)
        assert answer.status_code == 404 and answer.text == "There is nothing here."
    other = httpx.get(server.url, headers={"host": "clinic.example"}, trust_env=False)
    assert other.status_code == 421
