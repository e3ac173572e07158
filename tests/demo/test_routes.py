"""What the page's own script asks for: photos in and out, news, and farewell."""

import threading
from io import BytesIO
from urllib.parse import quote

import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from skingpt4.demo.app import EXAMPLE_FILES
from skingpt4.demo.features.photo_edit import Edit
from skingpt4.demo.i18n import say, status
from skingpt4.demo.routes import NAME_HEADER, PHOTO_HEADER, TAB_HEADER, routes
from skingpt4.demo.session import LEFT_SECONDS, MAX_PHOTOS, Sessions
from tests.demo.conftest import encoded

ANNA, BERT = "a" * 22, "b" * 22


@pytest.fixture
def sessions(make_chat):
    made = Sessions(make_chat())
    made.enter("anna's page", ANNA)
    return made


@pytest.fixture
def browser(sessions):
    return TestClient(Starlette(routes=routes(sessions, EXAMPLE_FILES[:2])))


@pytest.fixture
def session(sessions):
    return sessions.open[ANNA]


def look(browser, key=ANNA):
    return browser.get("/page/look", headers={TAB_HEADER: key}).json()


def send(browser, data, name="", key=ANNA):
    headers = {TAB_HEADER: key, NAME_HEADER: quote(name)}
    return browser.post("/page/photos", content=data, headers=headers)


def test_news_are_a_version_and_whether_more_will_come(browser, session):
    news = look(browser)
    assert news == {"known": True, "version": session.version, "busy": False}
    session.changed()
    assert look(browser)["version"] > news["version"]
    session.workers.add(threading.current_thread())
    assert look(browser)["busy"]


@pytest.mark.parametrize("key", ["", "made-up", BERT, "ä"])
def test_an_unknown_tab_learns_only_that_it_is_unknown(browser, sessions, good_photo, key):
    headers = {TAB_HEADER: key.encode()}
    assert browser.get("/page/look", headers=headers).json() == {"known": False}
    answer = browser.post("/page/photos", content=good_photo, headers=headers)
    assert answer.status_code == 404
    assert list(sessions.open) == [ANNA], "asking opens no session"
    assert sessions.open[ANNA].case.is_empty


def test_a_request_without_a_key_is_one_of_an_unknown_tab(browser, good_photo):
    assert browser.get("/page/look").json() == {"known": False}
    assert browser.post("/page/photos", content=good_photo).status_code == 404


def test_looking_is_a_sign_of_life(browser, sessions, monkeypatch):
    monkeypatch.setitem(sessions._seen, ANNA, 0.0)
    look(browser)
    assert sessions._seen[ANNA] > 0


def test_a_photo_goes_into_the_composer(browser, session, good_photo):
    version = session.version
    answer = send(browser, good_photo)
    assert (answer.status_code, answer.json()) == (200, {"taken": True})
    assert [photo.image.size for photo in session.case.attached] == [(400, 300)]
    assert session.message == status(say("photo.ready", "en"))
    assert session.version > version
    send(browser, good_photo)
    assert session.message == status(say("photo.added", "en", number=2))


def test_a_photo_during_an_answer_waits_its_turn(browser, session, good_photo):
    send(browser, good_photo)
    session.ask("What is it?")
    pieces = session.answer()
    next(pieces)
    assert send(browser, good_photo).status_code == 200
    list(pieces)
    assert (len(session.case.photos), len(session.case.attached)) == (1, 1)


@pytest.mark.parametrize(
    ("name", "file_format"),
    [("IMG_0042.HEIC", "HEIF"), ("a.avif", "AVIF"), ("皮疹.jpg", "JPEG"), ("", "PNG")],
)
def test_a_photo_of_a_phone_comes_into_the_composer(browser, session, name, file_format):
    buffer = BytesIO()
    Image.effect_noise((640, 480), 90).convert("RGB").save(buffer, file_format)
    assert send(browser, buffer.getvalue(), name).status_code == 200
    (attached,) = session.case.attached
    assert attached.image.size == (640, 480)


def send_again(browser, data):
    headers = {TAB_HEADER: ANNA, PHOTO_HEADER: "0.25"}
    return browser.post("/page/photos", content=data, headers=headers).json()


def test_a_photo_that_is_sent_again_is_taken_once(browser, session, good_photo):
    """The answer was lost on its way, so the browser does not know that it has come."""
    assert send_again(browser, good_photo) == send_again(browser, good_photo) == {"taken": True}
    assert len(session.case.attached) == 1
    send(browser, good_photo)
    send(browser, good_photo)
    assert len(session.case.attached) == 3, "the same photo without a number may be meant twice"


def test_a_photo_that_is_sent_again_before_it_is_judged_is_taken_once(browser, session, good_photo):
    encode, answers = session.chat.encode_photos, []

    def encode_late(images):
        session.chat.encode_photos = encode
        answers.append(send_again(browser, good_photo))
        return encode(images)

    session.chat.encode_photos = encode_late
    assert send_again(browser, good_photo) == {"taken": True} == answers[0]
    assert len(session.case.attached) == 1


