"""What a person does on the page, in a real browser, with the embedded model."""

import io

import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import expect

from skingpt4.conversation.engines import Decoding
from skingpt4.demo.i18n import say
from skingpt4.dermatology import DISCLAIMER, QUESTIONS
from tests.e2e.conftest import NOTES, STOP

LONGEST_ANSWER = Decoding().max_new_tokens


def photo(kind: str = "JPEG", size: tuple[int, int] = (320, 200), tint: str = "peru", **saving):
    """Draw a red patch on skin, in a format's own bytes."""
    image = Image.new("RGB", size, tint)
    ImageDraw.Draw(image).ellipse((90, 50, 200, 150), fill="firebrick")
    buffer = io.BytesIO()
    image.convert(saving.pop("mode", "RGB")).save(buffer, kind, **saving)
    return buffer.getvalue()


def rotated_photo() -> bytes:
    """A phone's JPEG: stored lying, to be shown upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return photo(exif=exif)


def test_first_page(visit):
    visitor = visit(viewport={"width": 1280, "height": 900})
    expect(visitor.page.locator("#disclaimer")).to_have_text(DISCLAIMER)
    expect(visitor.page.locator("#banner")).to_contain_text("drawn images")
    assert visitor.page.title() == "SkinGPT-4"
    visitor.shoot("first_page")


def test_conversation(visit):
    visitor = visit(viewport={"width": 1280, "height": 900})
    visitor.show(rotated_photo())
    visitor.expect_photo(200, 320)
    visitor.type_question("What is wrong with my skin?")
    visitor.page.keyboard.press("Enter")
    answer = visitor.finish()
    expect(visitor.waiting()).to_have_count(0)
    visitor.expect_photo(200, 320)
    assert visitor.ask("And how is it treated?")
    assert visitor.questions() == ["What is wrong with my skin?", "And how is it treated?"]
    assert visitor.answers()[0] == answer
    for note in visitor.page.locator(NOTES).all_inner_texts():
        assert "Answer about photo 1." in note and "no clinical use" in note
    visitor.shoot("conversation")


def test_listed_questions(visit):
    visitor = visit(viewport={"width": 1280, "height": 900})
    visitor.page.locator("#examples button").first.click()
    expect(visitor.waiting()).to_have_count(1)
    visitor.type_question("still typing")
    for number, question in enumerate(QUESTIONS, start=1):
        if number == 1:  # a card shows what will be asked; afterwards the next step is a chip
            expect(visitor.page.locator("#cards")).to_contain_text(question)
        visitor.press_card(say(f"conversation.step_{number}", "en"))
        visitor.finish(number)
    assert visitor.questions() == list(QUESTIONS)
    assert all(visitor.answers())
    expect(visitor.page.locator("#cards")).to_be_hidden()
    assert visitor.page.input_value("#composer textarea") == "still typing"
    visitor.type_question("")
    visitor.shoot("listed_questions")


def test_beams_give_one_piece(visit):
    visitor = visit()
    visitor.show(photo())
    visitor.unfold("settings")
    visitor.unfold("advanced")
    visitor.page.get_by_label("number input for Beam width").fill("3")
    visitor.page.get_by_label("number input for Beam width").press("Tab")
    answer = visitor.ask("What is it?")
    whole = [text for text in visitor.growth() if len(text) > 3 and answer.startswith(text)]
    assert set(whole) == {answer}


def press_stop(visitor, server):
    """Press Stop in the middle of an answer: the server goes on when the request is on its way."""
    with server.standing_still(), visitor.page.expect_request("**/run/predict*"):
        visitor.stop()


def test_an_answer_streams_until_it_is_stopped(visit, rambling_server):
    server = rambling_server
    visitor = visit(server.url)
    visitor.show(photo())
    visitor.type_question("Tell me everything.")
    visitor.send()
    visitor.page.wait_for_function("window.growth.filter(text => text.length > 3).length > 1")
    press_stop(visitor, server)
    visitor.expect_status("Stopped.")
    stopped = visitor.finish()
    server.wait_until_idle()
    assert visitor.answers() == [stopped]
    states = [text for text in visitor.growth() if len(text) > 3 and stopped.startswith(text)]
    assert set(states) - {stopped}
    assert len(stopped.split()) < LONGEST_ANSWER / 2, "the answer ended by itself"
    expect(visitor.page.locator(STOP)).to_have_count(0)
    visitor.type_question("And in short?")
    seen = visitor.page.evaluate("window.growth.length")
    visitor.send()
    new_words = "seen => window.growth.slice(seen).some(text => text.length > 3)"
    visitor.page.wait_for_function(new_words, arg=seen)
    press_stop(visitor, server)
    visitor.expect_status("Stopped.")
    visitor.finish(2)
    assert visitor.questions() == ["Tell me everything.", "And in short?"]


def test_a_new_conversation_begins_with_nothing(visit, server):
    visitor = visit()
    visitor.show(photo())
    visitor.ask("What is it?")
    visitor.page.click("#restart")
    visitor.expect_status("new conversation")
    visitor.expect_nothing_said()
    expect(visitor.waiting()).to_have_count(0)
    server.wait_for_no_files()
    visitor.type_question("What is it?")
    visitor.send()
    visitor.expect_status("There is no photo yet")
    expect(visitor.page.locator("#composer textarea")).to_have_value("What is it?")


def test_a_new_conversation_during_an_answer(visit, rambling_server):
    visitor = visit(rambling_server.url)
    visitor.show(photo())
    visitor.type_question("What is it?")
    visitor.send()
    visitor.page.wait_for_function("window.growth.length > 1")
    visitor.page.click("#restart")
    visitor.expect_status("new conversation")
    visitor.expect_nothing_said()
    visitor.delete_everything()
    visitor.expect_status("deleted")
    rambling_server.wait_until_idle()
    visitor.expect_nothing_said()


def test_two_people_stay_apart(visit):
    first, second = visit(), visit()
    first.show(photo(size=(320, 200)))
    second.show(photo(size=(250, 250), tint="sienna"))
    first.type_question("Question of the first person")
    second.type_question("Question of the second person")
    first.send()
    second.send()
    first.finish()
    second.finish()
    assert first.questions() == ["Question of the first person"]
    assert second.questions() == ["Question of the second person"]
    first.expect_photo(320, 200)
    second.expect_photo(250, 250)
    first.page.click("#restart")
    first.expect_nothing_said()
    assert second.questions() == ["Question of the second person"]
    assert second.ask("Still there?")


@pytest.mark.parametrize(
    ("name", "mime", "data"),
    [
        ("a.tiff", "image/tiff", photo("TIFF")),
        ("a.jpg", "image/jpeg", photo("JPEG", mode="CMYK")),
        ("a.png", "image/png", photo("PNG", mode="RGBA")),
        ("a.gif", "image/gif", photo("GIF", mode="P")),
        ("a.webp", "image/webp", photo("WEBP")),
        ("a.bmp", "image/bmp", photo("BMP")),
        ("IMG_0042.HEIC", "image/heic", photo("HEIF")),
        ("a.heic", "", photo("HEIF")),  # Windows knows no type for it
        ("a.avif", "image/avif", photo("AVIF")),
    ],
    ids=["tiff", "cmyk-jpeg", "rgba-png", "gif", "webp", "bmp", "heic", "heic-untyped", "avif"],
)
def test_photo_formats(visit, server, name, mime, data):
    visitor = visit()
    visitor.show(data, name=name, mime=mime)
    visitor.expect_photo(320, 200)
    server.wait_for_no_files()


def test_bad_files_leave_the_conversation_alone(visit, server):
    visitor = visit()
    visitor.show(photo())
    answer = visitor.ask("What is it?")
    for data, sentence in [
        (b"this is text, not a photo", "'my-secret-name.jpg' is a text: send a photo"),
        (b"\0\0\0\x14ftypqt  " + bytes(99), "'my-secret-name.jpg' is a film: take a photo"),
        (photo()[:900], "cannot be decoded"),
        (b"", "is empty"),
    ]:
        visitor.send_photo(data)
        visitor.expect_status(sentence)
        expect(visitor.page.locator("#status .error")).to_have_count(1)
        assert visitor.answers() == [answer]
        visitor.expect_photo(320, 200)
    visitor.shoot("bad_file")
    assert visitor.ask("Is it still there?")
    server.wait_for_no_files()


def test_bad_questions_leave_the_conversation_alone(visit):
    visitor = visit()
    visitor.show(photo())
    answer = visitor.ask("What is it?")
    for question, sentence in [("   ", "empty"), ("x" * 100_000, "100,000 characters")]:
        visitor.type_question(question)
        visitor.send()
        visitor.expect_status(sentence)
        expect(visitor.page.locator("#composer textarea")).to_have_value(question)
        assert visitor.answers() == [answer]
    assert visitor.ask("Is it still there?")


def test_a_question_sent_during_an_answer_stays_in_the_composer(visit, rambling_server):
    visitor = visit(rambling_server.url)
    visitor.show(photo())
    visitor.type_question("What is it?")
    visitor.send()
    expect(visitor.page.locator(STOP)).to_be_visible()
    visitor.type_question("Is it contagious?")
    visitor.page.keyboard.press("Enter")
    visitor.expect_status("wait for its end")
    expect(visitor.page.locator("#composer textarea")).to_have_value("Is it contagious?")
    visitor.stop()
    visitor.expect_status("Stopped.")


def test_markup_is_shown_as_text(visit):
    text = "<img src=http://example.com/x.png> <b>bold</b> ![x](http://example.com/y.png)"
    visitor = visit()
    visitor.show(photo())
    visitor.ask(text)
    assert visitor.questions() == [text]


def test_closed_tab_leaves_nothing(visit, server):
    visitor = visit()
    visitor.show(photo())
    visitor.context.close()
    server.wait_for_no_files()


def test_phone(visit):
    visitor = visit(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    visitor.show(photo())
    visitor.page.locator("#cards button").first.click()
    visitor.finish()
    assert visitor.page.evaluate("document.documentElement.scrollWidth") <= 390
    visitor.shoot("phone")
