"""The queue in front of the model, and jobs in threads of their own."""

import logging
import threading
import time

import gradio as gr
import pytest

from skingpt4.common.errors import ChatError
from skingpt4.demo import queue
from skingpt4.demo.i18n import failure, say, status
from skingpt4.demo.page import Page, Panel, wire_job
from skingpt4.demo.queue import Wait, WaitingRoom, run_job, start_job
from skingpt4.demo.session import Sessions
from tests.demo.conftest import Tab
from tests.waiting import wait_for

NEVER = threading.Event()


@pytest.fixture
def room():
    return WaitingRoom(places=2)


def test_first_ones_go_in_at_once(room):
    with room.ticket() as one, room.ticket() as two:
        assert list(one.wait(NEVER)) == list(two.wait(NEVER)) == []
        assert one.since is not None and two.since is not None


def test_the_others_are_let_in_in_order(room):
    with room.ticket() as first, room.ticket(), room.ticket() as third, room.ticket() as fourth:
        list(first.wait(NEVER))
        waits = fourth.wait(NEVER)
        assert next(third.wait(NEVER)) == Wait(place=1, seconds=None)
        assert next(waits) == Wait(place=2, seconds=None)
        threading.Timer(0.02, room.queue.remove, [first]).start()
        assert next(waits) == Wait(place=1, seconds=None)
        room.queue.append(first)


