"""One visitor's session: photo, question, stop, restart; errors leave it as it was."""

import base64
import threading
from io import BytesIO

import pytest
from PIL import Image

from skingpt4.common.errors import ChatError, PhotoError
from skingpt4.demo.session import MAX_PHOTOS, PREVIEW_SIDE, Session, Sessions
from skingpt4.processors.photo import open_photo


@pytest.fixture
def open_session(make_chat, photo_bytes):
    """Make a session that already has a photo."""

    def make(**chat):
        session = Session(make_chat(**chat))
        session.show_photo(photo_bytes)
        return session

    return make


def photos_in(session):
    return session.case.conversation.get_prompt().count("<ImageHere>")


def said(session):
    return [(exchange.question, exchange.answer) for exchange in session.case.exchanges]


def test_question_is_answered_piece_by_piece(open_session):
    session = open_session()
    session.ask("  What is it? ")
    states = [case.exchanges[-1].answer for case in session.answer(num_beams=2, temperature=0.5)]
    assert states == ["word0 ", "word0 word1 ", "word0 word1 word2 "]
    assert said(session) == [("What is it?", states[-1])]
    assert session.case.exchanges[-1].is_finished
    settings = {"num_beams": 2, "temperature": 0.5, "seed": session.case.seed}
    assert session.chat.decodings == [settings] == [session.case.exchanges[0].settings]


def test_follow_up_continues_the_same_conversation(open_session):
    session = open_session()
    for question in ("One?", "Two?"):
        session.ask(question)
        list(session.answer())
    human, assistant = session.case.conversation.roles
    roles = [role for role, _ in session.case.conversation.messages]
    assert roles == [human, assistant, human, assistant]
    assert [question for question, _ in said(session)] == ["One?", "Two?"]


def test_question_needs_a_photo(make_chat):
    session = Session(make_chat())
    with pytest.raises(ChatError, match="no photo yet"):
        session.ask("What is it?")
    assert said(session) == []


@pytest.mark.parametrize("question", ["", " \n ", "x" * 100_000])
def test_unusable_question_changes_nothing(open_session, question):
    session = open_session()
    before = session.case.conversation.copy()
    with pytest.raises(ChatError):
        session.ask(question)
    assert said(session) == []
    assert session.case.conversation == before
    assert not session.case.is_answering


def test_second_question_waits_for_the_first_answer(open_session):
    session = open_session()
    session.ask("One?")
    with pytest.raises(ChatError, match="being written"):
        session.ask("Two?")
    assert [question for question, _ in said(session)] == ["One?"]


def test_answer_is_written_once_even_if_asked_for_twice(open_session):
    session = open_session()
    session.ask("One?")
    first = session.answer()
    next(first)
    assert list(session.answer()) == []
    list(first)
    assert said(session) == [("One?", "word0 word1 word2 ")]


def test_stop_keeps_what_was_written(open_session):
    session = open_session()
    session.ask("One?")
    pieces = session.answer()
    next(pieces)
    session.stop()
    assert list(pieces) == []
    assert said(session) == [("One?", "word0 ")]
    assert not session.case.is_answering
    assert session.chat.active == 0


def test_stop_before_the_first_word_takes_the_question_back(open_session):
    session = open_session()
    session.ask("One?")
    session.stop()
    assert list(session.answer()) == []
    assert said(session) == []
    session.ask("Two?")
    list(session.answer())
    assert said(session) == [("Two?", "word0 word1 word2 ")]


def test_a_model_that_says_nothing_leaves_no_turn_behind(open_session):
    session = open_session(words=0)
    session.ask("One?")
    list(session.answer())
    assert said(session) == []
    assert not session.case.conversation.has_question()
    assert "One?" not in session.case.conversation.get_prompt()
    session.ask_again()
    assert session.case.conversation.get_prompt().count("One?") == 1


def test_error_takes_the_question_back(open_session):
    session = open_session(error=ChatError("Too long."))
    session.ask("One?")
    with pytest.raises(ChatError, match="Too long"):
        list(session.answer())
    assert said(session) == []
    assert not session.case.conversation.has_question()
    assert not session.case.is_answering


def test_abandoned_answer_ends_generation(open_session):
    session = open_session()
    session.ask("One?")
    pieces = session.answer()
    next(pieces)
    pieces.close()
    assert session.chat.active == 0
    assert not session.case.is_answering


def test_restart_stops_and_forgets(open_session):
    session = open_session()
    session.ask("One?")
    pieces = session.answer()
    old = next(pieces)
    session.restart()
    assert list(pieces) == []
    assert old.cancel["answer"].is_set()
    assert session.chat.forgotten[-1] is old.conversation
    assert (said(session), session.case.photos) == ([], [])


def test_new_photo_begins_a_new_case(open_session, photo_bytes):
    session = open_session()
    session.ask("One?")
    list(session.answer())
    session.show_photo(photo_bytes)
    assert said(session) == []
    assert len(session.case.photos) == 1


@pytest.mark.parametrize("data", [b"", b"plain text", b"\xff\xd8\xff\xe0 cut off"])
def test_bad_photo_leaves_the_case(open_session, data):
    session = open_session()
    session.ask("One?")
    list(session.answer())
    case = session.case
    with pytest.raises(PhotoError):
        session.show_photo(data)
    assert session.case is case
    assert not case.cancel["answer"].is_set()


