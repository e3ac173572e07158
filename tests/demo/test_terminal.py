"""Questions from the command line: one answer, a whole folder, and who may be reached."""

import io
import json
import logging
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from skingpt4.common.errors import ChatError, ConfigError, PhotoError
from skingpt4.common.network import settle_offline
from skingpt4.common.schema import ModelConfig
from skingpt4.demo.app import EXAMPLE_FILES, EXAMPLES_FOLDER
from skingpt4.demo.terminal import NO_SKIN, ask, ask_folder, open_photos, plan_batch
from skingpt4.dermatology import DISCLAIMER
from skingpt4.processors.photo import open_photo
from skingpt4.processors.photo_quality import shows_skin
from tests.conftest import PROJECT
from tests.scripts import run_here, run_script

QUESTIONS = ("What is it?", "And why?")


class OneAnswerChat:
    """Answers every question with its own words and the photos' sizes, once `limit` allows."""

    def __init__(self, limit=99, model="llm"):
        self.model = SimpleNamespace(notice="Drawn.", config=ModelConfig(llm_model=model))
        self.limit = limit
        self.asked = []

    def new_conversation(self, photos=0):
        return []

    def encode_photos(self, photos):
        return [open_photo(photo).size for photo in photos]

    def upload_img(self, photo, conversation, embeddings):
        embeddings += self.encode_photos([photo])

    def ask(self, question, conversation):
        conversation.append(question)

    def stream_answer(self, conversation, embeddings):
        if len(self.asked) == self.limit:
            raise KeyboardInterrupt
        self.asked.append(conversation[-1])
        yield from (f"{conversation[-1]} ", f"{embeddings}")

    def answer_batch(self, conversations, photos, decoding, seeds=None):
        pairs = zip(conversations, photos, strict=True)
        return [SimpleNamespace(text="".join(self.stream_answer(*pair))) for pair in pairs]


@pytest.fixture
def folder(tmp_path):
    """Three photos, one of them in a subfolder, and what is none."""
    place = tmp_path / "photos"
    (place / "more").mkdir(parents=True)
    for width, name in [(10, "a.png"), (20, "b.JPG"), (30, "more/ç.jpeg")]:
        Image.new("RGB", (width, 8), "peru").save(place / name)
    (place / "notes.txt").write_text("nothing", encoding="utf-8")
    return place


def rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def ask_all(chat, folder, questions, output, size=8):
    """Ask about a folder as the script does."""
    return ask_folder(chat, plan_batch(folder, questions, output, size, chat.model.config))


def test_one_answer_streams_and_the_notice_goes_where_it_goes(folder, caplog):
    written = []
    out = SimpleNamespace(write=written.append, flush=lambda: None)
    with caplog.at_level(logging.INFO):
        ask(OneAnswerChat(), open_photos([folder / "a.png"], "What is it?"), "What is it?", out)
    assert written == ["What is it? ", "[(10, 8)]", "\n\nDrawn.\n"]
    assert "not a medical device" in caplog.text


def test_json_is_one_line_about_all_photos(folder):
    out = io.StringIO()
    photos = [str(folder / "a.png"), str(folder / "b.JPG")]
    ask(OneAnswerChat(), open_photos(photos, "Same?"), "Same?", out, as_json=True)
    (line,) = out.getvalue().splitlines()
    row = json.loads(line)
    assert row["answer"] == "Same? [(10, 8), (20, 8)]"
    assert row["photos"] == photos
    assert row["model"].endswith(", llm")
    assert "medical device" in row["disclaimer"]
    assert row["notice"] == "Drawn."
    assert row["seconds"] >= 0


@pytest.mark.parametrize("as_json", [True, False])
def test_a_model_without_a_notice_of_its_own_has_the_softwares(folder, as_json):
    chat, out = OneAnswerChat(), io.StringIO()
    chat.model.notice = ""
    ask(chat, open_photos([str(folder / "a.png")], "Same?"), "Same?", out, as_json)
    if as_json:
        assert json.loads(out.getvalue())["notice"] == DISCLAIMER
    else:
        assert out.getvalue().endswith(f"\n\n{DISCLAIMER}\n")


@pytest.fixture
def meadow(folder):
    """A sharp photo of grass: green and nothing else."""
    grass = np.random.default_rng(0).integers(0, 255, (320, 320, 1), dtype=np.uint8)
    Image.fromarray(grass * np.array([0, 1, 0], dtype=np.uint8)).save(folder / "meadow.png")
    return folder / "meadow.png"


def test_without_skin_no_condition_is_named_unless_the_person_insists(meadow):
    sentence = f"{re.escape(str(meadow))}: There seems to be no skin .* --even-without-skin"
    with pytest.raises(PhotoError, match=sentence):
        open_photos([EXAMPLES_FOLDER / "acne.jpg", meadow], "What is it?")
    ((_, photo),) = open_photos([meadow], "What is it?", even_without_skin=True)
    assert photo.size == (320, 320)


def test_a_photo_of_a_folder_without_skin_is_a_row_that_says_so(meadow, tmp_path):
    folder, output, chat = meadow.parent, tmp_path / "answers.jsonl", OneAnswerChat()
    assert ask_all(chat, folder, QUESTIONS, output) == 1
    by_name = {row["photo"]: row for row in rows(output)}
    assert by_name["meadow.png"]["error"] == NO_SKIN
    assert "answers" not in by_name["meadow.png"] and "answers" in by_name["a.png"]
    assert {row["notice"] for row in by_name.values()} == {"Drawn."}
    batch = plan_batch(folder, QUESTIONS, output, 8, chat.model.config)
    assert ask_folder(chat, batch, even_without_skin=True) == 0
    assert all("answers" in row for row in rows(output))


@pytest.mark.parametrize("path", EXAMPLE_FILES, ids=lambda path: path.name)
def test_every_example_shows_skin(path):
    assert shows_skin(open_photo(path))


def test_what_cannot_be_asked_about_is_named_with_its_whole_path(folder, monkeypatch):
    monkeypatch.chdir(folder)
    whole = re.escape(str(folder))
    for name, kind, reason in (
        ("notes.txt", PhotoError, "is a text: send a photo"),
        ("gone.png", ConfigError, "no such file"),
        ("more", ConfigError, "is a folder; --batch"),
    ):
        with pytest.raises(kind, match=rf"{whole}.{name}.*{reason}"):
            open_photos(["a.png", name], "What is it?")


def test_a_question_that_is_none_is_told_first(folder):
    with pytest.raises(ChatError, match="empty"):
        open_photos(["gone.png"], " ")
    with pytest.raises(ChatError, match="4,001 characters"):
        open_photos(["gone.png"], "x" * 4001)
    with pytest.raises(ConfigError, match=r"ends with a photo, 'b\.JPG'"):
        open_photos(["gone.png"], "b.JPG")


def test_a_folder_becomes_json_lines(folder, tmp_path):
    output = tmp_path / "new" / "answers.jsonl"
    ask_all(OneAnswerChat(), folder, QUESTIONS, output)
    assert [row["photo"] for row in rows(output)] == ["a.png", "b.JPG", "more/ç.jpeg"]
    assert rows(output)[1]["answers"] == [
        {"question": "What is it?", "answer": "What is it? [(20, 8)]"},
        {"question": "And why?", "answer": "And why? [(20, 8)]"},
    ]


def test_a_run_that_was_cut_short_goes_on(folder, tmp_path):
    output = tmp_path / "answers.jsonl"
    with pytest.raises(KeyboardInterrupt, match="goes on from there"):
        ask_all(OneAnswerChat(limit=3), folder, QUESTIONS, output, size=1)
    assert [row["photo"] for row in rows(output)] == ["a.png"]
    with output.open("a", encoding="utf-8") as file:
        file.write('{"photo": "b.JPG", "ans')  # as a killed process leaves it
    chat = OneAnswerChat()
    ask_all(chat, folder, QUESTIONS, output)
    assert len(chat.asked) == 4
    assert [row["photo"] for row in rows(output)] == ["a.png", "b.JPG", "more/ç.jpeg"]
    ask_all(chat, folder, QUESTIONS, output)
    assert len(chat.asked) == 4


def test_a_broken_photo_is_a_row_and_is_tried_again(folder, tmp_path, caplog):
    output = tmp_path / "answers.jsonl"
    (folder / "a.png").write_bytes(b"no photo")
    assert ask_all(OneAnswerChat(), folder, QUESTIONS, output) == 1
    assert "a.png" in rows(output)[0]["error"]
    assert f"1 of 3 photos were not asked about: their lines in {output}" in caplog.text
    assert len(rows(output)) == 3
    Image.new("RGB", (11, 8)).save(folder / "a.png")
    assert ask_all(OneAnswerChat(), folder, QUESTIONS, output) == 0
    assert sorted(row["photo"] for row in rows(output)) == ["a.png", "b.JPG", "more/ç.jpeg"]
    assert all("answers" in row for row in rows(output))


@pytest.mark.parametrize(
    ("questions", "model"), [(("Another?",), "llm"), (QUESTIONS, "another-llm")]
)
def test_answers_of_unlike_runs_are_not_mixed(folder, tmp_path, questions, model):
    output = tmp_path / "answers.jsonl"
    ask_all(OneAnswerChat(), folder, QUESTIONS, output)
    before = output.read_bytes()
    with pytest.raises(ConfigError, match="choose another file"):
        ask_all(OneAnswerChat(model=model), folder, questions, output)
    assert output.read_bytes() == before


@pytest.mark.parametrize(
    "text",
    [
        "Dear Anna,\nhow are you?\n",
        "Dear Anna",
        '{"name": "Anna"}\n',
        '{"photo": "a.png"}\n',
        '{"photo": "a.png", "answers": 3, "model": "llm"}\n',
        "[1, 2]\n",
    ],
)
def test_somebody_elses_file_is_left_alone(folder, tmp_path, text):
    output = tmp_path / "letter.txt"
    output.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=rf"{re.escape(str(output))} is no file of answers"):
        ask_all(OneAnswerChat(), folder, QUESTIONS, output)
    assert output.read_text(encoding="utf-8") == text


def test_an_output_that_cannot_be_written_is_told_first(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = ModelConfig()
    (tmp_path / "file").touch()
    for name in ("photos", "file/answers.jsonl"):
        with pytest.raises(ConfigError, match=rf"{re.escape(str(tmp_path / name))} cannot be"):
            plan_batch(folder, QUESTIONS, name, 8, model)
    monkeypatch.setattr("os.access", lambda path, mode: path != tmp_path)
    with pytest.raises(ConfigError, match=r"new.answers\.jsonl cannot be written"):
        plan_batch(folder, QUESTIONS, "new/answers.jsonl", 8, model)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "photos"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_one_sentence(folder, tmp_path, monkeypatch):
    chat, output = OneAnswerChat(), tmp_path / "answers.jsonl"
    batch = plan_batch(folder, QUESTIONS, output, 8, chat.model.config)
    monkeypatch.setattr("skingpt4.demo.terminal.write_json_lines", lambda *_: None)
    output.symlink_to("/dev/full")
    with pytest.raises(ConfigError, match="cannot be written: No space left"):
        ask_folder(chat, batch)


def test_what_cannot_be_asked_about_a_folder_is_told_first(folder, tmp_path):
    model, output = ModelConfig(), tmp_path / "answers.jsonl"
    gone, empty = tmp_path / "gone", tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ConfigError, match=f"{re.escape(str(empty))}: there is no photo"):
        plan_batch(empty, QUESTIONS, output, 8, model)
    for place in (gone, folder / "a.png"):
        with pytest.raises(ConfigError, match=f"{re.escape(str(place))}: there is no such folder"):
            plan_batch(place, QUESTIONS, output, 8, model)
    with pytest.raises(ConfigError, match="--batch-size is 0"):
        plan_batch(folder, QUESTIONS, output, 0, model)
    with pytest.raises(ChatError, match="empty"):
        plan_batch(folder, ["What is it?", ""], output, 8, model)


LOCAL = {"llm_model": "models/llm.gguf", "ckpt": "step2.safetensors"}


@pytest.mark.parametrize(
    ("wanted", "model", "share", "expected"),
    [
        (None, LOCAL, False, True),
        (True, LOCAL, False, True),
        (False, LOCAL, False, False),
        (None, LOCAL, True, False),
        (None, {"llm_model": "meta-llama/Llama-2-13b-chat-hf"}, False, False),
        (None, {"ckpt": "https://example.com/step2.pth"}, False, False),
        (None, LOCAL | {"engine": "vllm"}, False, True),
        (None, LOCAL | {"engine": "vllm", "engine_url": "http://10.0.0.7:8000"}, False, False),
    ],
)
def test_offline_is_the_default_where_nothing_needs_others(wanted, model, share, expected):
    assert settle_offline(wanted, ModelConfig(**model), share) is expected


@pytest.mark.parametrize(
    ("model", "share", "named"),
    [(LOCAL, True, "--share"), ({"ckpt": "https://example.com/a.pth"}, False, "model.ckpt")],
)
def test_offline_against_what_needs_others_is_a_contradiction(model, share, named):
    with pytest.raises(ConfigError, match=named):
        settle_offline(True, ModelConfig(**model), share)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--ask", "photo.jpg"], "then the question"),
        (["--batch", "photos"], "needs --output FILE"),
        (["--output", "a.jsonl"], "--output belongs to --batch, not to the page"),
        (["--json"], "--json belongs to --ask, not to the page"),
        (
            ["--json", "--batch", "photos", "--output", "a.jsonl"],
            "belongs to --ask, not to --batch",
        ),
        (["--question", "b?"], "--question belongs to --batch, not to the page"),
        (["--batch-size", "8", "--ask", "a.jpg", "b?"], "belongs to --batch, not to --ask"),
        (["--port", "7860", "--ask", "a.jpg", "b?"], "--port belongs to the page, not to --ask"),
        (
            ["--auth", "a:b", "--batch", "photos", "--output", "a.jsonl"],
            "--auth belongs to the page",
        ),
        (["--share", "--ask", "a.jpg", "b?"], "--share belongs to the page"),
        (["--host", "0.0.0.0", "--ask", "a.jpg", "b?"], "--host belongs to the page"),
        (["--ask", "a.jpg", "b?", "--batch", "photos"], "not allowed with"),
        (["--offline", "--online"], "not allowed with"),
        (["--even-without-skin"], "--even-without-skin belongs to --ask, not to the page"),
    ],
)
def test_half_a_command_is_refused_before_anything_is_loaded(arguments, sentence, capsys, demo):
    assert demo(arguments) == 2
    assert sentence in capsys.readouterr().err


