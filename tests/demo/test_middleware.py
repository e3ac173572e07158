"""What passes the gate, and what answers carry; around an application of three lines."""

import asyncio
import base64
import hashlib
import logging
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from starlette.responses import HTMLResponse, PlainTextResponse

from skingpt4.demo import middleware
from skingpt4.demo.middleware import RATES, PageMiddleware, Rate, RateLimiter


async def echo(scope, receive, send):
    """Read the whole body, then say which path was reached."""
    more = True
    while more:
        more = (await receive()).get("more_body", False)
    await PlainTextResponse("reached " + scope["path"])(scope, receive, send)


def run(work):
    """Run a coroutine in a thread of its own: in this one a browser's loop may be running."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def ask(app, path, method="GET", host="localhost:7860", **request):
    async def go():
        transport = httpx.ASGITransport(app=app, client=("127.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            headers = {"host": host, **request.pop("headers", {})}
            return await client.request(method, path, headers=headers, **request)

    return run(go())


OPEN = [
    "/",
    "/config",
    "/theme.css",
    "/assets/index-Dphvyg_B.js",
    "/static/js/iframeResizer.contentWindow.min.js",
    "/gradio_api/queue/join",
    "/gradio_api/queue/data",
    "/gradio_api/run/predict",
    "/gradio_api/heartbeat/abc123",
    "/gradio_api/upload",
]
CLOSED = [
    "/docs",
    "/openapi.json",
    "/monitoring",
    "/monitoring/summary",
    "/gradio_api/info",
    "/gradio_api/runs",
    "/gradio_api/vibe-edit/",
    "/gradio_api/proxy=http://example.com/",
    "/gradio_api/file=http://example.com/x.png",
    "/gradio_api/file/etc/passwd",
    "/gradio_api/call/ask",
    "/gradio_api/run/ask",
    "/gradio_api/component_server",
    "/gradio_api/stream/x/1/2/playlist.m3u8",
    "/gradio_api/deep_link",
    "/gradio_api/process_recording",
    "/dev/reload",
    "/static/../../etc/passwd",
    "/assets/%2e%2e/%2e%2e/config.py",
    "/%00",
]


@pytest.mark.parametrize("path", OPEN)
def test_what_the_page_needs_is_open(path):
    assert ask(PageMiddleware(echo), path).text == "reached " + path


@pytest.mark.parametrize("path", CLOSED)
def test_everything_else_is_closed(path):
    answer = ask(PageMiddleware(echo), path)
    assert (answer.status_code, answer.text) == (404, "There is nothing here.")


def test_files_are_open_one_folder_at_a_time(tmp_path):
    (tmp_path / "examples").mkdir()
    wanted = tmp_path / "examples" / "acne.jpg"
    app = PageMiddleware(echo, files=[tmp_path / "examples"])
    assert ask(app, f"/gradio_api/file={wanted}").status_code == 200
    for name in (
        tmp_path / "other.jpg",
        f"{tmp_path}/examples/../other.jpg",
        f"{tmp_path}/examples/%2e%2e/other.jpg",
        f"{tmp_path}/examples/%252e%252e/other.jpg",
        f"{tmp_path}/examples-too/x.jpg",
        "x" * 5000,
        "%00",
    ):
        assert ask(app, f"/gradio_api/file={name}").status_code == 404


def test_a_link_out_of_an_open_folder_is_closed(tmp_path):
    folder = tmp_path / "open"
    folder.mkdir()
    (tmp_path / "secret").write_text("x")
    (folder / "link").symlink_to(tmp_path / "secret")
    assert (
        ask(PageMiddleware(echo, files=[folder]), f"/gradio_api/file={folder}/link").status_code
        == 404
    )


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:7860", "[::1]:7860"])
def test_own_names_are_answered(host):
    assert ask(PageMiddleware(echo), "/", host=host).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "0.0.0.0:7860", "localhost.evil.example"])
def test_a_foreign_name_for_this_machine_is_refused(host):
    """A web page could have been given this machine's address (DNS rebinding)."""
    assert ask(PageMiddleware(echo), "/", host=host).status_code == 421
    for names in (None, {host.partition(":")[0]}):
        assert ask(PageMiddleware(echo, names=names), "/", host=host).status_code == 200


