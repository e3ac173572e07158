"""Finds a browser for the page's tests, or gets one; run as a script it prints the path.

In order: an installed Chromium or Chrome, Playwright's own download, and, as root on Debian and its
kin, the distribution's package.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

NAMES = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
NOT_FOUND = (
    "No browser was found, downloaded or installed for the page's tests: install Chromium or "
    "Chrome, or set SKIP_BROWSER=1 to leave these tests out."
)
GET_SECONDS = 600


def find_browser() -> str | None:
    """Return the path of a browser that starts, or None if none can be had."""
    return _installed() or _playwrights() or _download() or _package()


def _installed() -> str | None:
    paths = (shutil.which(name) for name in NAMES)
    return next((path for path in paths if path and _starts(path)), None)


def _playwrights() -> str | None:
    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).exists() and _starts(path) else None


def _download() -> str | None:
    _run([sys.executable, "-m", "playwright", "install", "chromium"])
    return _playwrights()


def _package() -> str | None:
    if not shutil.which("apt-get") or os.geteuid() != 0:
        return None
    _run(["apt-get", "update", "-qq"])
    _run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"])
    return _installed()


def _starts(path: str) -> bool:
    """Tell whether the browser runs here, with all the libraries it needs."""
    return _run([path, "--version"], seconds=60)


def _run(command: list[str], seconds: int = GET_SECONDS) -> bool:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=seconds,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


if __name__ == "__main__":
    found = find_browser()
    sys.stdout.write(f"{found}\n" if found else "")
    sys.exit(None if found else NOT_FOUND)
