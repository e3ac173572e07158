"""Fetching: from a server of our own on this machine; nothing else is contacted."""

import hashlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from skingpt4.common import downloads as sources
from skingpt4.common.downloads import is_hub_id, is_remote, resolve
from skingpt4.common.errors import WeightsError

CONTENT = bytes(range(256)) * 400
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT under any path, and notes what it was asked for."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges = []
        self.cut_after = None
        self.failures = []
        self.knows_ranges = True

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}/weights/part.pth"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range")
        server.ranges.append(asked)
        if server.failures:
            return self.send_error(server.failures.pop(0))
        start = int(re.findall(r"\d+", asked)[0]) if asked and server.knows_ranges else 0
        if start >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            return self.end_headers()
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        end, server.cut_after = server.cut_after, None
        self.wfile.write(CONTENT[start:end])
        return None

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("SKINGPT4_CACHE", str(tmp_path / "cache"))
    with Server() as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def read(path):
    return Path(path).read_bytes()


def test_what_is_local_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "snapshot_download", None)
    (tmp_path / "weights").mkdir()
    monkeypatch.chdir(tmp_path)
    for name in (
        "",
        "random",
        "random:tiny",
        "absent",
        "./a/b",
        "/a/b",
        "weights/vicuna",
        "elsewhere/eva_vit_g.pth",
    ):
        assert resolve(name) == name
        assert not is_remote(name)


def test_what_is_remote():
    assert is_hub_id("lmsys/vicuna-13b-v1.5")
    assert is_hub_id("Qwen/Qwen2.5-7B-Instruct")
    assert is_remote("https://example.org/eva_vit_g.pth")
    assert not is_hub_id("https://example.org")
    # A folder of this project, from wherever one starts.
    assert not is_remote("weights/no-such-model")


def test_an_address_is_fetched_once(server, tmp_path):
    first = resolve(server.address)
    assert read(first) == CONTENT
    assert first.startswith(str(tmp_path / "cache"))
    assert first.endswith("/part.pth")
    assert resolve(server.address) == first
    assert server.ranges == [None]


def test_addresses_of_the_same_name_are_kept_apart(server):
    assert resolve(server.address) != resolve(server.address.replace("weights", "others"))


def test_a_broken_download_goes_on_where_it_stopped(server):
    server.cut_after = 1000
    path = resolve(f"{server.address}#sha256={DIGEST}")
    assert server.ranges == [None, "bytes=1000-"]
    assert read(path) == CONTENT


def test_what_an_earlier_run_left_is_used(server, monkeypatch):
    monkeypatch.setattr(sources, "_ATTEMPTS", 1)
    server.cut_after = 5000
    with pytest.raises(WeightsError, match=r"could not be fetched \(the connection ended early\)"):
        resolve(server.address)
    assert read(resolve(server.address)) == CONTENT
    assert server.ranges == [None, "bytes=5000-"]


def test_a_server_without_ranges_sends_all_again(server):
    server.cut_after, server.knows_ranges = 5000, False
    assert read(resolve(server.address)) == CONTENT


def test_the_last_byte_may_have_come_before_the_connection_ended(server):
    target = resolve(server.address)
    Path(target).rename(target + ".part")
    assert read(resolve(server.address)) == CONTENT
    assert server.ranges == [None, f"bytes={len(CONTENT)}-"]
    Path(target + ".part").write_bytes(CONTENT + b"more than there is")
    Path(target).unlink()
    assert read(resolve(server.address)) == CONTENT


def test_a_wrong_checksum_is_refused_and_not_kept(server):
    other = "0" * 64
    with pytest.raises(WeightsError, match=rf"checksum {DIGEST[:12]}…, not 000000000000…"):
        resolve(f"{server.address}#sha256={other}")
    with pytest.raises(WeightsError, match="was deleted"):
        resolve(f"{server.address}#sha256={other}")
    assert server.ranges == [None, None]


def test_a_missing_file_is_said_at_once_and_a_busy_server_asked_again(server):
    server.failures = [404]
    with pytest.raises(WeightsError, match=r"part.pth' could not be fetched \(HTTP Error 404"):
        resolve(server.address)
    assert len(server.ranges) == 1
    server.failures = [503]
    assert read(resolve(server.address)) == CONTENT


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Stand in for Hugging Face: a repository with the given files."""
    calls = []

    def stand_in(*files):
        def download(name, allow_patterns, ignore_patterns):
            calls.append((name, allow_patterns))
            for file in files:
                if any(Path(file).match(pattern) for pattern in allow_patterns):
                    (tmp_path / file).touch()
            return str(tmp_path)

        monkeypatch.setattr(sources, "snapshot_download", download)
        return calls

    return stand_in


def test_a_repository_is_fetched_without_its_pickles(hub, tmp_path):
    calls = hub("config.json", "model.safetensors", "pytorch_model.bin")
    assert resolve("org/model") == str(tmp_path)
    assert len(calls) == 1
    assert not (tmp_path / "pytorch_model.bin").exists()


def test_a_repository_of_pickles_only_is_fetched_with_them(hub, tmp_path):
    calls = hub("config.json", "tokenizer.model", "pytorch_model.bin")
    resolve("org/model")
    assert len(calls) == 2
    assert (tmp_path / "pytorch_model.bin").exists()


def test_an_unreachable_repository_is_one_sentence(monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("no\nconnection")

    monkeypatch.setattr(sources, "snapshot_download", fail)
    with pytest.raises(WeightsError, match=r"'org/model' is no folder here.*\(no connection\)"):
        resolve("org/model")
