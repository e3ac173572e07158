"""The page as Gradio will serve it, and as it is served."""

import base64
import hashlib
import json
import re

import httpx
import pytest

from skingpt4.demo import app as app_module
from skingpt4.demo.address import Address
from skingpt4.demo.app import build_app
from skingpt4.demo.features.consultation import CHOICES, DEFAULTS
from skingpt4.demo.features.opinion import DRAWS
from skingpt4.demo.i18n import page_script
from skingpt4.demo.routes import TAB_HEADER
from skingpt4.demo.server import STYLES, served
from skingpt4.dermatology import DISCLAIMER, QUESTIONS
from skingpt4.documents.launch import launch_options
from tests.waiting import free_port, wait_for


@pytest.fixture
def page(make_chat):
    return build_app(make_chat(), examples=[]).get_config_file()


def values(page, kind):
    return [part["props"].get("value") for part in page["components"] if part["type"] == kind]


def test_disclaimer_and_notice_are_shown_as_text(page):
    texts = "".join(map(str, values(page, "html")))
    assert "masthead.disclaimer" in texts or DISCLAIMER in texts
    assert "Drawn &lt;images&gt; only." in texts


def test_no_banner_without_a_notice(make_chat):
    page = build_app(make_chat(notice=""), examples=[]).get_config_file()
    assert "banner" not in "".join(map(str, values(page, "html")))


def test_every_question_of_the_paper_is_a_step(page):
    ids = [str(value) for value in values(page, "button")]
    steps = [f"conversation.step_{number}" for number in range(1, len(QUESTIONS) + 1)]
    assert [step for step in steps if any(step in value for value in ids)] == steps


def test_nothing_is_offered_as_an_api(page):
    assert page["dependencies"]
    assert {event["api_visibility"] for event in page["dependencies"]} == {"private"}


def test_defaults_are_greedy(page):
    chosen = {
        part["props"]["elem_id"]: part["props"]["value"]
        for part in page["components"]
        if str(part["props"].get("elem_id")).startswith("setting-") and part["type"] == "slider"
    }
    assert chosen.pop("setting-draws") == DRAWS == 10
    assert chosen == {f"setting-{name}": getattr(DEFAULTS, name) for name in CHOICES}
    assert DEFAULTS.temperature == 0 and DEFAULTS.num_beams == 1


def test_examples_are_there_and_small():
    photos = list(app_module.EXAMPLES_FOLDER.glob("*.jpg"))
    assert photos
    assert sum(photo.stat().st_size for photo in photos) < 400_000


def test_style_asks_nobody_else_for_anything():
    assert launch_options()["theme"]._stylesheets == []
    (style,) = STYLES
    css = style.read_text(encoding="utf-8")
    assert "url(" not in css and "@import" not in css


def test_nothing_but_the_notice_is_shown_before_the_visitor_agrees(page):
    shown = {
        part["props"]["elem_id"]: part["props"]["visible"]
        for part in page["components"]
        if part["props"].get("elem_id") in ("main", "consent")
    }
    assert shown == {"main": False, "consent": False}, "which of them is known with the session"


def test_no_action_holds_a_connection(page):
    """Gradio's queue would: six connections are all that a browser has for a page."""
    assert {event["queue"] for event in page["dependencies"]} == {False}


class Visit:
    """A page that is served, and a visitor who speaks to it as its script does."""

    def __init__(self, app, http):
        self.app = app
        self.http = http
        self.actions = {fn.name: number for number, fn in app.fns.items()}

    def act(self, name, *data):
        body = {"fn_index": self.actions[name], "data": list(data), "session_hash": "anna"}
        return self.http.post("/gradio_api/run/predict", json=body)

    def enter(self):
        entry = {"key": "k" * 22, "language": "en", "root": ""}
        return self.act("enter", json.dumps(entry))

    def look(self):
        return self.http.get("/page/look").json()


@pytest.fixture
def visit(make_chat):
    with (
        served(make_chat(), Address(port=free_port())) as app,
        httpx.Client(base_url=app.local_url, trust_env=False) as http,
    ):
        http.headers[TAB_HEADER] = "k" * 22
        yield Visit(app, http)


def test_the_script_stands_first_and_its_checksum_in_the_policy(visit):
    answer = visit.http.get("/")
    script = page_script()
    assert re.match(r"[^<]*<!doctype html>\s*<html[^>]*>\s*<head><script>", answer.text, re.I)
    assert answer.text.count(script) == 1
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in answer.headers["content-security-policy"]
    plain = visit.http.get("/", headers={"accept-encoding": "identity"})
    assert int(plain.headers["content-length"]) == len(plain.content)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "upload"),
        ("POST", "queue/join"),
        ("GET", "queue/data?session_hash=anna"),
        ("GET", "heartbeat/anna"),
        ("GET", f"file={app_module.EXAMPLE_FILES[0]}"),
    ],
)
def test_gradios_own_ways_are_closed(visit, method, path):
    answer = visit.http.request(method, f"/gradio_api/{path}")
    assert (answer.status_code, answer.text) == (404, "There is nothing here.")


def test_a_visit_from_the_notice_to_the_answer(visit):
    assert visit.look() == {"known": False}
    assert visit.act("ask_all").status_code != 200, "nobody has entered"
    assert visit.enter().status_code == 200
    visit.act("agree")
    photo = app_module.EXAMPLE_FILES[0].read_bytes()
    assert visit.http.post("/page/photos", content=photo).json() == {"taken": True}
    assert visit.act("ask_all").status_code == 200
    wait_for(lambda: not visit.look()["busy"])
    shown = visit.act("refresh", "").text
    assert shown.count("word0 word1 word2") == len(QUESTIONS)
    (key,) = set(re.findall(r"/page/photos/([\w-]{22})", shown))
    assert visit.http.get(f"/page/photos/{key}").headers["content-type"] == "image/jpeg"


def test_gradio_forgets_a_page_with_its_tab(visit):
    """It keeps what each part showed last: the visitor's words."""
    remembered = visit.app.state_holder.session_data
    visit.enter()
    assert "anna" in remembered
    visit.act("delete")
    assert "anna" not in remembered
    visit.act("refresh", "")
    assert "anna" in remembered
    visit.http.post("/page/leave", content="anna")
    assert "anna" not in remembered
