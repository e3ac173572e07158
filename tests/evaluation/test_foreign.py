import base64
import io
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

import pytest
import torch
from PIL import Image
from transformers import (
    AutoTokenizer,
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

from skingpt4.common.errors import EvaluationError
from skingpt4.dermatology import QUESTIONS
from skingpt4.evaluation.cases import read_cases
from skingpt4.evaluation.inference import respond
from skingpt4.evaluation.systems import imported_system, server_system, transformers_system


@pytest.fixture
def cases(drawn_cases):
    return read_cases(drawn_cases)[:2]


CHAT_TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {% for part in m.content %}"
    "{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %}{% endfor %}\n"
    "{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
)


@pytest.fixture(scope="module")
def llava_folder(llm_folder, tmp_path_factory):
    """A LLaVA of another family than ours, with random weights, as its authors save one."""
    folder = tmp_path_factory.mktemp("llava")
    tokenizer = AutoTokenizer.from_pretrained(llm_folder)
    tokenizer.add_tokens(["<image>"], special_tokens=True)
    tokenizer.pad_token = tokenizer.eos_token
    size = {"height": 28, "width": 28}
    LlavaProcessor(
        CLIPImageProcessor(size={"shortest_edge": 28}, crop_size=size),
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        chat_template=CHAT_TEMPLATE,
        image_token="<image>",
        num_additional_image_tokens=1,
    ).save_pretrained(folder)
    width = {"intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision = CLIPVisionConfig(hidden_size=16, image_size=28, patch_size=14, **width)
    text = LlamaConfig(vocab_size=len(tokenizer), hidden_size=32, **width)
    image_id = tokenizer.convert_tokens_to_ids("<image>")
    torch.manual_seed(0)
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=image_id)
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    return folder


def test_a_transformers_model_is_asked_the_four_questions(llava_folder, cases):
    system = transformers_system("llava", llava_folder, torch.device("cpu"), max_new_tokens=6)
    interview = system.load()
    answers = interview(cases[:1])[0]
    assert [answer.question for answer in answers] == list(QUESTIONS)
    assert all(answer.text and answer.seconds > 0 for answer in answers)
    assert interview(cases[:1])[0][0].text == answers[0].text
    record = system.describe()
    assert len(record["weights"]["model.safetensors"]) == 64


@pytest.fixture
def write_answers(tmp_path):
    def write(text):
        path = tmp_path / "answers.csv"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_answers_are_imported_in_the_order_of_the_questions(write_answers, cases):
    path = write_answers("case,question,answer\n1,2,red\n1,1,acne\n1,Why?,because\n")
    imported = imported_system("other", path, cases)
    first, second = respond("other", imported.load(), cases)
    assert [(a.question, a.text) for a in first.answers] == [
        (QUESTIONS[0], "acne"),
        (QUESTIONS[1], "red"),
        ("Why?", "because"),
    ]
    assert (first.answers[0].seconds, first.answers[0].tokens) == (None, None)
    assert "no answer" in second.error
    assert imported.describe()["sha256"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("case,answer\n1,acne\n", "no column 'question'"),
        ("case,question,answer\n99,1,acne\n", "'99', which the case list does not have"),
    ],
)
def test_answers_that_do_not_fit_are_one_sentence(write_answers, cases, text, words):
    with pytest.raises(EvaluationError, match=words):
        imported_system("other", write_answers(text), cases)


def test_missing_answers_are_one_sentence(tmp_path, cases):
    with pytest.raises(EvaluationError, match="cannot be read"):
        imported_system("other", tmp_path / "none.csv", cases)


class Imitation(BaseHTTPRequestHandler):
    """An OpenAI-compatible server that says how many messages it was shown."""

    requests: ClassVar[list] = []

    def do_GET(self):
        self._send({"data": [{"id": "imitation"}]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.requests.append(body)
        text = f" psoriasis {len(body['messages'])} "
        self._send({"choices": [{"message": {"content": text}}], "usage": {"completion_tokens": 4}})

    def _send(self, content):
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    Imitation.requests.clear()
    running = HTTPServer(("127.0.0.1", 0), Imitation)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    running.server_close()


@pytest.mark.parametrize("ending", ["", "/", "/v1"])
def test_a_server_is_asked_the_four_questions_as_one_conversation(server, cases, ending):
    system = server_system("mine", server + ending, max_new_tokens=50)
    answers = system.load()(cases[:1])[0]
    assert [answer.question for answer in answers] == list(QUESTIONS)
    assert [answer.text for answer in answers] == [f"psoriasis {n}" for n in (1, 3, 5, 7)]
    assert answers[0].tokens == 4
    assert system.describe()["name"] == "imitation"
    shown, asked = Imitation.requests[0]["messages"][0]["content"]
    assert asked["text"] == QUESTIONS[0]
    prefix, _, data = shown["image_url"]["url"].partition(",")
    assert prefix == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == Image.open(cases[0].image).size


@pytest.mark.parametrize(
    "address", ["http://192.0.2.1:80", "https://example.org", "http://8.8.8.8"]
)
def test_photos_do_not_leave_this_machine_unasked(address):
    with pytest.raises(EvaluationError, match="--allow-remote"):
        server_system("mine", address, max_new_tokens=50)


def test_addresses_that_are_none_are_one_sentence():
    with pytest.raises(EvaluationError, match="no http address"):
        server_system("mine", "127.0.0.1:8000", max_new_tokens=50)
    with pytest.raises(EvaluationError, match="check that it is running"):
        server_system("mine", "http://127.0.0.1:9", max_new_tokens=50)


def test_a_missing_folder_is_one_sentence(tmp_path):
    with pytest.raises(EvaluationError, match="does not exist"):
        transformers_system("mine", tmp_path / "none", torch.device("cpu"), 50)
