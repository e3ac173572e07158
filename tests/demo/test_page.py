"""How a page comes to its session, and what it is sent."""

import json
from types import SimpleNamespace

import gradio as gr
import pytest

from skingpt4.demo.page import Page, Panel
from skingpt4.demo.session import Sessions
from tests.demo.conftest import Tab


class Letters(Panel):
    """Shows how often each letter stands in a word that is kept with the conversation."""

    def show(self, session):
        word = session.case.panel_state(Word).text
        return {letter: word.count(letter) for letter in "abc"}


class Word:
    text = "cab"


@pytest.fixture
def page(make_chat):
    return Page(Sessions(make_chat()), "status", "version", (Letters("abc"),))


@pytest.fixture
def tab(page):
    return Tab(page)


def write(tab, text):
    tab.session.case.panel_state(Word).text = text
    tab.session.changed()


def refresh(tab, version=None):
    """Ask for what is new since a version, and return only what was sent."""
    return tab.page.refresh(tab.shown["version"] if version is None else version, tab.request)


def enter(page, name="anna", **entry):
    request = SimpleNamespace(session_hash=name)
    given = {"key": "k" * 22, "language": "en", "root": ""} | entry
    page.enter(json.dumps(given), request)
    return page.session(request)


def test_a_page_that_enters_is_sent_everything(tab):
    assert {part: tab.shown[part] for part in "abc"} == {"a": 1, "b": 1, "c": 1}
    assert tab.shown["status"] == ""
    assert tab.shown["version"] == str(tab.session.version)


def test_only_what_has_changed_is_sent(tab):
    assert set(refresh(tab)) == {"version"}
    write(tab, "cabaa")
    sent = refresh(tab)
    assert sent == {"version": str(tab.session.version), "a": 3}
    tab.shown |= sent
    tab.session.changed("said")
    assert refresh(tab) == {"version": str(tab.session.version), "status": "said"}


def test_everything_is_sent_again_after_an_answer_that_was_lost(tab):
    write(tab, "cabaa")
    refresh(tab)  # never arrives, so the browser still has the version before
    assert refresh(tab) == tab.page.show(tab.session)


def test_everything_is_sent_again_after_an_answer_that_was_overtaken(tab):
    write(tab, "cabaa")
    early = refresh(tab)
    write(tab, "cabaabb")
    tab.shown |= refresh(tab, early["version"])
    tab.shown |= early  # arrives last: the browser shows an old version
    assert tab.look() == tab.page.show(tab.session)


@pytest.mark.parametrize("version", ["", "0", "x", "999"])
def test_everything_is_sent_to_a_page_that_names_no_version_it_was_sent(tab, version):
    assert set(refresh(tab, version)) == {"version", "status", *"abc"}


def test_what_changes_while_it_is_shown_is_asked_for_again(tab, monkeypatch):
    """The version is read first: a page never has a newer one than it shows."""
    write(tab, "aaa")
    show = Letters.show

    def change_late(panel, session):
        updates = show(panel, session)
        write(tab, "b")
        return updates

    monkeypatch.setattr(Letters, "show", change_late)
    tab.look()
    assert int(tab.shown["version"]) < tab.session.version
    monkeypatch.undo()
    assert tab.look() == tab.page.show(tab.session)


def test_a_copy_of_a_tab_is_sent_its_own(tab):
    copy = Tab(tab.page, "copy", tab.key)
    write(tab, "cabaa")
    assert tab.look()["a"] == copy.look()["a"] == 3
    assert set(refresh(tab)) == set(refresh(copy)) == {"version"}


def test_a_tab_finds_its_session_again_after_a_reload(tab):
    write(tab, "aaaaa")
    tab.page.sessions.leave("anna")
    assert Tab(tab.page, "after", tab.key).shown["a"] == 5


def test_a_page_whose_session_has_ended_is_told_so_and_changes_nothing(tab):
    session, version = tab.session, tab.session.version
    tab.page.sessions.close(tab.key)
    for ask in (
        lambda: refresh(tab),
        lambda: tab.page.session(tab.request),
        lambda: tab.page.session(SimpleNamespace(session_hash="made up")),
        lambda: tab.page.session(SimpleNamespace(session_hash=None)),
    ):
        with pytest.raises(gr.Error, match="has ended"):
            ask()
    assert tab.page.sessions.open == {} and session.version == version


@pytest.mark.parametrize(
    "key", ["", None, 7, "short", "x" * 65, "a b" * 10, "../" * 10, "k" * 22 + "\n", ["k" * 22]]
)
def test_a_key_that_no_browser_makes_is_refused(page, key):
    with pytest.raises(gr.Error, match="no key"):
        enter(page, key=key)
    assert page.sessions.open == {} and page.sessions.views == {}


@pytest.mark.parametrize("entry", ["", "no JSON", "[]", "7", "null"])
def test_an_entry_that_no_browser_makes_opens_nothing(page, entry):
    with pytest.raises(gr.Error, match="no key"):
        page.enter(entry, SimpleNamespace(session_hash="anna"))
    assert page.sessions.open == {} and page.sessions.views == {}


@pytest.mark.parametrize("root", ["/skin", "/clinic/skin-gpt_4.1"])
def test_the_path_under_which_the_page_is_found_is_kept(page, root):
    assert enter(page, root=root).root == root


@pytest.mark.parametrize(
    "root", [None, 7, "skin", "//evil.example", "https://evil.example", '/"><script>', "/a/", "/\n"]
)
def test_a_path_that_is_none_is_left_out(page, root):
    assert enter(page, root=root).root == ""


def test_the_language_is_english_unless_it_is_chinese(page):
    assert enter(page, language="zh").language == "zh"
    for other in ("en", "de", None, ["zh"], 7):
        assert enter(page, language=other).language == "en"
