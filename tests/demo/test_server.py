"""Where the page is served, and `demo.py`'s command line."""

import socket
import sys

import httpx
import pytest

from skingpt4.common.errors import ConfigError
from skingpt4.demo.server import Address, free_port, parse_login, served
from tests.scripts import load_script
from tests.waiting import free_port as free_port_here


@pytest.fixture
def demo():
    """The script as a module; it does nothing when imported."""
    return load_script("demo.py")


def test_taken_port_gives_the_next():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert port < free_port("127.0.0.1", port) < port + 100


@pytest.mark.parametrize("port", [65536, -1])
def test_impossible_port_is_one_sentence(port):
    with pytest.raises(ConfigError, match=str(port)):
        free_port("127.0.0.1", port)


def test_unknown_host_is_one_sentence():
    with pytest.raises(ConfigError, match="no-such-host"):
        free_port("no-such-host.invalid", 7860)


def test_login():
    assert parse_login(None) is None
    assert parse_login("anna:se:cret") == ("anna", "se:cret")


@pytest.mark.parametrize("text", ["", "anna", "anna:", ":secret"])
def test_half_a_login_is_refused(text):
    with pytest.raises(ConfigError, match="--auth"):
        parse_login(text)


def test_open_address_needs_a_login():
    with pytest.raises(ConfigError, match=r"0\.0\.0\.0"):
        Address(host="0.0.0.0")
    assert Address(host="0.0.0.0", login=("anna", "secret")).host == "0.0.0.0"


def test_script_passes_its_arguments_on(demo, monkeypatch):
    seen = []
    monkeypatch.setattr(demo, "setup_logger", lambda: None)
    loaded = []
    load = demo.Config.load
    monkeypatch.setattr(demo.Config, "load", lambda *args: loaded.append(args) or load(*args))
    monkeypatch.setattr(demo, "build_chat", lambda *args: seen.append(args))
    monkeypatch.setattr(demo, "serve", lambda chat, address: seen.append(address))
    monkeypatch.setattr(demo, "go_offline", lambda: seen.append("offline"))
    options = ["model.max_txt_len=99", "run.task=image_text_pretrain"]
    command = f"demo.py --cfg-path {demo.DEFAULT_CONFIG} --port 8000 --auth anna:secret --options"
    monkeypatch.setattr(sys, "argv", [*command.split(), *options])
    monkeypatch.setattr(demo, "best_device", lambda gpu_id: f"cuda:{gpu_id}")
    demo.main()
    assert seen[0] == "offline"
    assert loaded == [([demo.DEFAULT_CONFIG], options)]
    config, device = seen[1]
    assert (config.model.max_txt_len, device) == (99, "cuda:0")
    assert seen[2] == Address(port=8000, login=("anna", "secret"))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("--host 0.0.0.0", "--auth user:password"),
        ("--cfg-path nowhere.yaml", "nowhere.yaml"),
        ("--auth anna", "--auth"),
    ],
)
def test_mistake_is_one_sentence_and_exit_code_2(
    demo, monkeypatch, capsys, tmp_path, arguments, sentence
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "setup_logger", lambda: None)
    monkeypatch.setattr(sys, "argv", ["demo.py", *arguments.split()])
    with pytest.raises(SystemExit) as ended:
        demo.run_script(demo.main)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


def test_login_is_asked_for_and_let_through_the_gate(make_chat):
    with (
        served(make_chat(), Address(port=free_port_here(), login=("anna", "secret"))) as app,
        httpx.Client(base_url=app.local_url, trust_env=False) as browser,
    ):
        assert browser.get("/config").status_code == 401
        wrong = {"username": "anna", "password": "guess"}
        assert browser.post("/login", data=wrong).status_code == 400
        right = {"username": "anna", "password": "secret"}
        assert browser.post("/login", data=right).status_code == 200
        assert browser.get("/config").status_code == 200


def test_the_folder_for_files_is_gone_with_the_page(make_chat, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with served(make_chat(), Address(port=free_port_here())):
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == []
