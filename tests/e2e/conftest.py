"""A real browser on the real page: ``demo.py`` as a user starts it, with the embedded model."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Dialog, Locator, Page, expect, sync_playwright
from safetensors.torch import save_file
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from skingpt4.common.checkpoint import read_tensors
from tests.conftest import PROJECT
from tests.e2e import browser as finder
from tests.waiting import free_port, wait_for

EMBEDDED = PROJECT / "weights" / "skingpt4-tiny"
EMBEDDED_LLM = EMBEDDED / "llm"

# Of a browser's context: a phone, and who likes it dark.
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
DARK = {"color_scheme": "dark"}

# How long any state of the page may take to come, on a machine that does much besides.
PATIENCE_MS = 90_000
NOTES = "#conversation .bot .message + .message"
# A button of the composer; Gradio gives its Stop no name.
SEND, STOP = "#composer .submit-button", "#composer .stop-button"
# The box of messages is not there before the first one.
GROWTH_SCRIPT = """() => {
    window.growth = [];
    const note = () => {
        const answers = document.querySelectorAll('#conversation .bot-row');
        const last = answers[answers.length - 1]?.querySelector('.message-content')?.innerText;
        if (last !== undefined && last !== window.growth.at(-1)) window.growth.push(last);
    };
    new MutationObserver(note).observe(document.body,
        {subtree: true, childList: true, characterData: true});
}"""

# Transitions are among the animations; what never ends, as a cursor, does not count.
IS_STILL_SCRIPT = """() => document.getAnimations().every(animation =>
    animation.playState !== 'running'
    || animation.effect.getComputedTiming().endTime === Infinity)"""

PHOTO_SIZE_SCRIPT = """([width, height]) => {
    const photos = document.querySelectorAll('#waiting figure img, #conversation .user img');
    return [...photos].some(
        photo => photo.naturalWidth === width && photo.naturalHeight === height);
}"""


@pytest.fixture(scope="session")
def browser():
    """Start one browser for all tests."""
    if os.environ.get("SKIP_BROWSER") == "1":
        pytest.skip("SKIP_BROWSER=1: the page was not tested in a browser")
    expect.set_options(timeout=PATIENCE_MS)
    path = finder.find_browser()
    if path is None:
        pytest.fail(finder.NOT_FOUND, pytrace=False)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=list(finder.FLAGS))
        yield running
        running.close()


@dataclass
class Server:
    """A running ``demo.py`` and the folder under which it writes its temporary files."""

    folder: Path
    arguments: Sequence[str]
    port: int = field(default_factory=free_port)
    log: list[str] = field(default_factory=list)
    process: subprocess.Popen | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        """Start it, for the first time or again; wait until it serves the page."""
        self.process = subprocess.Popen(
            [sys.executable, "demo.py", "--port", str(self.port), *self.arguments],
            cwd=PROJECT,
            env={**os.environ, "TMPDIR": str(self.folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        lines = self.process.stdout
        for line in lines:
            self.log.append(line)
            if self.url in line:
                break
        else:
            pytest.fail("demo.py ended before it served the page:\n" + "".join(self.log))
        threading.Thread(target=lambda: self.log.extend(lines), daemon=True).start()

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        self.process.kill()
        self.process.wait()

    def files(self) -> list[Path]:
        """List what lies on the disk."""
        return [path for path in self.folder.rglob("*") if path.is_file()]

    def wait_for_no_files(self) -> None:
        """Wait until nothing lies on the disk: a photo is deleted once it has been read."""
        wait_for(lambda: self.files() == [])

    def wait_until_idle(self) -> None:
        """Wait until no thread wants to compute: an answer that is not stopped goes on for long.

        A thread that waits for a processor counts as computing, however busy the machine is.
        """
        threads = Path(f"/proc/{self.process.pid}/task")
        wait_for(lambda: not any(_is_running(thread) for thread in threads.iterdir()), times=10)

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """Hold the process: what is pressed meanwhile is not too late, however slow the browser."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def resident_mib(self) -> float:
        """Return how much memory is in use."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        return int(status.split("VmRSS:")[1].split()[0]) / 1024


def _is_running(thread: Path) -> bool:
    try:
        state = (thread / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:  # it ended while it was looked at
        return False
    return state == "R"


@pytest.fixture(scope="session")
def server(browser):
    """Start ``demo.py``; at the end it must go quietly and leave no file."""
    with served() as running:
        yield running


@pytest.fixture(scope="session")
def rambling_server(browser, tmp_path_factory):
    """Serve a language model that was never trained: it goes on, slowly, to the longest answer.

    No token that could end an answer is ever the likeliest: its row of the head is zero.
    """
    folder = tmp_path_factory.mktemp("rambling")
    shutil.copytree(EMBEDDED_LLM, folder, dirs_exist_ok=True)
    (folder / "model.safetensors").unlink()
    torch.manual_seed(0)
    config = LlamaConfig.from_pretrained(EMBEDDED_LLM, num_hidden_layers=48)
    llm, tokenizer = LlamaForCausalLM(config), AutoTokenizer.from_pretrained(EMBEDDED_LLM)
    ends = [number for piece, number in tokenizer.get_vocab().items() if "#" in piece]
    llm.get_output_embeddings().weight.data[[tokenizer.eos_token_id, *ends]] = 0
    llm.save_pretrained(folder)
    # Without its record, which names the language model that the projection was trained with.
    projection = folder / "projection.safetensors"
    save_file(read_tensors(EMBEDDED / "skingpt4_tiny.safetensors"), projection)
    options = (f"model.llm_model={folder}", f"model.ckpt={projection}")
    with served("--options", *options) as running:
        yield running


@contextmanager
def served(*arguments: str) -> Iterator[Server]:
    """Serve the page with these arguments; it must end quietly and leave no file."""
    with tempfile.TemporaryDirectory() as folder:
        running = Server(Path(folder), arguments)
        running.start()
        yield running
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(timeout=60) == 0
        assert running.files() == []
        log = "".join(running.log)
        assert "Traceback" not in log, log
        assert "my-secret-name" not in log


class Visitor:
    """Somebody at the page, in a browser tab.

    Attributes:
        says_yes: How the browser's own questions are answered.
        asked: What they said.
    """

    def __init__(self, context: BrowserContext, url: str, agrees: bool = True) -> None:
        self.context, self.url, self.says_yes = context, url, True
        self.context.set_default_timeout(PATIENCE_MS)
        self.requests: list[str] = []
        self.asked: list[str] = []
        self.page: Page = self.context.new_page()
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("dialog", self._answer)
        self.page.goto(url)
        expect(self.page.locator("#disclaimer")).to_be_visible()
        if agrees:
            self.agree()

    def _answer(self, dialog: Dialog) -> None:
        self.asked.append(dialog.message)
        if self.says_yes:
            dialog.accept()
        else:
            dialog.dismiss()

    def agree(self) -> None:
        """Give consent, after which the page's main part appears."""
        self.page.click("#agree")
        expect(self.page.locator("#composer textarea")).to_be_visible()
        self.watch_answers()

    def another_tab(self, **options) -> "Visitor":
        """Open the page once more in the same browser."""
        return Visitor(self.context, self.url, **options)

    def watch_answers(self) -> None:
        """Note every state of the last answer from now on; see `growth`."""
        self.page.evaluate(GROWTH_SCRIPT)

    def waiting(self) -> Locator:
        """Return the photos in the composer."""
        return self.page.locator("#waiting figure")

    def send_photo(self, data: bytes, name: str = "my-secret-name.jpg", mime: str = "image/jpeg"):
        """Choose a file by the composer's clip."""
        chosen = {"name": name, "mimeType": mime, "buffer": data}
        self.page.set_input_files("#composer input[type=file]", chosen)

    def choose(self, button: str, *photos: bytes) -> None:
        """Press a button that opens the file dialog, and choose so many files there."""
        with self.page.expect_file_chooser() as chooser:
            self.page.locator(button).click()
        chooser.value.set_files(
            [
                {"name": f"my-secret-name-{number}.jpg", "mimeType": "image/jpeg", "buffer": data}
                for number, data in enumerate(photos)
            ]
        )

    def show(self, data: bytes, **file) -> None:
        """Send a photo and wait until it can be asked about."""
        number = self.waiting().count() + 1
        self.send_photo(data, **file)
        expect(self.waiting()).to_have_count(number)
        expect(self.waiting().nth(number - 1).locator(".hint")).to_have_count(0)

    def expect_photo(self, width: int, height: int) -> None:
        """Wait until the page shows a photo of this size."""
        self.page.wait_for_function(PHOTO_SIZE_SCRIPT, arg=[width, height])

    def expect_status(self, text: str) -> None:
        expect(self.page.locator("#status")).to_contain_text(text)

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    def unfold(self, part: str) -> None:
        """Open a part of the page that is folded, by its id."""
        title = self.page.locator(f"#{part} > button.label-wrap, #{part} > * > button.label-wrap")
        if "open" not in title.first.get_attribute("class"):
            title.first.click()

    def delete_everything(self) -> None:
        """Press "Delete my data now", which asks first."""
        self.unfold("privacy")
        self.page.click("#delete")

    def type_question(self, text: str) -> None:
        self.page.fill("#composer textarea", text)

    def send(self) -> None:
        """Press the composer's button, as soon as no answer is under way."""
        self.page.click(SEND)

    def stop(self) -> None:
        """Press the composer's button while an answer is written."""
        self.page.click(STOP)

    def ask(self, text: str) -> str:
        """Ask, wait for the end, return the answer."""
        asked = len(self.questions())
        self.type_question(text)
        self.send()
        return self.finish(asked + 1)

    def press_card(self, text: str) -> None:
        """Press a card or a chip by words on it."""
        self.page.locator("#cards button", has_text=text).click()

    def finish(self, number: int = 1) -> str:
        """Wait until so many answers are finished, each with its note, and return the last."""
        expect(self.page.locator(NOTES)).to_have_count(number)
        expect(self.page.locator(SEND)).to_be_visible()
        return self.answers()[-1]

    def expect_nothing_said(self) -> None:
        """Wait until the conversation is empty."""
        expect(self.page.locator("#conversation .message-content")).to_have_count(0)

    def questions(self) -> list[str]:
        return self.page.locator("#conversation .user-row .message-content").all_inner_texts()

    def answers(self) -> list[str]:
        """Return the answers, without the note under each."""
        rows = self.page.locator("#conversation .bot-row").all()
        return [row.locator(".message-content").first.inner_text() for row in rows]

    def growth(self) -> list[str]:
        """Return every state of the last answer that was on the screen."""
        return self.page.evaluate("window.growth")

    def outside_requests(self) -> list[str]:
        """Return the requests that went anywhere but to this machine."""
        urls = [urlsplit(url) for url in self.requests]
        return [
            url.geturl()
            for url in urls
            if url.scheme not in ("data", "blob") and url.hostname != "127.0.0.1"
        ]

    def violations(self) -> list[str]:
        """List what axe-core finds on the page by any of its rules, each with its element.

        A button that has just been enabled fades to its colours; they are looked at after that.
        """
        self.page.wait_for_function(IS_STILL_SCRIPT)
        return [
            f"{rule['id']}: {node['html'][:160]}"
            for rule in Axe().run(self.page).response["violations"]
            for node in rule["nodes"]
        ]

    def shoot(self, name: str) -> None:
        """Save a screenshot where SKINGPT4_SCREENSHOTS says, if it is set."""
        if folder := os.environ.get("SKINGPT4_SCREENSHOTS"):
            self.page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


@pytest.fixture
def visit(browser, server):
    """Open the page as often as a test likes; nobody's page may call outside."""
    visitors = []

    def open_page(url: str = server.url, agrees: bool = True, **context) -> Visitor:
        visitors.append(Visitor(browser.new_context(**context), url, agrees))
        return visitors[-1]

    yield open_page
    for visitor in visitors:
        visitor.context.close()
        assert visitor.outside_requests() == []
