"""Where the page is served, and `demo.py`'s command line."""

import io
import logging
import shutil
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import httpx
import psutil
import pytest

from skingpt4.common.errors import ConfigError
from skingpt4.common.network import go_offline, go_online, refused_connections
from skingpt4.demo.address import Address, lan_addresses, parse_login
from skingpt4.demo.i18n import say
from skingpt4.demo.server import announce, qr_code, served
from tests.scripts import load_script
from tests.waiting import free_port

ANNA = ("anna", "secret")


@pytest.fixture
def demo():
    """The script as a module; it does nothing when imported."""
    return load_script("demo.py")


@pytest.fixture
def taken():
    """A port of this machine at which another program listens."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def test_the_default_port_moves_on_and_says_so(taken, monkeypatch, caplog):
    monkeypatch.setattr("skingpt4.demo.address.PORTS", range(taken, min(taken + 100, 65536)))
    monkeypatch.setattr("skingpt4.demo.server.PORTS", range(taken, taken + 1))
    found = Address().find_port()
    assert taken < found < taken + 100
    app = SimpleNamespace(server_port=found, local_url=f"http://127.0.0.1:{found}/", share_url=None)
    announce(app, Address(), io.StringIO())
    said = f"Port {taken} is taken by another program, so the page is at {app.local_url}"
    assert said in caplog.text


def test_without_any_free_port_the_way_out_is_named(taken, monkeypatch):
    monkeypatch.setattr("skingpt4.demo.address.PORTS", range(taken, taken + 1))
    with pytest.raises(ConfigError, match=rf"{taken}.*--port 0"):
        Address().find_port()


def test_a_port_that_was_asked_for_is_taken_or_an_error(taken):
    with pytest.raises(ConfigError, match=f"--port {taken} is taken by another program"):
        Address(port=taken).find_port()
    assert Address(port=0).find_port() > 1023
    port = free_port()
    assert Address(port=port).find_port() == port


@pytest.mark.parametrize("port", [65536, -1])
def test_impossible_port_is_one_sentence(port):
    with pytest.raises(ConfigError, match=str(port)):
        Address(port=port)


def test_unknown_host_is_one_sentence():
    with pytest.raises(ConfigError, match="no-such-host"):
        Address("no-such-host.invalid", auth=ANNA).find_port()


def test_login():
    assert parse_login("anna:se:cret") == ("anna", "se:cret")


@pytest.mark.parametrize("text", ["", "anna", "anna:", ":secret"])
def test_half_a_login_is_refused(text):
    with pytest.raises(ConfigError, match="--auth"):
        parse_login(text)


def test_open_address_needs_a_login():
    with pytest.raises(ConfigError, match=r"0\.0\.0\.0"):
        Address(host="0.0.0.0")
    assert Address(host="0.0.0.0", auth=ANNA).host == "0.0.0.0"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("root_path", "skin"),
        ("root_path", "/skin/"),
        ("root_path", "https://skin.example.org/skin"),
        ("allowed_host", ["https://skin.example.org"]),
        ("allowed_host", ["skin.example.org:443"]),
        ("proxy", ["caddy"]),
        ("proxy", ["10.0.0.7/8"]),
    ],
)
def test_what_a_proxy_needs_is_checked(field, value):
    option = "--" + field.replace("_", "-")
    with pytest.raises(ConfigError, match=option):
        Address(**{field: value})


def test_names_under_which_the_page_may_be_called(monkeypatch):
    monkeypatch.setattr("skingpt4.demo.address.lan_addresses", lambda host: ["192.168.1.5"])
    assert Address().names == set()
    assert Address(allowed_host=["Skin.example.org"]).names == {"skin.example.org"}
    assert Address("0.0.0.0", auth=ANNA).names is None
    assert Address(share=True).names is None
    named = Address("0.0.0.0", auth=ANNA, allowed_host=["skin.example.org"]).names
    assert named == {"skin.example.org", "0.0.0.0", "192.168.1.5"}


@pytest.fixture
def interfaces(monkeypatch):
    """A machine with a cable, a wireless card that is off, and what every machine has."""

    def entry(address):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return SimpleNamespace(address=address, family=family)

    on, off = SimpleNamespace(isup=True), SimpleNamespace(isup=False)
    states = {"lo": on, "eth0": on, "wlan0": off}
    addresses = {
        "lo": [entry("127.0.0.1"), entry("::1")],
        "eth0": [entry("192.168.1.5"), entry("fe80::1%eth0"), entry("2001:db8::5")],
        "eth0:1": [entry("169.254.7.7")],
        "wlan0": [entry("10.0.0.9")],
    }
    monkeypatch.setattr(psutil, "net_if_stats", lambda: states | {"eth0:1": on})
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: addresses)


def test_addresses_for_other_machines(interfaces):
    assert lan_addresses("0.0.0.0") == ["192.168.1.5"]
    assert lan_addresses("::") == ["2001:db8::5"]
    assert lan_addresses("clinic.example") == ["clinic.example"]
    assert lan_addresses("127.0.0.1") == lan_addresses("localhost") == []
    assert Address("::", auth=ANNA).urls_for_others(8000) == ["http://[2001:db8::5]:8000/"]


def test_no_connection_is_made_to_find_them():
    go_offline()
    try:
        lan_addresses("0.0.0.0")
        assert refused_connections() == ()
        with pytest.raises(OSError, match="Offline"):  # the control
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(("192.0.2.1", 9))
    finally:
        go_online()


class Terminal(io.StringIO):
    """A terminal of an encoding."""

    encoding = "utf-8"

    def isatty(self):
        return True


def announced(address, out, caplog, share_url=None):
    app = SimpleNamespace(server_port=8000, local_url="http://localhost:8000/", share_url=share_url)
    with caplog.at_level(logging.INFO):
        announce(app, address, out)
    return out.getvalue()


def test_others_get_an_address_a_code_and_what_they_miss(interfaces, caplog):
    address = Address("0.0.0.0", port=8000, auth=ANNA)
    said = announced(address, Terminal(), caplog)
    assert "The page is ready: http://localhost:8000/ (Ctrl+C ends it)\n" in said
    assert "From other machines: http://192.168.1.5:8000/\n" in said
    assert said.endswith(qr_code("http://192.168.1.5:8000/", "utf-8"))
    assert "Without TLS" in caplog.text and "camera" in caplog.text


def test_this_machine_alone_gets_neither(caplog):
    said = announced(Address(), Terminal(), caplog)
    assert said == "The page is ready: http://localhost:8000/ (Ctrl+C ends it)\n"
    assert "Without TLS" not in caplog.text


def test_a_pipe_and_an_old_terminal_get_no_code(interfaces, caplog):
    address = Address("0.0.0.0", port=8000, auth=ANNA)
    assert "█" in announced(address, Terminal(), caplog)
    assert "█" not in announced(address, io.StringIO(), caplog)
    assert qr_code("http://192.168.1.5:8000/", "latin-1") == ""


def test_a_public_name_is_told_and_who_may_come(caplog):
    said = announced(
        Address(allowed_host=["skin.example.org"], root_path="/skin"), Terminal(), caplog
    )
    assert "Through the proxy: skin.example.org/skin/\n" in said
    assert "--auth" in caplog.text


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for this machine and its key, signed by itself."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    files = ["-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *files, *names]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def test_a_certificate_is_checked(certificate, tmp_path):
    cert, key = str(certificate / "cert.pem"), str(certificate / "key.pem")
    Address(ssl_certfile=cert, ssl_keyfile=key)
    both = tmp_path / "both.pem"
    both.write_text(Path(cert).read_text() + Path(key).read_text(), encoding="utf-8")
    Address(ssl_certfile=str(both))
    for wrong in (
        {"ssl_certfile": cert},
        {"ssl_certfile": key, "ssl_keyfile": cert},
        {"ssl_certfile": str(tmp_path / "gone.pem")},
        {"ssl_certfile": cert, "ssl_keyfile": str(tmp_path / "gone.pem")},
        {"ssl_keyfile": key},
    ):
        with pytest.raises(ConfigError, match="--ssl-"):
            Address(**wrong)


def test_the_page_is_served_with_tls(make_chat, certificate):
    cert, key = str(certificate / "cert.pem"), str(certificate / "key.pem")
    trust = ssl.create_default_context(cafile=cert)
    with served(make_chat(), Address(port=0, ssl_certfile=cert, ssl_keyfile=key)) as app:
        assert app.local_url.startswith("https://127.0.0.1:")
        assert httpx.get(app.local_url, verify=trust, trust_env=False).status_code == 200


def test_script_passes_its_arguments_on(demo, monkeypatch):
    seen = []
    monkeypatch.setattr(demo, "setup_logger", lambda level: None)
    loaded = []
    load = demo.Config.load
    monkeypatch.setattr(demo.Config, "load", lambda *args: loaded.append(args) or load(*args))
    monkeypatch.setattr("skingpt4.conversation.chat.build_chat", lambda *args: seen.append(args))
    monkeypatch.setattr("skingpt4.demo.server.serve", lambda *args: seen.append(args))
    monkeypatch.setattr(demo, "go_offline", lambda: seen.append("offline"))
    options = ["model.max_txt_len=99", "run.task=image_text_pretrain"]
    port = free_port()
    command = f"demo.py --cfg-path {demo.DEFAULT_CONFIG} --port {port} --auth anna:secret"
    proxied = "--root-path /skin --allowed-host a.example --allowed-host b.example --options"
    monkeypatch.setattr(sys, "argv", [*command.split(), *proxied.split(), *options])
    monkeypatch.setattr("skingpt4.models.device.best_device", lambda gpu_id: f"cuda:{gpu_id}")
    demo.main()
    assert seen[0] == "offline"
    assert loaded == [([demo.DEFAULT_CONFIG], options)]
    config, device = seen[1]
    assert (config.model.max_txt_len, device) == (99, "cuda:0")
    names = ["a.example", "b.example"]
    asked = Address(port=port, auth=ANNA, root_path="/skin", allowed_host=names)
    assert seen[2] == (None, asked, sys.stdout)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("--host 0.0.0.0", "--auth user:password"),
        ("--cfg-path nowhere.yaml", "nowhere.yaml"),
        ("--auth anna", "--auth"),
        ("--port 99999", "99999"),
        ("--root-path skin", "--root-path"),
    ],
)
def test_mistake_is_one_sentence_and_exit_code_2(
    demo, monkeypatch, capsys, tmp_path, arguments, sentence
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "setup_logger", lambda level: None)
    monkeypatch.setattr(sys, "argv", ["demo.py", *arguments.split()])
    with pytest.raises(SystemExit) as ended:
        demo.run_script(demo.main)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


def test_a_taken_port_is_told_before_the_model_is_loaded(demo, monkeypatch, capsys, taken):
    monkeypatch.setattr(demo, "setup_logger", lambda level: None)
    monkeypatch.setattr("skingpt4.conversation.chat.build_chat", None)
    monkeypatch.setattr(sys, "argv", ["demo.py", "--port", str(taken)])
    with pytest.raises(SystemExit):
        demo.run_script(demo.main)
    assert f"--port {taken} is taken by another program" in capsys.readouterr().err


def test_login_is_asked_for_and_let_through_the_gate(make_chat):
    with (
        served(make_chat(), Address(port=0, auth=ANNA)) as app,
        httpx.Client(base_url=app.local_url, trust_env=False) as browser,
    ):
        assert browser.get("/config").status_code == 401
        # What the page is, before anybody logs in.
        for language in ("en", "zh"):
            assert (
                say("login.about", language)
                in browser.get("/config").json()["detail"]["auth_message"]
            )
        wrong = {"username": "anna", "password": "guess"}
        assert browser.post("/login", data=wrong).status_code == 400
        right = {"username": "anna", "password": "secret"}
        assert browser.post("/login", data=right).status_code == 200
        assert browser.get("/config").status_code == 200


def guess(url, times):
    """Try passwords, as a proxy would pass them on from a client each time another."""
    with httpx.Client(base_url=url, trust_env=False) as proxy:
        form = {"username": "anna", "password": "guess"}
        clients = [{"x-forwarded-for": f"203.0.113.{number}"} for number in range(times)]
        return [proxy.post("/login", data=form, headers=one).status_code for one in clients]


def test_only_a_proxy_that_is_trusted_says_who_the_client_is(make_chat):
    own = lan_addresses("0.0.0.0")
    if not own:
        pytest.skip("this machine has no address but localhost")
    with served(make_chat(), Address("0.0.0.0", port=0, auth=ANNA)) as app:
        assert guess(app.local_url, 14) == [400] * 14  # proxies on this machine are trusted
        assert 429 in guess(f"http://{own[0]}:{app.server_port}", 14)
    with served(make_chat(), Address("0.0.0.0", port=0, auth=ANNA, proxy=own)) as app:
        assert guess(f"http://{own[0]}:{app.server_port}", 14) == [400] * 14


@pytest.mark.parametrize("passed_on", ["", "/skin"])
def test_a_proxy_shows_the_page_under_a_path(make_chat, passed_on):
    """Proxies leave the path out, or pass it on; either way the page says where it is shown."""
    address = Address(port=0, root_path="/skin", allowed_host=["skin.example.org"])
    proxied = {"host": "skin.example.org", "x-forwarded-proto": "https"}
    with (
        served(make_chat(), address) as app,
        httpx.Client(base_url=app.local_url, headers=proxied, trust_env=False) as proxy,
    ):
        assert proxy.get(f"{passed_on}/").status_code == 200
        config = proxy.get(f"{passed_on}/config").json()
        assert config["root"] == "https://skin.example.org/skin"
        for path in ("/docs", "/skinny/config", "/skin/docs"):
            assert proxy.get(path).status_code == 404
        assert proxy.get("/", headers={"host": "evil.example"}).status_code == 421
        claimed = {"x-forwarded-host": "evil.example", "x-gradio-server": "http://evil.example"}
        assert proxy.get("/config", headers=claimed).json()["root"] == config["root"]


def test_the_folder_for_files_is_gone_with_the_page(make_chat, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with served(make_chat(), Address(port=0)):
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == []
