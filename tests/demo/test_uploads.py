"""Switches, the private folder, and what keeps it and memory clean."""

import os
import stat
import threading
import time

import pytest

from skingpt4.common.errors import ConfigError
from skingpt4.demo import session as session_module
from skingpt4.demo import uploads
from skingpt4.demo.address import Address
from skingpt4.demo.session import Sessions
from tests.waiting import wait_for


def test_importing_the_package_turns_telemetry_off():
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
    assert os.environ["HF_HUB_DISABLE_TELEMETRY"] == "True"


def test_private_folder_is_ours_alone_and_goes_with_its_content(monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", "as before")
    with uploads.private_folder() as folder:
        assert os.environ["GRADIO_TEMP_DIR"] == str(folder)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "photo.jpg").write_bytes(b"x")
    assert not folder.exists()
    assert os.environ["GRADIO_TEMP_DIR"] == "as before"


def test_private_folder_goes_after_an_error(monkeypatch):
    monkeypatch.delenv("GRADIO_TEMP_DIR", raising=False)
    with pytest.raises(KeyboardInterrupt), uploads.private_folder() as folder:
        raise KeyboardInterrupt
    assert not folder.exists()
    assert "GRADIO_TEMP_DIR" not in os.environ


def file_in(folder):
    """Put a file where Gradio puts what it writes."""
    path = folder / "hash" / "anna.jpg"
    path.parent.mkdir()
    path.write_bytes(b"x")
    return path


def test_sweep_deletes_what_is_due_and_the_folders_left_empty():
    with uploads.private_folder() as folder:
        path = file_in(folder)
        now = time.time()
        assert uploads.sweep(folder, now + uploads.FILE_SECONDS - 5) == 0
        assert path.exists()
        assert uploads.sweep(folder, now + uploads.FILE_SECONDS + 5) == 1
        uploads.sweep(folder, time.time() + 2 * uploads.FILE_SECONDS)
        assert list(folder.iterdir()) == []


@pytest.fixture
def swept(monkeypatch):
    """The janitor comes all the time, and everything is due."""
    monkeypatch.setattr(uploads, "SWEEP_SECONDS", 0.01)
    monkeypatch.setattr(uploads, "FILE_SECONDS", -1)
    monkeypatch.setattr(session_module, "LEFT_SECONDS", 0)
    monkeypatch.setattr(session_module, "UNDO_SECONDS", 0)


def test_janitor_forgets_files_tabs_and_what_was_removed(swept, make_chat, good_photo):
    sessions = Sessions(make_chat())
    anna, bert = sessions.enter("page", "anna"), sessions.enter("other page", "bert")
    for session in (anna, bert):
        session.attach(good_photo)
    removed = bert.case
    bert.begin_again()
    sessions.leave("page")
    with uploads.private_folder() as folder:
        path = file_in(folder)
        with uploads.janitor(folder, sessions):
            wait_for(lambda: not path.exists() and list(sessions.open) == ["bert"])
            wait_for(lambda: removed.conversation in sessions.chat.forgotten)
            assert anna.case.is_empty
    assert sessions.open == {}, "the others go at the end"


def test_janitor_goes_on_after_an_error_and_ends(swept, make_chat, monkeypatch, caplog):
    sessions, rounds = Sessions(make_chat()), threading.Semaphore(0)

    def due(now):
        rounds.release()
        raise RuntimeError("anna's secret")

    monkeypatch.setattr(sessions, "due", due)
    with uploads.private_folder() as folder, uploads.janitor(folder, sessions):
        assert rounds.acquire(timeout=60) and rounds.acquire(timeout=60)
    assert "janitor" not in {thread.name for thread in threading.enumerate()}
    assert "RuntimeError" in caplog.text and "secret" not in caplog.text


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.8.8"])
def test_this_machine_needs_no_login(host):
    Address(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "clinic.example", ""])
def test_other_machines_need_a_login(host):
    Address(host, auth=("anna", "secret"))
    with pytest.raises(ConfigError, match="--auth"):
        Address(host)
