"""How the page's tests come by a browser; nothing is fetched or installed here."""

import os
import stat
import sys

import pytest

from tests.e2e import browser


@pytest.fixture
def bare(monkeypatch):
    """A machine without any browser, where every attempt to get one is noted and fails."""
    attempts = []
    monkeypatch.setattr(browser, "NAMES", ("no-such-browser",))
    monkeypatch.setattr(browser, "_playwrights", lambda: None)
    monkeypatch.setattr(browser, "_run", lambda command, **_: attempts.append(command) or False)
    monkeypatch.setattr(browser.shutil, "which", {"apt-get": "/usr/bin/apt-get"}.get)
    monkeypatch.setattr(browser.os, "geteuid", lambda: 0, raising=False)
    return attempts


def test_playwrights_download_is_tried_before_the_distributions_package(bare):
    assert browser.find_browser() is None
    assert bare[0] == [sys.executable, "-m", "playwright", "install", "chromium"]
    assert [command[:2] for command in bare[1:]] == [["apt-get", "update"], ["apt-get", "install"]]


def test_only_root_installs_a_package(bare, monkeypatch):
    monkeypatch.setattr(browser.os, "geteuid", lambda: 1000, raising=False)
    assert browser.find_browser() is None
    assert len(bare) == 1


def test_an_installed_browser_is_taken_as_it_is(tmp_path, monkeypatch):
    program = tmp_path / "chromium"
    program.write_text("#!/bin/sh\nexit 0\n", encoding="utf-8")
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert browser.find_browser() == str(program)


def test_a_browser_that_does_not_start_is_passed_over(tmp_path, bare, monkeypatch):
    monkeypatch.setattr(browser, "NAMES", ("broken",))
    monkeypatch.setattr(browser.shutil, "which", {"broken": str(tmp_path / "broken")}.get)
    assert browser.find_browser() is None
    assert bare[0] == [str(tmp_path / "broken"), "--version"]
