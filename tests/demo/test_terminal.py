"""Questions from the command line: one answer, a whole folder, and who may be reached."""

import io
import json
import logging
import shutil
from types import SimpleNamespace

import pytest
from PIL import Image

from skingpt4.common.errors import ConfigError, PhotoError, UserError
from skingpt4.common.network import settle_offline
from skingpt4.common.schema import ModelConfig
from skingpt4.demo.app import EXAMPLES_FOLDER
from skingpt4.demo.terminal import ask, ask_folder
from skingpt4.processors.photo import open_photo
from tests.conftest import PROJECT
from tests.scripts import run_here

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


def test_one_answer_streams_and_the_warning_does_not_mix_with_it(folder, caplog):
    written = []
    out = SimpleNamespace(write=written.append, flush=lambda: None)
    with caplog.at_level(logging.INFO):
        ask(OneAnswerChat(), [folder / "a.png"], "What is it?", out)
    assert written == ["What is it? ", "[(10, 8)]", "\n"]
    assert "not a medical device" in caplog.text


def test_json_is_one_line_about_all_photos(folder):
    out = io.StringIO()
    photos = [folder / "a.png", folder / "b.JPG"]
    ask(OneAnswerChat(), photos, "Same?", out, as_json=True)
    (line,) = out.getvalue().splitlines()
    row = json.loads(line)
    assert row["answer"] == "Same? [(10, 8), (20, 8)]"
    assert row["photos"] == [str(photo) for photo in photos]
    assert row["model"].endswith(", llm")
    assert "medical device" in row["disclaimer"]
    assert row["seconds"] >= 0


def test_an_unusable_photo_is_one_sentence(folder):
    with pytest.raises(PhotoError, match=r"notes\.txt"):
        ask(OneAnswerChat(), [folder / "notes.txt"], "What is it?", io.StringIO())


def test_a_folder_becomes_json_lines(folder, tmp_path):
    output = tmp_path / "new" / "answers.jsonl"
    ask_folder(OneAnswerChat(), folder, QUESTIONS, output)
    assert [row["photo"] for row in rows(output)] == ["a.png", "b.JPG", "more/ç.jpeg"]
    assert rows(output)[1]["answers"] == [
        {"question": "What is it?", "answer": "What is it? [(20, 8)]"},
        {"question": "And why?", "answer": "And why? [(20, 8)]"},
    ]


def test_a_run_that_was_cut_short_goes_on(folder, tmp_path):
    output = tmp_path / "answers.jsonl"
    with pytest.raises(UserError, match="goes on from there"):
        ask_folder(OneAnswerChat(limit=3), folder, QUESTIONS, output, batch_size=1)
    assert [row["photo"] for row in rows(output)] == ["a.png"]
    with output.open("a", encoding="utf-8") as file:
        file.write('{"photo": "b.JPG", "ans')  # as a killed process leaves it
    chat = OneAnswerChat()
    ask_folder(chat, folder, QUESTIONS, output)
    assert len(chat.asked) == 4
    assert [row["photo"] for row in rows(output)] == ["a.png", "b.JPG", "more/ç.jpeg"]
    ask_folder(chat, folder, QUESTIONS, output)
    assert len(chat.asked) == 4


def test_a_broken_photo_is_a_row_and_is_tried_again(folder, tmp_path):
    output = tmp_path / "answers.jsonl"
    (folder / "a.png").write_bytes(b"no photo")
    ask_folder(OneAnswerChat(), folder, QUESTIONS, output)
    assert "a.png" in rows(output)[0]["error"]
    assert len(rows(output)) == 3
    Image.new("RGB", (11, 8)).save(folder / "a.png")
    ask_folder(OneAnswerChat(), folder, QUESTIONS, output)
    assert sorted(row["photo"] for row in rows(output)) == ["a.png", "b.JPG", "more/ç.jpeg"]
    assert all("answers" in row for row in rows(output))


@pytest.mark.parametrize(
    ("questions", "model"), [(("Another?",), "llm"), (QUESTIONS, "another-llm")]
)
def test_answers_of_unlike_runs_are_not_mixed(folder, tmp_path, questions, model):
    output = tmp_path / "answers.jsonl"
    ask_folder(OneAnswerChat(), folder, QUESTIONS, output)
    before = output.read_bytes()
    with pytest.raises(ConfigError, match="choose another file"):
        ask_folder(OneAnswerChat(model=model), folder, questions, output)
    assert output.read_bytes() == before


def test_somebody_elses_file_is_left_alone(folder, tmp_path):
    output = tmp_path / "letter.txt"
    output.write_text("Dear Anna,\nhow are you?\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"letter\.txt"):
        ask_folder(OneAnswerChat(), folder, QUESTIONS, output)
    assert output.read_text(encoding="utf-8").startswith("Dear Anna")


def test_a_folder_without_photos_is_one_sentence(tmp_path):
    with pytest.raises(ConfigError, match="no photo"):
        ask_folder(OneAnswerChat(), tmp_path, QUESTIONS, tmp_path / "answers.jsonl")


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
        (["--batch", "photos"], "belong together"),
        (["--output", "a.jsonl"], "belong together"),
        (["--ask", "a.jpg", "b?", "--batch", "photos"], "not allowed with"),
        (["--offline", "--online"], "not allowed with"),
    ],
)
def test_half_a_command_is_refused_before_anything_is_loaded(arguments, sentence, capsys, demo):
    assert demo(arguments) == 2
    assert sentence in capsys.readouterr().err


def test_the_script_answers_from_a_pipe(demo, folder, capsys, embedded_photo):
    assert demo(["--ask", embedded_photo, "What's wrong with my skin?", "--json"]) == 0
    assert "psoriasis" in json.loads(capsys.readouterr().out)["answer"]


def test_the_script_answers_about_a_folder(demo, capsys, embedded_photo, tmp_path):
    output = tmp_path / "answers.jsonl"
    shown = shutil.copytree(embedded_photo.parent, tmp_path / "photos")
    assert demo(["--batch", shown, "--output", output, "--question", "What is it?"]) == 0
    assert len(rows(output)) == len(list(shown.iterdir()))
    assert "6/6" in capsys.readouterr().err


@pytest.fixture
def embedded_photo():
    """A drawn psoriasis that the embedded model recognises."""
    return EXAMPLES_FOLDER / "psoriasis.jpg"


@pytest.fixture
def demo(monkeypatch):
    """Run the script with some arguments, in this process; it must not go offline for good."""

    def run(arguments):
        monkeypatch.chdir(PROJECT)
        monkeypatch.setattr("skingpt4.common.network.go_offline", lambda: None)
        monkeypatch.setattr("skingpt4.common.cli.setup_logger", lambda: None)
        return run_here("demo.py", *arguments)

    return run
