"""The photo panel and the privacy panel, in a real browser; what is left on the disk: nothing."""

import base64
import io

import httpx
import pytest
from PIL import Image, ImageFilter
from playwright.sync_api import expect

from skingpt4.demo.app import EXAMPLES_FOLDER

PHOTOS = [Image.open(path).convert("RGB") for path in sorted(EXAMPLES_FOLDER.glob("*.jpg"))]
POOR = PHOTOS[3].filter(ImageFilter.GaussianBlur(6))
DESKTOP = {"viewport": {"width": 1280, "height": 1000}}
PASTE = """async (data) => {
    const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0));
    const item = new ClipboardItem({'image/png': new Blob([bytes], {type: 'image/png'})});
    await navigator.clipboard.write([item]);
}"""
DROP = """([box, data]) => {
    const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], 'my-secret-name.png', {type: 'image/png'}));
    const event = name => new DragEvent(name, {dataTransfer: transfer, bubbles: true});
    for (const name of ['dragenter', 'dragover', 'drop']) box.dispatchEvent(event(name));
}"""


def encoded(image, kind="JPEG"):
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def base64_png(image):
    return base64.b64encode(encoded(image, "PNG")).decode("ascii")


@pytest.fixture
def calm(visit):
    """Open a page at which the browser finds nothing to complain about."""
    complaints = []

    def open_page(**context):
        visitor = visit(**context)
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
    expect(page.locator("#guide svg")).to_have_count(6)
    visitor.shoot("photo_guide")
    visitor.send_photo(encoded(POOR))
    expect(page.locator("#hint")).to_contain_text("It looks blurred")
    expect(page.locator("#guide svg").first).to_be_hidden()
    visitor.shoot("photo_poor")
    visitor.press("Take another photo")
    expect(page.locator("#photo img")).to_have_count(0)
    visitor.expect_status("Add a photo")
    visitor.show(encoded(PHOTOS[3]))
    expect(page.locator("#hint")).to_be_hidden()
    visitor.press("Add another photo")
    visitor.expect_status("Add the next photo")
    visitor.send_photo(encoded(PHOTOS[0]))
    visitor.expect_status("Photo 2 is ready.")
    expect(page.locator("#thumbnails img")).to_have_count(2)
    visitor.shoot("photo_two")
    assert visitor.ask("What are these?")
    expect(page.locator("#edit")).to_be_hidden()
    visitor.press("Remove this photo")
    visitor.expect_status("begins again with the others")
    visitor.expect_nothing_said()
    server.wait_for_no_files()


def test_turn_and_crop_by_a_tap_and_by_keyboard(calm):
    visitor = calm(**DESKTOP)
    page = visitor.page
    visitor.show(encoded(PHOTOS[1].crop((0, 0, 448, 300))))
    page.get_by_role("button", name="Turn or crop").click()
    visitor.press("Turn left")
    visitor.expect_status("was changed")
    visitor.expect_photo(300, 448)
    page.locator("#photo img").click(position={"x": 60, "y": 60})
    size = page.get_by_label("number input for Part to keep (%)")
    expect(size).to_have_value("50")
    visitor.shoot("photo_crop")
    visitor.press("Crop")
    expect(size).to_have_value("100")
    visitor.expect_photo(150, 224)
    size.fill("80")
    size.press("Tab")
    visitor.expect_photo(300, 448)  # the whole photo, with what the crop would keep outlined
    page.get_by_role("button", name="Crop", exact=True).press("Enter")
    expect(size).to_have_value("100")
    visitor.expect_photo(240, 358)


def test_a_photo_may_be_dropped_or_pasted(calm, server):
    visitor = calm(**DESKTOP)
    page = visitor.page
    box = page.locator("#photo button:has(input[type=file])").element_handle()
    page.evaluate(DROP, [box, base64_png(PHOTOS[2])])
    visitor.expect_status("The photo is ready.")
    visitor.press("Add another photo")
    visitor.expect_status("Add the next photo")
    visitor.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.evaluate(PASTE, base64_png(PHOTOS[4]))
    page.get_by_role("button", name="Paste from clipboard").click()
    visitor.expect_status("Photo 2 is ready.")
    server.wait_for_no_files()


@pytest.mark.parametrize("way", ["Delete my data now", "Restart"])
def test_everything_goes_when_asked(calm, server, way):
    visitor = calm(**DESKTOP)
    visitor.show(encoded(PHOTOS[0]))
    visitor.ask("What is it?")
    visitor.page.get_by_role("button", name="Your privacy").click()
    expect(visitor.page.locator("#privacy")).to_contain_text("Offline: this program refuses")
    visitor.shoot("privacy")
    visitor.press(way)
    expect(visitor.page.locator("#photo img")).to_have_count(0)
    expect(visitor.page.locator("#conversation .bot-row")).to_have_count(0)
    server.wait_for_no_files()
    visitor.type_question("Do you remember?")
    visitor.press("Send")
    visitor.expect_status("no photo yet")


def test_answers_carry_the_headers_and_closed_routes_are_closed(server):
    page = httpx.get(server.url, trust_env=False)
    policy = page.headers["content-security-policy"]
    assert "'sha256-" in policy and "script-src 'self' 'sha256-" in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    for path in ("gradio_api/info", "monitoring", "docs", "gradio_api/file=/etc/passwd"):
        answer = httpx.get(server.url + path, trust_env=False)
        assert answer.status_code == 404 and answer.text == "There is nothing here."
    other = httpx.get(server.url, headers={"host": "clinic.example"}, trust_env=False)
    assert other.status_code == 421