def test_a_name_is_one_in_whatever_letters():
    app = PageMiddleware(echo, names={"skin.example.org"})
    assert ask(app, "/", host="Skin.Example.Org:443").status_code == 200


def test_every_answer_carries_the_headers():
    for answer in (
        ask(PageMiddleware(echo), "/"),
        ask(PageMiddleware(echo), "/docs"),
        ask(PageMiddleware(echo), "/config"),
    ):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        policy = answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy
        assert "http" not in policy and "*" not in policy
    assert "cache-control" not in ask(PageMiddleware(echo), "/assets/x.js").headers


def test_only_the_pages_own_inline_scripts_may_run():
    script = "window.config = {};"
    page = HTMLResponse(f"<script>{script}</script><script type=module src='./x.js'></script>")
    policy = ask(PageMiddleware(page), "/").headers["content-security-policy"]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["script-src"].count("'sha256-") == 1
    assert f"'sha256-{digest}'" in rules["script-src"]
    assert "unsafe-inline" not in rules["script-src"]


def test_large_requests_are_refused_before_and_while_they_come(monkeypatch):
    monkeypatch.setattr(middleware, "MAX_BODY_BYTES", 100)

    async def pieces():
        for _ in range(3):
            yield b"x" * 50

    for body in (b"x" * 101, pieces()):
        answer = ask(PageMiddleware(echo), "/gradio_api/queue/join", "POST", content=body)
        assert answer.status_code == 413
        assert "smaller" in answer.text
    assert (
        ask(PageMiddleware(echo), "/gradio_api/upload", "POST", content=b"x" * 101).status_code
        == 200
    )
    odd = {"content-length": "-1"}
    assert ask(PageMiddleware(echo), "/gradio_api/upload", "POST", headers=odd).status_code == 413


def test_an_error_is_one_sentence_and_not_quoted_in_the_log(caplog):
    question = " ".join(["my", "secret"])

    async def broken(scope, receive, send):
        raise ValueError(question)

    with caplog.at_level(logging.DEBUG):
        answer = ask(PageMiddleware(broken), "/")
    assert (answer.status_code, answer.text) == (400, "The request was not understood.")
    assert "ValueError" in caplog.text and question not in caplog.text


def test_buckets_fill_up_again():
    buckets = RateLimiter(Rate(at_once=2, a_second=0.5))
    assert [buckets.allows("anna", 0.0) for _ in range(3)] == [True, True, False]
    assert buckets.allows("bert", 0.0)
    assert not buckets.allows("anna", 1.0)
    assert buckets.allows("anna", 2.0)
    assert [buckets.allows("anna", 1000.0) for _ in range(3)] == [True, True, False]


def test_addresses_are_not_remembered_without_end(monkeypatch):
    monkeypatch.setattr(middleware, "MAX_CLIENTS", 3)
    buckets = RateLimiter(Rate(1, 0))
    for client in "abcd":
        assert buckets.allows(client, 0.0)
    assert buckets.allows("a", 0.0)  # the first was forgotten
    assert not buckets.allows("d", 0.0)


def test_guessing_passwords_takes_time(monkeypatch):
    monkeypatch.setitem(RATES, "login", Rate(RATES["login"].at_once, 0))  # as if no time passed
    app = PageMiddleware(echo)
    codes = [ask(app, "/login", "POST").status_code for _ in range(12)]
    assert codes == [200] * 10 + [429] * 2


def test_websockets_are_not_answered():
    async def go():
        sent = []
        await PageMiddleware(echo)({"type": "websocket", "path": "/"}, None, sent.append)
        return sent

    assert run(go()) == []
