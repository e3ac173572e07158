"""One visitor's session: photos, question, stop, undo; errors leave it as it was."""

import threading
import time
from io import BytesIO

import pytest
from PIL import Image

from skingpt4.common.errors import ChatError, PhotoError
from skingpt4.demo.features.photo_edit import WHOLE, Edit
from skingpt4.demo.session import (
    IDLE_SECONDS,
    KEPT_SIDE,
    LEFT_SECONDS,
    MAX_PHOTOS,
    OPENED_SIDE,
    PREVIEW_SIDE,
    UNDO_SECONDS,
    Session,
    Sessions,
)
from skingpt4.documents.images import jpeg
from tests.demo.conftest import encoded

ANNA, BERT = "a" * 22, "b" * 22


@pytest.fixture
def clock(monkeypatch):
    """A monotonic clock that goes on when a test adds to it."""
    hands = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: hands[0])
    return hands


def photos_in(session):
    return session.case.conversation.get_prompt().count("<ImageHere>")


def said(session):
    return [(exchange.question, exchange.answer) for exchange in session.case.exchanges]


def questions(session):
    return [question for question, _ in said(session)]


def answered(session, *questions):
    """Ask and have each question answered; give the session back."""
    for question in questions:
        session.ask(question)
        list(session.answer())
    return session


def sizes(photos):
    return [photo.image.size for photo in photos]


# ---- Asking


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
    session = answered(open_session(), "One?", "Two?")
    human, assistant = session.case.conversation.roles
    roles = [role for role, _ in session.case.conversation.messages]
    assert roles == [human, assistant, human, assistant]
    assert questions(session) == ["One?", "Two?"]


def test_question_needs_a_photo(open_session):
    session = open_session(photos=0)
    with pytest.raises(ChatError, match="no photo yet"):
        session.ask("What is it?")
    assert said(session) == []


@pytest.mark.parametrize("question", ["", " \n ", "x" * 100_000])
def test_unusable_question_changes_nothing(open_session, question):
    session = open_session()
    before, (photo,) = session.case.conversation.copy(), session.case.attached
    with pytest.raises(ChatError):
        session.ask(question)
    assert said(session) == []
    assert session.case.conversation == before
    assert (session.case.photos, session.case.attached) == ([], [photo])
    assert not session.case.is_answering


def test_second_question_waits_for_the_first_answer(open_session):
    session = open_session()
    session.ask("One?")
    with pytest.raises(ChatError, match="being written"):
        session.ask("Two?")
    assert questions(session) == ["One?"]


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


@pytest.mark.parametrize("words", [0, 3])
def test_a_question_without_an_answer_is_taken_back_with_its_photos(open_session, words):
    """Stop came first, or the model said nothing."""
    session = answered(open_session(words=3), "One?")
    session.chat.words = words
    (kept,), new = session.case.photos, session.attach(encoded(Image.new("RGB", (300, 300))))
    new.is_accepted = True
    session.ask("Two?")
    if words:
        session.stop()
    assert list(session.answer()) == []
    assert questions(session) == ["One?"] and session.case.last.question == "Two?"
    assert (session.case.photos, session.case.attached) == ([kept], [new])
    assert photos_in(session) == 1
    assert "Two?" not in session.case.conversation.get_prompt()
    session.chat.words = 3
    session.ask_again()
    list(session.answer())
    assert questions(session) == ["One?", "Two?"]
    assert session.case.photos == [kept, new] and photos_in(session) == 2
    assert session.case.conversation.get_prompt().count("Two?") == 1


def test_photos_that_came_meanwhile_stand_behind_those_that_are_taken_back(
    open_session, good_photo
):
    session = open_session()
    (first,) = session.case.attached
    session.ask("One?")
    second = session.attach(good_photo)
    session.stop()
    assert session.case.attached == [first, second]


def test_error_takes_the_question_back(open_session):
    session = open_session(error=ChatError("Too long."))
    session.ask("One?")
    with pytest.raises(ChatError, match="Too long"):
        list(session.answer())
    assert said(session) == []
    assert len(session.case.attached) == 1
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


def test_asking_again_takes_the_answer_back_but_no_photo(open_session, good_photo):
    session = answered(open_session(), "One?", "Two?")
    session.attach(good_photo)
    session.ask_again()
    list(session.answer())
    assert questions(session) == ["One?", "Two?"]
    assert photos_in(session) == 2
    session.ask_again("Three?")
    list(session.answer())
    assert questions(session) == ["One?", "Three?"]
    seeds = [settings["seed"] - session.case.seed for settings in session.chat.decodings]
    assert seeds == [0, 0, 1, 0]


def test_asking_at_an_earlier_place_keeps_every_photo(open_session, good_photo):
    session = answered(open_session(), "One?")
    session.attach(good_photo)
    answered(session, "Two?", "Three?")
    kept = [*session.case.photos, session.attach(good_photo)]
    session.ask("Again?", place=0)
    list(session.answer())
    assert questions(session) == ["Again?"]
    assert session.case.photos == kept and photos_in(session) == 3
    (exchange,) = session.case.exchanges
    assert (exchange.shown, exchange.photos) == (0, 3)
    assert "One?" not in session.case.conversation.get_prompt()


def test_unusable_change_of_a_question_changes_nothing(open_session):
    session = answered(open_session(), "One?")
    before = session.case.conversation.copy()
    for nothing in ("", "  "):
        with pytest.raises(ChatError, match="empty"):
            session.ask_again(nothing)
    assert session.case.conversation == before
    assert len(said(session)) == 1


def test_nothing_to_ask_again_is_a_sentence(open_session):
    with pytest.raises(ChatError, match="ask one first"):
        open_session().ask_again()


# ---- Photos


def test_a_photo_waits_in_the_composer_until_it_is_asked_about(open_session, good_photo):
    session = open_session()
    assert sizes(session.case.attached) == [(400, 300)] and session.case.photos == []
    assert photos_in(session) == 0
    answered(session, "One?")
    session.attach(good_photo)
    session.attach(good_photo)
    assert (len(session.case.photos), len(session.case.attached)) == (1, 2)
    answered(session, "Two?")
    assert photos_in(session) == len(session.case.photos) == 3
    assert [(one.shown, one.photos) for one in session.case.exchanges] == [(0, 1), (1, 3)]
    assert session.case.attached == []


def test_a_photo_that_comes_during_an_answer_waits_its_turn(open_session, good_photo):
    session = open_session()
    session.ask("One?")
    pieces = session.answer()
    next(pieces)
    late = session.attach(good_photo)
    list(pieces)
    assert session.case.attached == [late]
    assert photos_in(session) == len(session.case.photos) == session.case.exchanges[0].photos == 1


def test_photos_are_limited_sent_and_waiting_ones_together(open_session, good_photo):
    session = answered(open_session(photos=2), "One?")
    for _ in range(MAX_PHOTOS - 2):
        session.attach(good_photo)
    with pytest.raises(ChatError, match=f"{MAX_PHOTOS} photos already"):
        session.attach(good_photo)
    assert len(session.case.photos) + len(session.case.attached) == MAX_PHOTOS
    answered(session, "Two?")
    with pytest.raises(ChatError, match="photos already"):
        session.attach(good_photo)
    assert photos_in(session) == MAX_PHOTOS


