"""The queue in front of the model."""

import threading
import time

import pytest

from skingpt4.demo.queue import Wait, WaitingRoom

NEVER = threading.Event()


@pytest.fixture
def room():
    return WaitingRoom(places=2)


def test_first_ones_go_in_at_once(room):
    with room.ticket() as one, room.ticket() as two:
        assert list(one.wait(NEVER)) == list(two.wait(NEVER)) == []
        assert not one.has_waited


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
