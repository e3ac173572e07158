"""Switches, the private folder and uploads."""

import os
import stat
import threading
import time

import pytest

from skingpt4.common.errors import ConfigError, PhotoError
from skingpt4.demo import uploads
from skingpt4.demo.address import Address


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


def test_upload_is_read_then_deleted_with_its_folder(tmp_path):
    path = tmp_path / "hash" / "a.jpg"
    path.parent.mkdir()
    path.write_bytes(b"photo")
    assert uploads.read_upload(path) == b"photo"
    uploads.delete_upload(path)
    uploads.delete_upload(path)
    assert list(tmp_path.iterdir()) == []


def test_lost_upload_is_one_sentence_without_its_name(tmp_path):
    with pytest.raises(PhotoError, match="send the photo again") as caught:
        uploads.read_upload(tmp_path / "anna.jpg")
    assert "anna" not in str(caught.value)


def upload_to(folder):
    """Put a file where Gradio puts what visitors send."""
    path = folder / "hash" / "anna.jpg"
    path.parent.mkdir()
    path.write_bytes(b"x")
    return path


def test_sweep_deletes_what_is_due_and_the_folders_left_empty():
    with uploads.private_folder() as folder:
        upload = upload_to(folder)
        now = time.time()
        assert uploads.sweep(folder, now + uploads.UPLOAD_SECONDS - 5) == 0
        assert upload.exists()
        assert uploads.sweep(folder, now + uploads.UPLOAD_SECONDS + 5) == 1
        uploads.sweep(folder, time.time() + 2 * uploads.UPLOAD_SECONDS)
        assert list(folder.iterdir()) == []


def test_janitor_cleans_up_goes_on_after_an_error_and_ends(monkeypatch):
    monkeypatch.setattr(uploads, "SWEEP_SECONDS", 0.01)
    monkeypatch.setattr(uploads, "UPLOAD_SECONDS", -1)
    rounds = threading.Semaphore(0)

    def idle(seconds):
        assert seconds == uploads.IDLE_SECONDS
        return ["anna"]

    def forget(key):
        assert key == "anna"
        rounds.release()
        raise RuntimeError("once more")

    with uploads.private_folder() as folder:
        upload = upload_to(folder)
        with uploads.janitor(folder, idle, forget):
            assert rounds.acquire(timeout=60) and rounds.acquire(timeout=60)
        assert not upload.exists()
    assert "janitor" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.8.8"])
def test_this_machine_needs_no_login(host):
    Address(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "clinic.example", ""])
def test_other_machines_need_a_login(host):
    Address(host, auth=("anna", "secret"))
    with pytest.raises(ConfigError, match="--auth"):
        Address(host)