def test_photos_that_come_at_once_are_not_more_than_allowed(open_session, good_photo):
    """Encoding takes a while: when all begin, there is room for each."""
    session = open_session(photos=MAX_PHOTOS - 1)
    together, refused = threading.Barrier(3), []
    encode = session.chat.encode_photos

    def encode_together(images):
        together.wait(60)
        return encode(images)

    session.chat.encode_photos = encode_together

    def attach():
        try:
            session.attach(good_photo)
        except ChatError as error:
            refused.append(error)

    threads = [threading.Thread(target=attach) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (len(session.case.attached), len(refused)) == (MAX_PHOTOS, 2)


def test_a_poor_photo_waits_for_its_decision_and_so_does_the_question(open_session, poor_photo):
    session = answered(open_session(), "One?")
    poor = session.attach(poor_photo)
    assert poor.is_undecided
    before = session.case.conversation.copy()
    for ask in (lambda: session.ask("Two?"), session.ask_again):
        with pytest.raises(ChatError, match="Photo 2 could be better"):
            ask()
    assert questions(session) == ["One?"] and session.case.attached == [poor]
    assert session.case.conversation == before
    poor.is_accepted = True
    answered(session, "Two?")
    assert session.case.photos[1] is poor


@pytest.mark.parametrize("data", [b"", b"plain text", b"\xff\xd8\xff\xe0 cut off"])
def test_bad_photo_leaves_the_case(open_session, data):
    session = answered(open_session(), "One?")
    case = session.case
    with pytest.raises(PhotoError):
        session.attach(data)
    assert session.case is case
    assert (len(case.photos), case.attached, len(said(session))) == (1, [], 1)
    assert not case.cancel["answer"].is_set()


def test_preview_is_a_small_upright_jpeg_without_metadata(open_session):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "the camera's maker"
    exif.get_ifd(0x8825)[2] = (47.0, 22.0, 1.0)
    data = encoded(Image.new("RGB", (2 * PREVIEW_SIDE, PREVIEW_SIDE)), exif=exif)
    assert b"the camera's maker" in data
    photo = open_session(photos=0).attach(data)
    preview = jpeg(photo.image)
    assert Image.open(BytesIO(preview)).size == (PREVIEW_SIDE // 2, PREVIEW_SIDE)
    for image in (photo.image, photo.original, Image.open(BytesIO(preview))):
        assert dict(image.getexif()) == {} and "exif" not in image.info
    assert b"the camera's maker" not in preview


def test_the_model_sees_every_pixel_and_the_page_keeps_fewer(open_session, monkeypatch):
    session = open_session(photos=0)
    given, encode = [], session.chat.encode_photos
    monkeypatch.setattr(
        session.chat,
        "encode_photos",
        lambda images: given.extend(image.size for image in images) or encode(images),
    )
    photo = session.attach(encoded(Image.new("RGB", (6000, 3000))))
    assert given == [(OPENED_SIDE, OPENED_SIDE // 2)]
    assert photo.original.size == (KEPT_SIDE, KEPT_SIDE // 2)
    assert photo.image.size == (PREVIEW_SIDE, PREVIEW_SIDE // 2)


def test_an_edit_is_seen_by_the_model_and_starts_from_the_original(open_session):
    session = open_session()
    (photo,) = session.case.attached
    original, whole, key = photo.original.tobytes(), photo.embeddings, photo.key
    session.edit(photo.key, Edit(turns=1, box=(0, 0, 1, 0.5)))
    assert photo.image.size == (300, 200) and photo.embeddings.tolist() == [300, 200]
    assert photo.key != key, "a browser would show the picture that it has kept"
    session.edit(photo.key, Edit(turns=1))
    assert photo.image.size == (300, 400)
    session.edit(photo.key, WHOLE)
    assert photo.image.size == (400, 300) and photo.embeddings.tolist() == whole.tolist()
    assert photo.original.tobytes() == original


def test_an_edit_is_judged_anew(open_session):
    session = open_session()
    (photo,) = session.case.attached
    assert not photo.is_undecided
    session.edit(photo.key, Edit(box=(0, 0, 0.1, 0.1)))  # 40 by 30 pixels are too few
    assert photo.is_undecided
    session.edit(photo.key, WHOLE)
    assert not photo.is_undecided


def test_only_waiting_photos_can_change(open_session):
    session = answered(open_session(), "One?")
    (photo,) = session.case.photos
    for change in (lambda key: session.edit(key, Edit(turns=1)), session.detach):
        for key in (photo.key, "unknown"):
            with pytest.raises(ChatError, match="sent or removed"):
                change(key)
    assert sizes(session.case.photos) == [(400, 300)]
    assert not session.can_undo


def test_a_photo_that_is_sent_while_its_edit_is_made_stays_as_it_was_sent(open_session):
    session = open_session()
    (photo,) = session.case.attached
    encode = session.chat.encode_photos

    def encode_late(images):
        session.ask("One?")
        return encode(images)

    session.chat.encode_photos = encode_late
    with pytest.raises(ChatError, match="sent or removed"):
        session.edit(photo.key, Edit(turns=1))
    assert sizes(session.case.photos) == [(400, 300)]


def test_a_photo_is_found_by_its_key_as_long_as_it_can_be_seen(open_session, good_photo, clock):
    session = answered(open_session(), "One?")
    sent, waiting = session.case.photos[0], session.attach(good_photo)
    assert [session.photo(one.key) for one in (sent, waiting)] == [sent, waiting]
    session.begin_again()
    assert session.photo(sent.key) is sent, "it can be had back"
    clock[0] += UNDO_SECONDS
    session.forget_removed(clock[0])
    assert session.photo(sent.key) is None and session.photo("unknown") is None


# ---- Undo


def remove_a_photo(session):
    session.detach(session.case.attached[0].key)


def edit_a_photo(session):
    session.edit(session.case.attached[0].key, Edit(turns=1))


def begin_again(session):
    session.begin_again()


DESTRUCTIVE = [remove_a_photo, edit_a_photo, begin_again]


def look_of(session):
    case = session.case
    photos = [(p.key, p.image.size, p.embeddings.tolist(), p.edit) for p in case.attached]
    return photos, said(session), case.conversation.messages, len(case.photos)


@pytest.mark.parametrize("destroy", DESTRUCTIVE)
def test_what_was_removed_can_be_had_back_once(open_session, good_photo, destroy):
    session = answered(open_session(), "One?")
    session.attach(good_photo), session.attach(good_photo)
    assert not session.can_undo and not session.undo()
    before = look_of(session)
    destroy(session)
    assert look_of(session) != before
    assert session.can_undo and session.undo()
    assert look_of(session) == before
    assert not session.can_undo and not session.undo()
    assert look_of(session) == before


@pytest.mark.parametrize("destroy", DESTRUCTIVE)
def test_after_ten_seconds_it_is_too_late(open_session, good_photo, clock, destroy):
    session = answered(open_session(), "One?")
    session.attach(good_photo)
    destroy(session)
    after = look_of(session)
    clock[0] += UNDO_SECONDS - 1
    assert session.can_undo
    session.forget_removed(clock[0])
    assert session.can_undo, "the janitor came too early"
    clock[0] += 1
    assert not session.can_undo and not session.undo()
    assert look_of(session) == after
    session.forget_removed(clock[0])
    clock[0] -= 1
    assert not session.can_undo, "it was let go"


def test_only_the_last_removal_can_be_undone(open_session):
    session = open_session(photos=2)
    first, second = session.case.attached
    session.detach(first.key), session.detach(second.key)
    assert session.undo() and session.case.attached == [second]
    assert not session.undo()


def test_a_removed_photo_comes_back_to_its_place(open_session, good_photo):
    session = open_session(photos=3)
    first, second, third = session.case.attached
    session.detach(second.key)
    session.undo()
    assert session.case.attached == [first, second, third]
    session.detach(third.key)
    answered(session, "One?")
    session.undo()
    assert (session.case.photos, session.case.attached) == ([first, second], [third])


def test_an_edit_stays_once_the_photo_is_sent(open_session):
    """The model has seen it so."""
    session = open_session()
    edit_a_photo(session)
    session.ask("One?")
    assert not session.can_undo and not session.undo()
    assert sizes(session.case.photos) == [(300, 400)]


def test_undoing_a_new_conversation_keeps_the_photos_that_have_come_since(open_session, good_photo):
    session = answered(open_session(), "One?")
    old, waiting = session.case, session.attach(good_photo)
    session.begin_again()
    sent = session.attach(good_photo)
    answered(session, "Two?")
    new, late = session.case, session.attach(good_photo)
    end = new.begin("opinion")
    assert session.undo()
    assert session.case is old and questions(session) == ["One?"]
    assert session.case.attached == [waiting, sent, late]
    assert end.is_set() and session.chat.forgotten[-1] is new.conversation


def test_an_answer_goes_on_while_its_conversation_can_be_had_back(open_session, clock):
    session = open_session()
    session.ask("One?")
    pieces = session.answer()
    old = next(pieces)
    session.begin_again()
    assert said(session) == [] and not session.case.is_answering
    next(pieces)
    session.undo()
    assert said(session) == [("One?", "word0 word1 ")]
    session.begin_again()
    clock[0] += UNDO_SECONDS
    session.forget_removed(clock[0])
    assert list(pieces) == []
    assert old.cancel["answer"].is_set()
    assert session.chat.forgotten[-1] is old.conversation


def test_beginning_again_twice_lets_the_first_conversation_go(open_session, good_photo):
    session = answered(open_session(), "One?")
    first = session.case
    session.begin_again()
    session.attach(good_photo)
    answered(session, "Two?")
    session.begin_again()
    assert session.chat.forgotten == [first.conversation]
    session.undo()
    assert questions(session) == ["Two?"]


def test_an_empty_conversation_has_nothing_to_begin_again(open_session):
    session = open_session()
    (photo,) = session.case.attached
    session.detach(photo.key)
    session.begin_again()
    assert session.undo() and session.case.attached == [photo]


def test_deleting_leaves_nothing_to_be_had_back(open_session, good_photo):
    session = answered(open_session(), "One?")
    first = session.case
    end = first.begin("evidence")
    session.begin_again()
    session.attach(good_photo)
    second = session.case
    session.forget()
    assert session.case.is_empty and not session.undo()
    assert end.is_set()
    assert session.chat.forgotten == [second.conversation, first.conversation]
    assert [session.photo(p.key) for p in (*first.photos, *second.attached)] == [None, None]


def test_panels_keep_their_own_of_a_case(open_session):
    session = open_session()
    session.case.panel_state(list).append("drawn")
    assert session.case.panel_state(list) == ["drawn"]
    session.begin_again()
    assert session.case.panel_state(list) == []
    session.undo()
    assert session.case.panel_state(list) == ["drawn"]


# ---- The sessions of all tabs


@pytest.fixture
def sessions(make_chat):
    return Sessions(make_chat())


def test_tabs_are_separate_and_found_again_by_their_key(sessions, good_photo):
    first, second = sessions.enter("page 1", ANNA), sessions.enter("page 2", BERT)
    assert first is not second
    first.attach(good_photo)
    assert second.case.attached == []
    sessions.leave("page 1")
    assert sessions.enter("page 3", ANNA) is sessions.get(ANNA) is first
    assert sessions.get("never opened") is None


def test_a_tab_that_was_left_is_kept_for_two_minutes(sessions, clock):
    sessions.enter("page", ANNA)
    clock[0] += 100
    sessions.leave("page")
    sessions.leave("unknown page")
    assert sessions.due(clock[0] + LEFT_SECONDS - 1) == []
    assert sessions.due(clock[0] + LEFT_SECONDS) == [ANNA]
    sessions.enter("page after a reload", ANNA)
    assert sessions.due(clock[0] + LEFT_SECONDS) == []


def test_a_silent_tab_is_kept_for_half_an_hour_and_every_sign_of_life_counts(sessions, clock):
    sessions.enter("page", ANNA)
    clock[0] += IDLE_SECONDS - 1
    assert sessions.due(clock[0]) == []
    sessions.get(ANNA)
    clock[0] += IDLE_SECONDS - 1
    assert sessions.due(clock[0]) == []
    assert sessions.due(clock[0] + 1) == [ANNA]


def test_a_copy_of_a_tab_keeps_its_conversation_alive(sessions, clock):
    assert sessions.enter("page", ANNA) is sessions.enter("its copy", ANNA)
    sessions.leave("page")
    assert sessions.due(clock[0] + LEFT_SECONDS) == []
    assert sessions.due(clock[0] + IDLE_SECONDS) == [ANNA]
    sessions.leave("its copy")
    assert sessions.due(clock[0] + LEFT_SECONDS) == [ANNA]


def test_who_waits_for_an_answer_is_not_silent(sessions, clock):
    session = sessions.enter("page", ANNA)
    session.workers.add(threading.current_thread())
    assert sessions.due(clock[0] + IDLE_SECONDS) == []
    sessions.leave("page")
    assert sessions.due(clock[0] + LEFT_SECONDS) == [ANNA], "nobody waits any more"


def test_closing_forgets_the_session_and_its_pages(sessions, good_photo, monkeypatch):
    forgotten = []
    monkeypatch.setattr(sessions, "forget_page", forgotten.append)
    session = sessions.enter("page", ANNA)
    sessions.enter("its copy", ANNA), sessions.enter("another's", BERT)
    session.attach(good_photo)
    end = session.case.begin("a job")
    sessions.close(ANNA)
    sessions.close("never opened")
    assert end.is_set() and session.case.is_empty
    assert list(sessions.open) == [BERT] and list(sessions.views) == ["another's"]
    assert forgotten == ["page", "its copy"]
    assert sessions.enter("page", ANNA) is not session


def test_a_tab_that_deletes_its_data_stays_open(sessions, good_photo, monkeypatch):
    forgotten = []
    monkeypatch.setattr(sessions, "forget_page", forgotten.append)
    session = sessions.enter("page", ANNA)
    session.attach(good_photo)
    view = sessions.views["page"]
    view.shown, view.version = {"chatbot": "What is it?"}, 3
    sessions.close(ANNA, stays=True)
    assert sessions.get(ANNA) is session and session.case.is_empty
    assert (sessions.views["page"].shown, sessions.views["page"].version) == ({}, 0)
    assert forgotten == ["page"]


def test_leaving_makes_gradio_forget_the_page(sessions, monkeypatch):
    forgotten = []
    monkeypatch.setattr(sessions, "forget_page", forgotten.append)
    sessions.enter("page", ANNA)
    sessions.leave("page")
    assert forgotten == ["page"]


def test_closing_ends_an_answer_in_another_thread(make_chat, good_photo):
    chat = make_chat(words=1000)
    chat.paused = True
    sessions = Sessions(chat)
    session = sessions.enter("page", ANNA)
    session.attach(good_photo)
    session.ask("One?")
    reader = threading.Thread(target=lambda: list(session.answer()))
    reader.start()
    chat.go.release()
    sessions.close(ANNA)
    chat.go.release()
    reader.join(timeout=60)
    assert not reader.is_alive()
    assert chat.active == 0


def test_every_change_makes_a_new_version(make_chat):
    session = Session(make_chat())

    def work():
        for _ in range(100):
            session.changed()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    session.changed("said")
    assert session.version == 402 and session.message == "said"
    session.changed()
    assert session.message == "said"


def test_a_photo_on_its_way_is_deleted_with_everything_else(make_chat, good_photo):
    session = Session(make_chat())
    encode = session.chat.encode_photos

    def delete_meanwhile(images):
        session.forget()
        return encode(images)

    session.chat.encode_photos = delete_meanwhile
    with pytest.raises(ChatError, match="deleted while this photo"):
        session.attach(good_photo)
    assert session.case.is_empty


def test_asking_again_loses_no_answer_that_nothing_took_the_place_of(open_session):
    session = open_session()
    for question in ("One?", "Two?"):
        session.ask(question)
        list(session.answer())
    before = said(session), session.case.conversation.copy(), list(session.case.photos)
    for again in (session.ask_again, lambda: session.ask_again("Three?")):
        again()
        session.stop()
        assert (said(session), session.case.conversation, session.case.photos) == before
    assert session.case.last.question == "Three?"  # what was typed can be changed on
    session.ask_again()
    list(session.answer())
    assert [question for question, _ in said(session)] == ["One?", "Two?", "Three?"]


def test_a_photo_sent_with_a_question_asked_again_returns_to_the_composer(open_session, good_photo):
    session = open_session()
    session.ask("One?")
    list(session.answer())
    session.attach(good_photo)
    session.ask_again()
    assert (len(session.case.photos), len(session.case.attached)) == (2, 0)
    session.stop()
    assert (len(session.case.photos), len(session.case.attached)) == (1, 1)
    assert photos_in(session) == 1
    assert len(said(session)) == 1