def test_help_shows_the_script_its_modes_and_what_they_take(demo, capsys):
    assert demo(["--help"]) == 0
    said = capsys.readouterr().out
    usage = said.partition("\n\n")[0]
    assert usage.startswith("usage: python demo.py")
    assert "--batch FOLDER --output FILE" in usage
    assert said.count("--ask PHOTO [PHOTO ...] QUESTION") == 2


def test_the_script_answers_from_a_pipe(demo, folder, capsys, embedded_photo):
    demo(["--ask", str(embedded_photo), "What's wrong with my skin?", "--json"])
    assert "psoriasis" in json.loads(capsys.readouterr().out)["answer"]


def test_the_script_answers_about_a_folder(demo, capsys, embedded_photo, tmp_path):
    output = tmp_path / "answers.jsonl"
    shown = shutil.copytree(embedded_photo.parent, tmp_path / "photos")
    (shown / "broken.jpg").touch()
    asked = ["--batch", str(shown), "--output", str(output), "--question", "What is it?"]
    assert demo(asked) == 1
    assert len(rows(output)) == len(list(shown.iterdir()))
    assert "7/7" in capsys.readouterr().err


def test_quiet_is_the_answer_and_its_notice(embedded_photo):
    done = run_script("demo.py", "--quiet", "--ask", embedded_photo, "What's wrong with my skin?")
    assert (done.returncode, done.stderr) == (0, "")
    answer, notice = done.stdout.split("\n\n")
    assert "psoriasis" in answer and notice.startswith("Demonstration model")


# Prints for each command whether it has imported Gradio; the last is the control.
IMPORTS_SCRIPT = """
import json, runpy, sys
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["demo.py", *arguments]
    try:
        runpy.run_path("demo.py", run_name="__main__")
    except SystemExit:
        pass
    print("imported", "torch" in sys.modules, "gradio" in sys.modules)
import skingpt4.demo.server
print("imported", "torch" in sys.modules, "gradio" in sys.modules)
"""


def test_only_a_page_needs_gradio(embedded_photo, tmp_path):
    batch = [embedded_photo.parent, "--output", tmp_path / "a.jsonl", "--question", "Well?"]
    commands = (["--check"], ["--ask", embedded_photo, "What is it?"], ["--batch", *batch])
    asked = json.dumps([[str(word) for word in command] for command in commands])
    command = [sys.executable, "-c", IMPORTS_SCRIPT, asked]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    said = [line for line in done.stdout.splitlines() if line.startswith("imported")]
    assert said == ["imported True False"] * 3 + ["imported True True"]


@pytest.mark.parametrize(
    ("moment", "sentence", "code"),
    [
        ("import", "Stopped.", -signal.SIGINT),
        ("left to ask", "goes on from there.", -signal.SIGINT),
        ("The page is ready", "The page is closed, and what visitors sent is deleted.", 0),
    ],
)
def test_ctrl_c_is_one_sentence(moment, sentence, code, embedded_photo, tmp_path):
    arguments = ["--port", "0"]
    if moment == "left to ask":
        arguments = ["--batch", embedded_photo.parent, "--output", tmp_path / "a.jsonl"]
    # The libraries are the longest part of the way to the model; Python names each as it comes.
    verbose = ["-v"] if moment == "import" else []
    process = subprocess.Popen(
        [sys.executable, *verbose, "demo.py", *map(str, arguments)],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    awaited = "import 'torch._C'" if moment == "import" else moment
    assert any(awaited in line for line in process.stdout), "it never came so far"
    process.send_signal(signal.SIGINT)
    said = [line for line in process.stdout if not line.startswith(("import ", "#"))]
    assert process.wait(timeout=60) == code
    assert sentence in "".join(said) and "Traceback" not in "".join(said)


@pytest.fixture
def embedded_photo():
    """A drawn psoriasis that the embedded model recognises."""
    return EXAMPLES_FOLDER / "psoriasis.jpg"


@pytest.fixture
def demo(monkeypatch, caplog):
    """Run the script with some arguments, in this process; it must not go offline for good."""

    def run(arguments):
        monkeypatch.chdir(PROJECT)
        monkeypatch.setattr("skingpt4.common.network.go_offline", lambda: None)
        monkeypatch.setattr("skingpt4.common.cli.setup_logger", caplog.set_level)
        return run_here("demo.py", *arguments)

    return run
