"""Nothing that a person gives to the page is lost: real drops, pastes and key presses."""

import base64
import re
import signal
import subprocess
import sys
from io import BytesIO

import httpx
import pytest
from PIL import Image, ImageFilter
from playwright.sync_api import expect

from skingpt4.demo import session
from skingpt4.demo.app import EXAMPLE_FILES
from skingpt4.demo.server import Address, served
from tests.conftest import PROJECT
from tests.demo.conftest import FakeChat
from tests.e2e.conftest import PATIENCE_MS
from tests.waiting import free_port, wait_for

FINISHED = "#conversation .bot .message + .message"  # the note under a finished answer

DROP_SCRIPT = """([place, files]) => {
    const dropped = new DataTransfer();
    for (const [name, type, data] of files) {
        const bytes = Uint8Array.from(atob(data), (char) => char.charCodeAt(0));
        dropped.items.add(new File([bytes], name, {type}));
    }
    const target = document.querySelector(place);
    for (const kind of ['dragenter', 'dragover', 'drop'])
        target.dispatchEvent(new DragEvent(
            kind, {dataTransfer: dropped, bubbles: true, cancelable: true}));
}"""

# As a screenshot tool does: the picture lies on the clipboard, and Ctrl+V is pressed.
COPY_SCRIPT = """async (data) => {
    const bytes = Uint8Array.from(atob(data), (char) => char.charCodeAt(0));
    const item = new ClipboardItem({'image/png': new Blob([bytes], {type: 'image/png'})});
    await navigator.clipboard.write([item]);
}"""


def encoded(image, kind="JPEG"):
    buffer = BytesIO()
    image.save(buffer, kind)
    return base64.b64encode(buffer.getvalue()).decode()


def photo(number=0):
    return Image.open(EXAMPLE_FILES[number]).convert("RGB")


def blurred():
    return photo().resize((400, 400)).filter(ImageFilter.GaussianBlur(12))


class HeldChat(FakeChat):
    """Writes a word whenever the test lets it, and stops when it is told to."""

    def stream_answer(self, conv, img_list, *, cancel, **decoding):
        said = []
        try:
            while not cancel.is_set():
                if self.go.acquire(timeout=0.05):
                    said.append(f"word{len(said)} ")
                    yield said[-1]
        finally:
            if said:
                conv.append_message(conv.roles[1], "".join(said))
            else:
                conv.drop_question()


@pytest.fixture
def held(monkeypatch):
    """Serve answers that grow only when the test says so, and keep an undo until it is pressed."""
    monkeypatch.setattr(session, "UNDO_SECONDS", 3600)
    chat = HeldChat()
    with served(chat, Address(port=free_port())) as app:
        chat.url = app.local_url
        yield chat


@pytest.fixture
def tab(browser, server):
    """Open a tab, or several in one browser; nobody's page may fail in its script."""
    contexts, errors = [], []

    def open_tab(url=None, beside=None, agrees=True, **context):
        if beside is None:
            contexts.append(browser.new_context(**context))
            contexts[-1].set_default_timeout(PATIENCE_MS)
            contexts[-1].grant_permissions(["clipboard-read", "clipboard-write"])
        page = (beside.context if beside else contexts[-1]).new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url or server.url)
        if agrees:
            page.click("#agree")
            expect(page.locator("#choose")).to_be_visible()
        return page

    yield open_tab
    for context in contexts:
        context.close()
    assert errors == []


def drop(page, *images, place="#main", name="photo.jpg"):
    page.evaluate(DROP_SCRIPT, [place, [[name, "image/jpeg", encoded(one)] for one in images]])


def expect_waiting(page, number):
    expect(page.locator("#waiting figure")).to_have_count(number)


def ask(page, question):
    page.fill("#composer textarea", question)
    page.press("#composer textarea", "Enter")


def expect_answers(page, number):
    expect(page.locator(FINISHED)).to_have_count(number)


