"""What the page's own script asks for: photos in, and why one is refused."""

import io
from urllib.parse import quote

import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from skingpt4.demo.routes import NAME_HEADER, TAB_HEADER, routes
from skingpt4.demo.session import Sessions


@pytest.fixture
def tab(make_chat):
    """A visitor's tab: sends files, and knows what the page then says."""
    sessions = Sessions(make_chat())
    client = TestClient(Starlette(routes=routes(sessions, [])))

    def send(content, name, key="anna"):
        headers = {TAB_HEADER: key, NAME_HEADER: quote(name)}
        return client.post("/page/photos", content=content, headers=headers).status_code

    send.session = sessions.enter("page", "anna")
    return send


def photo(file_format):
    buffer = io.BytesIO()
    Image.effect_noise((640, 480), 90).convert("RGB").save(buffer, file_format)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "file_format"),
    [("IMG_0042.HEIC", "HEIF"), ("a.avif", "AVIF"), ("皮疹.jpg", "JPEG"), ("", "PNG")],
)
def test_a_photo_of_a_phone_comes_into_the_composer(tab, name, file_format):
    assert tab(photo(file_format), name) == 200
    (attached,) = tab.session.case.attached
    assert attached.image.size == (640, 480)


@pytest.mark.parametrize(
    ("language", "sentence"),
    [
        ("en", "&#x27;皮疹.MOV&#x27; is a film: take a photo, or send a still from it."),
        ("zh", "文件&#x27;皮疹.MOV&#x27;是视频：请拍一张照片，或发送其中一帧的截图。"),
    ],
)
def test_a_refused_file_is_named_in_the_visitors_language(tab, language, sentence):
    tab.session.language = language
    assert tab(b"\0\0\0\x14ftypqt  " + bytes(99), "C:\\fakepath\\皮疹.MOV") == 422
    assert not tab.session.case.attached
    assert sentence in tab.session.message


def test_an_unknown_tab_gets_nothing(tab):
    assert tab(photo("JPEG"), "a.jpg", key="nobody") == 404
