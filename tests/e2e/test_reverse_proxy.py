"""The page behind a reverse proxy that shows it under a path of another name, in a real browser."""

import threading
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx
import pytest
import uvicorn
from playwright.sync_api import expect
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import StreamingResponse
from starlette.routing import Route

from skingpt4.conversation.chat import load_chat
from skingpt4.demo.address import Address
from skingpt4.demo.i18n import say
from skingpt4.demo.server import served
from tests.conftest import PROJECT
from tests.e2e.conftest import PATIENCE_MS
from tests.waiting import free_port, wait_for

# Browsers look names under localhost up on this machine; the page takes it for a public one.
NAME = "skin.localhost"
PUBLIC = {"root_path": "/skin", "allowed_host": [NAME]}


def passing_on(target, path_goes_with):
    """A reverse proxy of one route, as nginx and Caddy are set up in docs/serving.md."""
    client = httpx.AsyncClient(base_url=target, trust_env=False, timeout=None)

    async def pass_on(request):
        path = request.url.path if path_goes_with else request.url.path.removeprefix("/skin")
        told = {"x-forwarded-for": request.client.host, "x-forwarded-proto": request.url.scheme}
        asked = client.build_request(
            request.method,
            path,
            params=request.query_params,
            headers=dict(request.headers) | told,
            content=await request.body(),
        )
        answer = await client.send(asked, stream=True)
        return StreamingResponse(
            answer.aiter_raw(),
            answer.status_code,
            dict(answer.headers),
            background=BackgroundTask(answer.aclose),
        )

    return Starlette(routes=[Route("/skin/{rest:path}", pass_on, methods=["GET", "POST"])])


@contextmanager
def proxied(target, path_goes_with=False):
    """Run the proxy in a thread; give the page's public URL."""
    port = free_port()
    app = passing_on(target, path_goes_with)
    proxy = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning"))
    thread = threading.Thread(target=proxy.run, daemon=True)
    thread.start()
    wait_for(lambda: proxy.started)
    yield f"http://{NAME}:{port}/skin/"
    proxy.should_exit = proxy.force_exit = True
    thread.join()


@pytest.fixture
def open_tab(browser):
    """Open tabs all of whose requests must go to the proxy and its path."""
    contexts, asked = [], []

    def open_page(url, **settings):
        contexts.append(browser.new_context(**settings))
        contexts[-1].set_default_timeout(PATIENCE_MS)
        contexts[-1].on("request", lambda request: asked.append(urlsplit(request.url)))
        page = contexts[-1].new_page()
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    sent = [url for url in asked if url.scheme not in ("data", "blob")]
    assert len(sent) > 3
    assert [url for url in sent if url.hostname != NAME or not url.path.startswith("/skin/")] == []


@pytest.fixture(scope="module")
def chat():
    return load_chat(str(PROJECT / "eval_configs/skingpt4_eval_tiny.yaml"), [], "cpu")


@pytest.mark.parametrize("path_goes_with", [False, True])
def test_a_conversation_through_a_proxy(open_tab, chat, path_goes_with):
    with (
        served(chat, Address(port=0, **PUBLIC)) as app,
        proxied(app.local_url, path_goes_with) as url,
    ):
        tab = open_tab(url)
        tab.click("#agree")
        tab.locator("#examples button").first.click()
        expect(tab.locator("#waiting img")).to_be_visible()
        tab.fill("#composer textarea", "What's wrong with my skin?")
        tab.press("#composer textarea", "Enter")
        expect(tab.locator("#conversation .bot-row")).to_contain_text("disease")
        tab.reload()  # the conversation comes back through the proxy, too
        expect(tab.locator("#conversation .bot-row")).to_contain_text("disease")
        shown = tab.locator("#conversation img").first
        expect(shown).to_be_visible()
        assert shown.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0


@pytest.mark.parametrize(
    ("language", "other", "locale"), [("en", "zh", "de"), ("zh", "en", "zh-HK")]
)
def test_the_login_page_says_what_it_is(open_tab, chat, language, other, locale):
    address = Address(port=0, auth=("anna", "secret"), **PUBLIC)
    with served(chat, address) as app, proxied(app.local_url) as url:
        tab = open_tab(url, locale=locale)
        expect(tab.get_by_text(say("login.about", language))).to_be_visible()
        expect(tab.get_by_text(say("login.about", other))).to_be_hidden()
        expect(tab).to_have_title("SkinGPT-4")
        tab.locator("input").first.fill("anna")
        tab.locator("input[type=password]").fill("secret")
        tab.get_by_role("button").click()
        expect(tab.locator("#agree")).to_be_visible()