def test_expected_wait_follows_the_visits_before(room, monkeypatch):
    clock = iter([100.0, 130.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with room.ticket() as ticket:
        list(ticket.wait(NEVER))
    monkeypatch.undo()
    with room.ticket(), room.ticket(), room.ticket(), room.ticket() as last:
        assert next(last.wait(NEVER)) == Wait(place=2, seconds=30)


def test_who_gives_up_is_not_let_in_and_does_not_count(room):
    given_up = threading.Event()
    with room.ticket(), room.ticket():
        with room.ticket() as third:
            waits = third.wait(given_up)
            next(waits)
            given_up.set()
            assert list(waits) == []
            assert third.since is None
        assert len(room.queue) == 2
    assert not room.durations


def test_place_is_free_again_after_an_error(room):
    with pytest.raises(ValueError), room.ticket() as ticket:
        list(ticket.wait(NEVER))
        raise ValueError
    assert room.queue == []


class Work:
    """Steps of a job, each of which waits until it is let go on."""

    def __init__(self, *sentences, error=None):
        self.sentences = sentences
        self.error = error
        self.go = threading.Semaphore(0)
        self.begun = 0

    def __call__(self, cancel):
        self.begun += 1
        for sentence in self.sentences:
            assert self.go.acquire(timeout=60), "nobody let it go on"
            if cancel.is_set():
                return
            yield sentence
        if self.error:
            raise self.error

    def let_go(self, steps=1):
        for _ in range(steps):
            self.go.release()


@pytest.fixture
def session(open_session):
    return open_session()


def start(session, work, room=None, name="map"):
    return start_job(session, name, run_job(name, session, room, work))


def told(session, name="map"):
    return session.case.told.get(name)


def test_a_job_tells_each_step_and_the_last_stays(session):
    work = Work("one", "two")
    version = session.version
    assert start(session, work)
    work.let_go()
    wait_for(lambda: told(session) == status("one"))
    assert session.is_busy and session.case.running == {"map"} and session.version > version
    work.let_go()
    wait_for(lambda: not session.is_busy)
    assert told(session) == status("two") and session.case.running == set()


def test_a_session_is_busy_from_the_moment_a_job_is_started(session, monkeypatch):
    """The page asks then whether it is to go on asking."""
    monkeypatch.setattr(threading.Thread, "start", lambda thread: None)
    start(session, Work())
    assert session.is_busy and session.case.running == {"map"}


def test_whoever_finds_nothing_under_way_finds_the_last_version(session):
    """Else a page would stop asking too early, and never show how the job ended."""
    work, versions = Work("one"), []
    change = session.changed

    def note(message=None):
        change(message)
        versions.append((session.version, session.is_busy, dict(session.case.told)))

    session.changed = note
    start(session, work)
    work.let_go()
    wait_for(lambda: not session.is_busy)
    version, was_busy, said = versions[-1]
    assert version == session.version and was_busy and said == {"map": status("one")}


def test_of_one_name_there_is_one_job_at_a_time(session):
    first, second, other = Work("first"), Work("second"), Work("other")
    start(session, first)
    assert start(session, second)
    wait_for(lambda: told(session) == status(say("page.running", "en")))
    start(session, other, name="opinion")
    first.let_go(), other.let_go()
    wait_for(lambda: not session.is_busy)
    assert second.begun == 0
    assert (told(session), told(session, "opinion")) == (status("first"), status("other"))
    start(session, second)
    second.let_go()
    wait_for(lambda: not session.is_busy)
    assert told(session) == status("second")


def test_when_all_places_are_taken_the_visitor_is_told(session, open_session, monkeypatch):
    monkeypatch.setattr(queue, "_SLOTS", threading.BoundedSemaphore(1))
    first, second, other = Work("first"), Work("second"), open_session()
    start(other, first)
    version = session.version
    assert not start(session, second)
    assert session.message == status(say("page.full", "en")) and session.version > version
    assert not session.is_busy and session.case.running == set()
    first.let_go()
    wait_for(lambda: not other.is_busy)
    assert start(session, second)
    second.let_go()
    wait_for(lambda: not session.is_busy)
    assert told(session) == status("second")


def test_a_job_that_is_cancelled_ends_and_says_so(session):
    work = Work("one", "two")
    start(session, work)
    work.let_go()
    wait_for(lambda: told(session) == status("one"))
    session.case.end("map")
    work.let_go()
    wait_for(lambda: not session.is_busy)
    assert told(session) == status(say("page.cancelled", "en"))


def test_a_job_that_waits_says_so_and_can_be_cancelled(session, open_session):
    room, first, second = WaitingRoom(1), Work("first"), Work("second")
    start(open_session(), first, room)
    wait_for(lambda: first.begun)
    start(session, second, room)
    wait_for(lambda: told(session) == status(say("page.queue", "en", place=1)))
    session.case.end("map")
    wait_for(lambda: not session.is_busy)
    assert told(session) == status(say("page.cancelled", "en")) and second.begun == 0
    first.let_go()
    wait_for(lambda: room.queue == [])


@pytest.mark.parametrize("error", [ChatError("Too <long>."), ValueError("secret")])
def test_a_job_that_fails_is_a_sentence(session, caplog, error):
    with caplog.at_level(logging.DEBUG):
        start(session, Work(error=error))
        wait_for(lambda: not session.is_busy)
    assert told(session) == failure(error) and "secret" not in told(session)
    assert session.case.running == set()
    assert "secret" not in caplog.text


def test_a_job_speaks_the_visitors_language(session, open_session):
    room, first = WaitingRoom(1), Work("first")
    session.language = "zh"
    start(open_session(), first, room)
    wait_for(lambda: first.begun)
    start(session, Work(), room)
    wait_for(lambda: told(session) == status(say("page.queue", "zh", place=1)))
    first.let_go()
    wait_for(lambda: not session.is_busy)


class Line(Panel):
    """Shows what the job says."""

    def show(self, session):
        return {"line": session.case.told.get("map", "")}


def test_one_button_begins_a_job_and_another_stops_it(make_chat):
    """As a panel wires it, with the value of a slider."""
    work, given = Work("one", "two"), []

    def steps(session, value, cancel):
        given.append((session, value))
        return work(cancel)

    with gr.Blocks() as app:
        buttons, slider = (gr.Button(), gr.Button()), gr.Slider(value=3)
        panel = Line([gr.HTML()])
        page = Page(Sessions(make_chat()), "status", "version", (panel,))
        wire_job(page, "map", WaitingRoom(1), buttons, [slider], steps)
    actions = {fn.name: fn.fn for fn in app.fns.values()}
    tab = Tab(page)
    actions["begin_map"](tab.request, 3)
    work.let_go()
    wait_for(lambda: tab.look()["line"] == status("one"))
    actions["stop"](tab.request)
    work.let_go()
    assert tab.settle()["line"] == status(say("page.cancelled", "en"))
    assert given == [(tab.session, 3)]