def show_and_ask(page):
    """Drop a photo, ask about it, and wait for the end of the answer."""
    drop(page, photo())
    expect_waiting(page, 1)
    ask(page, "What is it?")
    expect_answers(page, 1)


def start_answer(page, chat):
    """Ask, and wait for the first word of an answer that does not end by itself."""
    drop(page, photo())
    expect_waiting(page, 1)
    ask(page, "What is it?")
    chat.go.release()
    expect(page.locator("#conversation .bot .message-content").first).to_have_text("word0 ")


def written(page):
    return page.locator("#conversation .bot .message-content").first.inner_text()


def stop(page):
    page.locator("#composer .stop-button").click()
    expect(page.locator("#composer .submit-button")).to_be_visible()


def test_a_photo_dropped_on_a_photo_joins_it(tab):
    page = tab()
    drop(page, photo())
    expect_waiting(page, 1)
    drop(page, photo(1), place="#waiting img")
    expect_waiting(page, 2)
    ask(page, "What is it?")
    expect_answers(page, 1)
    drop(page, photo(2), place="#conversation .user img")
    expect_waiting(page, 1)
    assert page.locator("#conversation .user img").count() == 2
    expect(page.locator("#waiting figcaption")).to_have_text("Photo 3")


def test_photos_pasted_at_any_pace_all_come(tab):
    page = tab()
    page.focus("#choose")
    for number in range(4):
        page.evaluate(COPY_SCRIPT, encoded(photo(number), "PNG"))
        page.keyboard.press("Control+V")
        if number % 2:  # two in quick succession, then one at leisure
            expect_waiting(page, number + 1)
    expect_waiting(page, 4)


def test_text_is_pasted_as_text(tab):
    page = tab()
    page.evaluate("navigator.clipboard.writeText('Is it contagious?')")
    page.focus("#composer textarea")
    page.keyboard.press("Control+V")
    expect(page.locator("#composer textarea")).to_have_value("Is it contagious?")


def test_six_files_at_once_and_no_seventh(tab):
    page = tab()
    with page.expect_file_chooser() as chooser:
        page.click("#choose")
    files = [
        {
            "name": f"{n}.jpg",
            "mimeType": "image/jpeg",
            "buffer": base64.b64decode(encoded(photo(n))),
        }
        for n in range(6)
    ]
    chooser.value.set_files(files)
    expect_waiting(page, 6)
    assert page.locator("#waiting figcaption").all_inner_texts() == [
        f"Photo {number}" for number in range(1, 7)
    ]
    drop(page, photo())
    expect(page.locator("#status .error")).to_contain_text("6 photos already")
    expect_waiting(page, 6)


def test_the_composers_own_button_takes_photos(tab):
    page = tab()
    page.set_input_files("#composer input[type=file]", str(EXAMPLE_FILES[0]))
    expect_waiting(page, 1)


def test_a_refused_file_costs_nothing_and_is_said_beside_the_composer(tab):
    page = tab()
    drop(page, photo())
    expect_waiting(page, 1)
    page.evaluate(DROP_SCRIPT, ["#main", [["notes.pdf", "application/pdf", "JVBERi0xLjQK"]]])
    error = page.locator("#status .error")
    expect(error).to_be_visible()
    expect(error).to_be_in_viewport()
    expect_waiting(page, 1)


def test_a_file_that_is_too_large_is_told_so_and_costs_nothing(tab):
    page = tab()
    drop(page, photo())
    expect_waiting(page, 1)
    page.evaluate("""() => {
        const dropped = new DataTransfer();
        dropped.items.add(new File([new Uint8Array(101 * 2 ** 20)], "large.jpg"));
        document.body.dispatchEvent(new DragEvent(
            "drop", {dataTransfer: dropped, bubbles: true, cancelable: true}));
    }""")
    expect(page.locator("#connection")).to_contain_text("larger than 100 MB")
    expect_waiting(page, 1)


