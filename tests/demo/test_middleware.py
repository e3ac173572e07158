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
    "/login",
    "/gradio_api/run/predict",
    "/gradio_api/run/predict/",
    "/gradio_api/startup-events",
    "/page/look",
    "/page/leave",
    "/page/photos",
    "/page/photos/8oKOz7yhJ_-Pbr-1vSyuAQ",
    "/page/examples/5",
]
CLOSED = [
    "/docs",
    "/openapi.json",
    "/monitoring",
    "/monitoring/summary",
    "/gradio_api/upload",
    "/gradio_api/upload_progress",
    "/gradio_api/file=examples/acne.jpg",
    "/gradio_api/file=http://example.com/x.png",
    "/gradio_api/file/etc/passwd",
    "/gradio_api/queue/join",
    "/gradio_api/queue/data",
    "/gradio_api/queue/status",
    "/gradio_api/heartbeat/abc123",
    "/gradio_api/cancel",
    "/gradio_api/reset",
    "/gradio_api/info",
    "/gradio_api/runs",
    "/gradio_api/vibe-edit/",
    "/gradio_api/proxy=http://example.com/",
    "/gradio_api/call/ask",
    "/gradio_api/run/ask",
    "/gradio_api/component_server",
    "/gradio_api/stream/x/1/2/playlist.m3u8",
    "/gradio_api/deep_link",
    "/gradio_api/process_recording",
    "/dev/reload",
    "/page",
    "/page/look/more",
    "/page/photos/a/b",
    "/page/photos/../../etc/passwd",
    "/page/photos/" + "x" * 65,
    "/page/examples/acne.jpg",
    "/page/examples/12345",
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


def test_the_pages_own_script_comes_first_and_may_run():
    """Gradio's own script reads the browser's language as soon as it runs."""
    script = 'window.skingpt4 = {text: "照片"};'
    html = "<html><head><script>theirs()</script></head><body>é</body></html>"
    answer = ask(PageMiddleware(HTMLResponse(html), script=script), "/")
    assert answer.text == html.replace("<head>", f"<head><script>{script}</script>")
    assert answer.headers["content-length"] == str(len(answer.content))
    policy = answer.headers["content-security-policy"]
    for one in (script, "theirs()"):
        digest = base64.b64encode(hashlib.sha256(one.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy


def test_a_page_that_comes_in_pieces_gets_the_script_once():
    async def pieces(scope, receive, send):
        headers = [(b"content-type", b"text/html; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for piece in (b"<html><he", b"ad></head>", b"<head></html>"):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body"})

    answer = ask(PageMiddleware(pieces, script="ours()"), "/")
    assert answer.text == "<html><head><script>ours()</script></head><head></html>"
    assert answer.headers["content-length"] == str(len(answer.content))


def test_only_a_page_gets_the_script():
    for path in ("/config", "/docs", "/page/look"):
        assert "ours()" not in ask(PageMiddleware(echo, script="ours()"), path).text


def test_a_server_error_of_gradio_is_a_refused_request():
    broken = PlainTextResponse("Internal Server Error", 500)
    assert ask(PageMiddleware(broken), "/config").status_code == 400


def test_large_requests_are_refused_before_and_while_they_come(monkeypatch):
    monkeypatch.setattr(middleware, "MAX_BODY_BYTES", 100)
    monkeypatch.setattr(middleware, "MAX_UPLOAD_BYTES", 200)

    async def pieces(count):
        for _ in range(count):
            yield b"x" * 50

    def code(path, body):
        answer = ask(PageMiddleware(echo), path, "POST", content=body)
        assert (answer.status_code == 413) == ("smaller" in answer.text)
        return answer.status_code

    for path, limit in (("/gradio_api/run/predict", 100), ("/page/photos", 200)):
        assert code(path, b"x" * limit) == code(path, pieces(limit // 50)) == 200
        assert code(path, b"x" * (limit + 1)) == code(path, pieces(limit // 50 + 1)) == 413
    for odd in ("-1", "many"):
        headers = {"content-length": odd}
        answer = ask(PageMiddleware(echo), "/page/photos", "POST", headers=headers)
        assert answer.status_code == 413


def test_photos_come_a_few_at_a_time(monkeypatch):
    """A photo of 100 MB is held in memory while it comes."""
    monkeypatch.setattr(middleware, "UPLOADS_AT_ONCE", 2)
    inside, most = 0, 0

    async def count(scope, receive, send):
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        for _ in range(5):
            await asyncio.sleep(0)
        inside -= 1
        await PlainTextResponse("done")(scope, receive, send)

    async def go():
        transport = httpx.ASGITransport(app=PageMiddleware(count))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            await asyncio.gather(*(client.post("/page/photos") for _ in range(6)))

    run(go())
    assert most == 2


def test_photos_have_a_rate_of_their_own(monkeypatch):
    monkeypatch.setitem(RATES, "upload", Rate(2, 0))
    app = PageMiddleware(echo)
    assert [ask(app, "/page/photos", "POST").status_code for _ in range(3)] == [200, 200, 429]
    assert ask(app, "/page/leave", "POST").status_code == 200
    assert ask(app, "/page/photos/key").status_code == 200, "looking at photos is not counted"


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