def test_a_photo_that_was_refused_can_be_sent_again(browser, session, good_photo):
    assert send_again(browser, b"no photo") == {"taken": False}
    assert send_again(browser, good_photo) == {"taken": True}
    assert len(session.case.attached) == 1


@pytest.mark.parametrize(
    ("language", "sentence"),
    [
        ("en", "&#x27;皮疹.MOV&#x27; is a film: take a photo, or send a still from it."),
        ("zh", "文件&#x27;皮疹.MOV&#x27;是视频：请拍一张照片，或发送其中一帧的截图。"),
    ],
)
def test_a_refused_file_is_named_in_the_visitors_language(browser, session, language, sentence):
    session.language = language
    film = b"\0\0\0\x14ftypqt  " + bytes(99)
    assert send(browser, film, "C:\\fakepath\\皮疹.MOV").status_code == 422
    assert not session.case.attached
    assert sentence in session.message


@pytest.mark.parametrize("data", [b"", b"plain text", b"\xff\xd8\xff\xe0 cut off"])
def test_a_refused_file_is_a_sentence_beside_the_composer(browser, session, good_photo, data):
    send(browser, good_photo)
    answer = send(browser, data)
    assert (answer.status_code, answer.json()) == (422, {"taken": False})
    assert session.message.startswith('<p role="alert" class="error">')
    assert len(session.case.attached) == 1


def test_one_photo_too_many_is_a_sentence(browser, session, good_photo):
    for _ in range(MAX_PHOTOS):
        session.attach(good_photo)
    assert send(browser, good_photo).status_code == 422
    assert f"{MAX_PHOTOS} photos already" in session.message


def test_an_unforeseen_error_is_a_sentence_without_what_it_quotes(
    browser, session, good_photo, monkeypatch, caplog
):
    monkeypatch.setattr(session.chat, "encode_photos", lambda images: {}["secret"])
    assert send(browser, good_photo).status_code == 422
    assert say("page.unexpected", "en") in session.message
    assert "KeyError" in caplog.text and "secret" not in caplog.text


def test_a_photo_is_given_to_who_knows_its_key(browser, session, good_photo):
    photo = session.attach(good_photo)
    answer = browser.get(f"/page/photos/{photo.key}")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
    assert Image.open(BytesIO(answer.content)).size == photo.image.size == (400, 300)
    session.edit(photo.key, Edit(turns=1))
    assert Image.open(BytesIO(browser.get(f"/page/photos/{photo.key}").content)).size == (300, 400)
    original = browser.get(f"/page/photos/{photo.key}?original=1")
    assert Image.open(BytesIO(original.content)).size == (400, 300)


def test_an_original_is_given_no_larger_than_a_window(browser, session):
    photo = session.attach(encoded(Image.new("RGB", (2000, 1000))))
    answer = browser.get(f"/page/photos/{photo.key}?original=1")
    assert Image.open(BytesIO(answer.content)).size == (1024, 512)
    assert photo.original.size == (2000, 1000)


def test_a_photo_is_given_to_nobody_else(browser, sessions, session, good_photo):
    photo = session.attach(good_photo)
    for other in ("", "0", ANNA, photo.key[:-1], photo.key + "x", "a" * 22):
        assert browser.get(f"/page/photos/{other}").status_code in (404, 405)
    second = sessions.enter("bert's page", BERT).attach(good_photo)
    assert len({photo.key, second.key}) == 2 and min(map(len, (photo.key, second.key))) >= 22
    gone = photo.key
    session.detach(gone)
    sessions.close(BERT)
    for key in (gone, second.key):
        assert browser.get(f"/page/photos/{key}").status_code == 404


def test_examples_are_given_to_anybody(browser):
    for number in (0, 1):
        answer = browser.get(f"/page/examples/{number}")
        assert answer.content == EXAMPLE_FILES[number].read_bytes()
    assert browser.get("/page/examples/2").status_code == 404
    assert browser.get("/page/examples/-1").status_code == 404


def test_who_leaves_is_kept_for_a_while(browser, sessions):
    answer = browser.post("/page/leave", content="anna's page")
    assert answer.status_code == 204
    seen = sessions._seen[ANNA]
    assert sessions.due(seen + LEFT_SECONDS) == [ANNA]
    assert sessions.due(seen + LEFT_SECONDS - 1) == []


@pytest.mark.parametrize("name", [b"", b"made up", ANNA.encode(), b"\xff\xfe"])
def test_only_a_page_itself_can_leave(browser, sessions, name):
    assert browser.post("/page/leave", content=name).status_code == 204
    assert sessions.due(sessions._seen[ANNA] + LEFT_SECONDS) == []


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/page/look"), ("GET", "/page/leave"), ("DELETE", "/page/photos"), ("GET", "/page")],
)
def test_there_is_nothing_else(browser, method, path):
    assert browser.request(method, path, headers={TAB_HEADER: ANNA}).status_code in (404, 405)