def test_each_button_of_a_photo(tab, held):
    page = tab(held.url)
    drop(page, photo(), photo(1))
    expect_waiting(page, 2)
    page.click("#waiting figure:first-of-type .zoom")
    expect(page.locator("dialog img")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_have_count(0)
    expect_waiting(page, 2)
    page.click("#waiting figure:first-of-type [data-act=remove]")
    expect_waiting(page, 1)
    page.click("#undo")
    expect_waiting(page, 2)
    assert page.locator("#waiting figcaption").all_inner_texts() == ["Photo 1", "Photo 2"]


def test_new_conversation_can_be_undone(tab, held):
    page = tab(held.url)
    start_answer(page, held)
    stop(page)
    expect_answers(page, 1)
    said = written(page)
    page.click("#restart")
    expect(page.locator("#start")).to_be_visible()
    drop(page, photo(1))  # what came since is not lost by the undo either
    expect_waiting(page, 1)
    page.click("#undo")
    expect_answers(page, 1)
    assert written(page) == said
    expect_waiting(page, 1)


def test_deleting_asks_first(tab):
    page = tab()
    drop(page, photo())
    expect_waiting(page, 1)
    page.click("#privacy .label-wrap")
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.click("#delete")
    expect_waiting(page, 1)
    page.once("dialog", lambda dialog: dialog.accept())
    page.click("#delete")
    expect_waiting(page, 0)
    expect(page.locator("#undo")).not_to_be_visible()


def test_an_example_joins_what_is_there(tab):
    page = tab()
    page.click("#examples button:nth-of-type(3)")
    expect_waiting(page, 1)
    expect(page.locator("#cards button").first).to_be_visible()


def test_a_poor_photo_is_decided_on_before_anything_is_asked(tab):
    page = tab()
    drop(page, photo())
    expect_waiting(page, 1)
    drop(page, blurred())
    expect_waiting(page, 2)
    expect(page.locator("#waiting .hint")).to_be_visible()
    expect(page.locator("#cards button").first).not_to_be_visible()
    ask(page, "What is it?")
    expect(page.locator("#status .error")).to_contain_text("Photo 2 could be better")
    expect(page.locator("#composer textarea")).to_have_value("What is it?")  # still there
    page.click("#waiting [data-act=use]")
    expect(page.locator("#waiting .hint")).to_have_count(0)
    page.press("#composer textarea", "Enter")
    expect_answers(page, 1)
    expect(page.locator(FINISHED)).to_contain_text("photos 1 to 2")


def test_a_photo_added_during_an_answer_waits_its_turn(tab, held):
    page = tab(held.url)
    start_answer(page, held)
    drop(page, photo(1))
    expect_waiting(page, 1)
    expect(page.locator("#waiting figcaption")).to_have_text("Photo 2")
    stop(page)
    expect_answers(page, 1)
    expect(page.locator(FINISHED)).to_contain_text("photo 1.")
    expect_waiting(page, 1)


def test_a_reload_comes_back_to_the_conversation_and_to_what_was_being_typed(tab):
    page = tab()
    show_and_ask(page)
    said = page.locator("#conversation").inner_text()
    drop(page, photo(1))
    expect_waiting(page, 1)
    page.fill("#composer textarea", "And is this")
    page.reload()
    expect_answers(page, 1)
    assert page.locator("#conversation").inner_text() == said
    expect_waiting(page, 1)
    expect(page.locator("#composer textarea")).to_have_value("And is this")
    expect(page.locator("#agree")).not_to_be_visible()


def test_a_reload_during_an_answer_finds_it_growing(tab, held):
    page = tab(held.url)
    start_answer(page, held)
    page.reload()
    answer = page.locator("#conversation .bot .message-content").first
    expect(answer).to_have_text("word0 ")
    held.go.release()
    expect(answer).to_have_text("word0 word1 ")
    stop(page)


def test_offline_during_an_answer_and_between(tab, held):
    page = tab(held.url)
    start_answer(page, held)
    page.context.set_offline(True)
    expect(page.locator("#connection")).to_contain_text("connection is lost")
    held.go.release()  # the answer goes on meanwhile
    drop(page, photo(1))  # kept by the page until it can be sent
    page.context.set_offline(False)
    expect(page.locator("#connection")).not_to_be_visible()
    answer = page.locator("#conversation .bot .message-content").first
    expect(answer).to_have_text("word0 word1 ")
    expect_waiting(page, 1)
    stop(page)
    page.context.set_offline(True)
    ask(page, "And now?")
    expect(page.locator("#connection")).to_be_visible()
    page.context.set_offline(False)
    expect(page.locator("#conversation .user-row")).to_have_count(2)
    expect(page.locator("#connection")).not_to_be_visible()
    stop(page)


@pytest.fixture
def own_server():
    """Start ``demo.py`` again and again at one address."""
    port, running = free_port(), []

    def start():
        running.append(
            subprocess.Popen(
                [sys.executable, "demo.py", "--port", str(port)],
                cwd=PROJECT,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )
        return running[-1], f"http://127.0.0.1:{port}/"

    yield start
    for process in running:
        process.send_signal(signal.SIGKILL)
        process.wait()


def answers(url):
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def test_a_server_that_was_killed_and_started_again_says_so(tab, own_server):
    process, url = own_server()
    wait_for(lambda: answers(url))
    page = tab(url)
    show_and_ask(page)
    said = page.locator("#conversation").inner_text()
    process.send_signal(signal.SIGKILL)
    process.wait()
    ask(page, "And now?")
    expect(page.locator("#connection")).to_contain_text("connection is lost")
    own_server()
    expect(page.locator("#connection")).to_contain_text("has ended on the server")
    assert page.locator("#conversation").inner_text() == said
    expect(page.locator("#conversation .user img")).to_be_visible()
    page.click("#connection button")
    expect(page.locator("#agree")).to_be_visible()
    expect(page.locator("#connection")).not_to_be_visible()


def test_ten_tabs_of_one_browser_each_stop_at_once(tab, held):
    first = tab(held.url)
    pages = [first] + [tab(held.url, beside=first) for _ in range(9)]
    for page in pages:
        drop(page, photo())
        expect_waiting(page, 1)
        ask(page, "What is it?")
        expect(page.locator("#composer .stop-button")).to_be_visible()
    for page in pages:  # some are being answered, the others wait in the queue
        stop(page)
        page.wait_for_function("!window.skingpt4.isLooking()")
    requests = []
    first.context.on("request", lambda request: requests.append(request.url))
    # Somebody else's answer from beginning to end: meanwhile the idle tabs ask for nothing.
    other = tab(held.url)
    start_answer(other, held)
    stop(other)
    assert requests == []


def test_a_copy_of_a_tab_keeps_the_conversation_when_the_other_is_closed(tab):
    page = tab()
    drop(page, photo())
    expect_waiting(page, 1)
    key = page.evaluate("sessionStorage.getItem('skingpt4-tab')")
    copy = page.context.new_page()
    copy.add_init_script(f"sessionStorage.setItem('skingpt4-tab', '{key}')")
    copy.goto(page.url)
    expect_waiting(copy, 1)
    page.close(run_before_unload=True)
    ask(copy, "What is it?")
    expect_answers(copy, 1)


@pytest.mark.parametrize("touch", [False, True])
def test_a_crop_is_drawn_and_can_be_drawn_again(tab, touch):
    page = tab(has_touch=touch, viewport={"width": 390, "height": 844} if touch else None)
    drop(page, photo().resize((600, 600)))
    expect_waiting(page, 1)
    size = "[...document.querySelectorAll('#waiting img')].map((i) => i.naturalWidth)[0]"
    page.click("#waiting [data-local=edit]")
    draw(page, (0.25, 0.25), (0.75, 0.75), touch)
    page.locator("dialog button", has_text="Done").click()
    page.wait_for_function(f"Math.abs({size} - 300) < 12")
    page.click("#waiting [data-local=edit]")  # on the whole photo again, with the part outlined
    canvas = page.locator("dialog canvas")
    expect(canvas).to_have_attribute("data-box", re.compile("0"))  # it is drawn
    edges = [float(edge) for edge in canvas.get_attribute("data-box").split(",")]
    assert edges == pytest.approx([0.25, 0.25, 0.75, 0.75], abs=0.02)
    page.locator("dialog button", has_text="Whole photo").click()
    page.locator("dialog button", has_text="Done").click()
    page.wait_for_function(f"{size} === 600")


def draw(page, start, end, touch):
    """Drag from one place of the canvas to another, given as shares of its sides."""
    canvas = page.locator("dialog canvas")
    expect(canvas).to_have_attribute("data-box", "0.0000,0.0000,1.0000,1.0000")
    area = canvas.bounding_box()
    places = [
        (area["x"] + x * area["width"], area["y"] + y * area["height"]) for x, y in (start, end)
    ]
    if not touch:
        page.mouse.move(*places[0])
        page.mouse.down()
        page.mouse.move(*places[1], steps=5)
        page.mouse.up()
        return
    fingers = page.context.new_cdp_session(page)
    for kind, points in (("Start", places[:1]), ("Move", places[1:]), ("End", [])):
        touches = [{"x": x, "y": y} for x, y in points]
        fingers.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": touches})


def test_a_sent_photo_zooms_by_tap_and_by_enter(tab):
    page = tab()
    show_and_ask(page)
    sent = page.get_by_role("button", name="Photo 1")
    sent.click()
    expect(page.locator("dialog img")).to_be_visible()
    page.keyboard.press("Escape")
    sent.focus()
    page.keyboard.press("Enter")
    expect(page.locator("dialog img")).to_be_visible()
    page.keyboard.press("Escape")
    expect(sent).to_be_focused()


def test_the_main_job_takes_three_actions(tab):
    page = tab(viewport={"width": 390, "height": 844}, agrees=False)
    page.click("#agree")
    with page.expect_file_chooser() as chooser:
        page.click("#choose")
    chooser.value.set_files(str(EXAMPLE_FILES[0]))
    page.locator("#cards button").first.click()
    first_word = page.locator("#conversation .bot .message-content").first
    expect(first_word).not_to_have_text("…")
    expect(first_word).to_be_in_viewport()
    assert page.evaluate("scrollY") == 0


def test_what_replaces_an_answer_by_an_edit_keeps_the_draft(tab):
    page = tab()
    show_and_ask(page)
    page.fill("#composer textarea", "half a thought")
    page.get_by_role("button", name="Change my question").click()
    expect(page.locator("#composer textarea")).to_have_value("What is it?")
    ask(page, "Is it contagious?")
    expect(page.locator("#composer textarea")).to_have_value("half a thought")
    expect(page.locator("#conversation .user-row")).to_have_count(1)
    expect(page.locator("#conversation .user img")).to_have_count(1)
    expect(page.locator("#conversation .user-row")).to_contain_text("Is it contagious?")


def test_another_language_keeps_the_conversation(tab):
    page = tab()
    show_and_ask(page)
    page.click("[data-language=zh]")
    page.wait_for_function("document.documentElement.lang === 'zh-CN'")
    expect_answers(page, 1)
    expect(page.locator("#restart")).to_have_text("新的对话")
    expect(page.locator("#conversation .bot .message").first).to_have_attribute("lang", "en")
    page.click("[data-language=en]")
    expect(page.locator("#restart")).to_have_text("New conversation")
    expect_answers(page, 1)


@pytest.mark.parametrize(
    ("locale", "lang"),
    [
        ("zh-Hans-SG", "zh-CN"),
        ("zh-HK", "zh-CN"),
        ("zh", "zh-CN"),
        ("de-DE", "en"),
        ("en-GB", "en"),
    ],
)
def test_every_kind_of_chinese_is_chinese_and_all_else_english(tab, locale, lang):
    page = tab(locale=locale, agrees=False)
    agree = "我已了解并同意" if lang == "zh-CN" else "I understand and agree"
    expect(page.locator("#agree")).to_have_text(agree)
    assert page.evaluate("document.documentElement.lang") == lang