def test_preview_is_a_small_upright_jpeg_without_metadata(make_chat):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "the camera's maker"
    buffer = BytesIO()
    Image.new("RGB", (2 * PREVIEW_SIDE, PREVIEW_SIDE)).save(buffer, "JPEG", exif=exif)
    session = Session(make_chat())
    session.show_photo(buffer.getvalue())
    data = base64.b64decode(session.case.photos[0].preview.removeprefix("data:image/jpeg;base64,"))
    preview = Image.open(BytesIO(data))
    assert preview.size == (PREVIEW_SIDE // 2, PREVIEW_SIDE)
    assert dict(preview.getexif()) == {}


def test_a_photo_that_a_panel_opened_goes_to_the_model_as_it_is(make_chat, monkeypatch):
    chat, given = make_chat(), []
    encode = chat.encode_photos
    monkeypatch.setattr(
        chat, "encode_photos", lambda images: given.extend(images) or encode(images)
    )
    image = open_photo(Image.new("L", (2 * PREVIEW_SIDE, 9)))
    session = Session(chat)
    session.show_photo(image)
    assert given[0] is image
    assert image.width == 2 * PREVIEW_SIDE == 2 * session.case.photos[0].image.width


def test_uploads_are_deleted_at_restart(open_session, tmp_path):
    session = open_session()
    path = tmp_path / "sent" / "a.jpg"
    path.parent.mkdir()
    path.write_bytes(b"x")
    session.uploads.append(path)
    session.restart()
    assert not path.parent.exists()


def test_sessions_are_separate_and_can_be_closed(make_chat, photo_bytes):
    sessions = Sessions(make_chat())
    first, second = sessions.get("a"), sessions.get("b")
    assert sessions.get("a") is first and first is not second
    first.show_photo(photo_bytes)
    assert second.case.photos == []
    end = first.case.begin("a job")
    sessions.close("a")
    sessions.close("never opened")
    assert end.is_set()
    assert len(sessions.open) == 1
    assert sessions.get("a") is not first


def test_closing_ends_an_answer_in_another_thread(make_chat, photo_bytes):
    chat = make_chat(words=1000)
    chat.paused = True
    sessions = Sessions(chat)
    session = sessions.get("a")
    session.show_photo(photo_bytes)
    session.ask("One?")
    reader = threading.Thread(target=lambda: list(session.answer()))
    reader.start()
    chat.go.release()
    sessions.close("a")
    chat.go.release()
    reader.join(timeout=60)
    assert not reader.is_alive()
    assert chat.active == 0


def add(session, photo_bytes, count):
    for _ in range(count):
        session.add_photo(photo_bytes)


def test_added_photos_join_the_conversation(open_session, photo_bytes):
    session = open_session()
    session.ask("One?")
    list(session.answer())
    add(session, photo_bytes, 2)
    session.ask("Two?")
    assert photos_in(session) == len(session.case.photos) == 3
    assert [exchange.photos for exchange in session.case.exchanges] == [1, 3]
    assert len(session.case.photos) == 3


def test_photos_are_limited_and_wait_for_the_answer(open_session, photo_bytes):
    session = open_session()
    session.ask("One?")
    with pytest.raises(ChatError, match="being written"):
        session.add_photo(photo_bytes)
    session.stop()
    add(session, photo_bytes, MAX_PHOTOS - 1)
    with pytest.raises(ChatError, match=f"{MAX_PHOTOS} photos already"):
        session.add_photo(photo_bytes)
    assert len(session.case.photos) == photos_in(session) == MAX_PHOTOS


def test_replaced_and_removed_photos_begin_the_conversation_again(open_session, photo_bytes):
    session = open_session()
    add(session, photo_bytes, 1)
    session.ask("One?")
    list(session.answer())
    kept = session.case.photos[1]
    session.replace_photo(1, Image.new("RGB", (50, 20)))
    assert session.case.photos[0].image.size == (50, 20)
    assert said(session) == []
    session.replace_photo(1, None)
    assert session.case.photos == [kept]
    assert photos_in(session) == 1
    for number in (0, 2):
        with pytest.raises(ChatError, match=f"no photo {number}"):
            session.replace_photo(number, None)


def test_asking_again_takes_the_answer_back_but_no_photo(open_session, photo_bytes):
    session = open_session()
    for question in ("One?", "Two?"):
        session.ask(question)
        list(session.answer())
    session.add_photo(photo_bytes)
    session.ask_again()
    list(session.answer())
    assert [question for question, _ in said(session)] == ["One?", "Two?"]
    assert photos_in(session) == 2
    session.ask_again("Three?")
    list(session.answer())
    assert [question for question, _ in said(session)] == ["One?", "Three?"]
    seeds = [settings["seed"] - session.case.seed for settings in session.chat.decodings]
    assert seeds == [0, 0, 1, 0]


def test_unusable_change_of_a_question_changes_nothing(open_session):
    session = open_session()
    session.ask("One?")
    list(session.answer())
    before = session.case.conversation.copy()
    for nothing in ("", "  "):
        with pytest.raises(ChatError, match="empty"):
            session.ask_again(nothing)
    assert session.case.conversation == before
    assert len(said(session)) == 1


def test_a_question_that_nobody_began_to_answer_is_taken_back_by_stop(open_session):
    session = open_session()
    session.ask("One?")
    session.stop()
    assert not session.case.is_answering
    assert list(session.answer()) == []
    session.ask_again()
    list(session.answer())
    assert [question for question, _ in said(session)] == ["One?"]


def test_panels_keep_their_own_of_a_case(make_chat):
    session = Session(make_chat())
    session.case.panel_state(list).append("drawn")
    assert session.case.panel_state(list) == ["drawn"]
    end = session.case.begin("drawing")
    session.restart()
    assert session.case.panel_state(list) == []
    assert end.is_set()
