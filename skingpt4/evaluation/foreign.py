"""Other systems under the same protocol: answers of a CSV, a local model, or a local server."""

import base64
import csv
import http.client
import io
import ipaddress
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

import torch
from PIL import Image

from skingpt4.common.errors import EvaluationError
from skingpt4.common.files import sha256_of
from skingpt4.dermatology import QUESTIONS
from skingpt4.evaluation.cases import EvalCase
from skingpt4.evaluation.responses import Answer
from skingpt4.evaluation.systems import Record
from skingpt4.processors.photo import open_photo

IMPORT_COLUMNS = ("case", "question", "answer")
SERVER_TIMEOUT_SECONDS = 600

Messages = list[dict[str, Any]]
# The conversation so far to the next answer and, if known, its number of tokens.
Reply = Callable[[Messages], tuple[str, int | None]]


class ImportedAnswers:
    """Answers that another system gave elsewhere, from a CSV with case, question and answer.

    A question is a number from 1 to 4, or its text.

    Args:
        path: The CSV.
        cases: The case list that it belongs to.

    Raises:
        EvaluationError: If the file or a column is missing, or a case is not in the list.
    """

    def __init__(self, path: Path, cases: Sequence[EvalCase]) -> None:
        self.path = path
        rows = _read_csv(path)
        known = {case.id for case in cases}
        self._answers: dict[str, list[Answer]] = {}
        for row in rows:
            if row["case"] not in known:
                raise EvaluationError(
                    f"'{path}' has an answer about the case '{row['case']}', which the case list "
                    "does not have; name the list that the answers belong to."
                )
            answer = Answer(_question(row["question"]), row["answer"])
            self._answers.setdefault(row["case"], []).append(answer)

    def __call__(self, cases: Sequence[EvalCase]) -> list[list[Answer]]:
        """Return the answers in the order of the questions.

        Raises:
            EvaluationError: If a case has none.
        """
        for case in cases:
            if case.id not in self._answers:
                raise EvaluationError(f"'{self.path.name}' has no answer about this case.")
        return [sorted(self._answers[case.id], key=_place) for case in cases]

    def describe(self) -> Record:
        """Return what tells these answers from others."""
        return {"kind": "import", "name": self.path.name, "sha256": sha256_of(self.path)}


def _read_csv(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = set(IMPORT_COLUMNS) - set(reader.fieldnames or ())
            rows = [{key: value or "" for key, value in row.items()} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise EvaluationError(f"The answers '{path}' cannot be read ({error}).") from None
    if missing:
        raise EvaluationError(
            f"The answers '{path}' have no column '{min(missing)}'; give "
            f"{', '.join(IMPORT_COLUMNS)}."
        )
    return rows


def _question(text: str) -> str:
    """Return a question's text by its number, or the text itself."""
    numbers = {str(number): question for number, question in enumerate(QUESTIONS, start=1)}
    return numbers.get(text.strip(), text.strip())


def _place(answer: Answer) -> int:
    """Sort the paper's questions first, others as they came."""
    return QUESTIONS.index(answer.question) if answer.question in QUESTIONS else len(QUESTIONS)


class ForeignInterview:
    """Asks the four questions of one case after the other, each with what was said before.

    Args:
        reply: Answers a conversation whose first message holds the photo.
        show: Turns a photo into that message's part.
    """

    def __init__(self, reply: Reply, show: Callable[[Image.Image], dict[str, Any]]) -> None:
        self.reply = reply
        self.show = show

    def __call__(self, cases: Sequence[EvalCase]) -> list[list[Answer]]:
        """Hold one conversation about each case."""
        return [self._converse(case) for case in cases]

    def _converse(self, case: EvalCase) -> list[Answer]:
        messages: Messages = []
        answers = []
        for question in QUESTIONS:
            content: list[dict[str, Any]] = [{"type": "text", "text": question}]
            if not messages:
                content.insert(0, self.show(open_photo(case.image)))
            messages.append({"role": "user", "content": content})
            began = time.perf_counter()
            text, tokens = self.reply(messages)
            seconds = round(time.perf_counter() - began, 3)
            said = [{"type": "text", "text": text}]
            messages.append({"role": "assistant", "content": said})
            answers.append(Answer(question, text, None, seconds, tokens))
        return answers


def describe_folder(folder: Path, max_new_tokens: int) -> Record:
    """Return what it takes to repeat a local model's answers.

    Raises:
        EvaluationError: If the folder is not there.
    """
    if not folder.is_dir():
        raise EvaluationError(
            f"--hf names the folder '{folder}', which does not exist; fetch the model first."
        )
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return {
        "kind": "transformers",
        "name": folder.name,
        "weights": {file.name: sha256_of(file) for file in files},
        "decoding": {"max_new_tokens": max_new_tokens, "temperature": 0.0},
    }


def folder_interview(folder: Path, device: torch.device, max_new_tokens: int) -> ForeignInterview:
    """Load any ``transformers`` image-text-to-text model of a local folder; greedy answers."""
    from transformers import pipeline

    pipe: Any = pipeline("image-text-to-text", model=str(folder), device=device)

    def reply(messages: Messages) -> tuple[str, int | None]:
        output = pipe(
            text=messages,
            return_full_text=False,
            generate_kwargs={"max_new_tokens": max_new_tokens, "do_sample": False},
        )
        return str(output[0]["generated_text"]).strip(), None

    return ForeignInterview(reply, lambda photo: {"type": "image", "image": photo})


class ServerClient:
    """Speaks to an OpenAI-compatible server; follows no redirect and uses no proxy.

    Args:
        address: ``http://127.0.0.1:8000``, also with a path before ``/v1``.
        allow_remote: Permit addresses that are not this machine's.

    Raises:
        EvaluationError: If the address is another machine's, or nothing answers there.
    """

    def __init__(self, address: str, max_new_tokens: int, allow_remote: bool = False) -> None:
        self.url = urlsplit(address)
        self.max_new_tokens = max_new_tokens
        if self.url.scheme not in ("http", "https") or not self.url.hostname:
            raise EvaluationError(f"--server '{address}' is no http address.")
        if not (allow_remote or _is_loopback(self.url)):
            raise EvaluationError(
                f"--server '{address}' is not on this machine, and photos would leave it; add "
                "--allow-remote if that is meant."
            )
        self.model = str(self._call("GET", "models")["data"][0]["id"])

    def describe(self) -> Record:
        """Return what it takes to ask the same again."""
        decoding = {"max_new_tokens": self.max_new_tokens, "temperature": 0.0}
        return {"kind": "server", "name": self.model, "decoding": decoding}

    def interview(self) -> ForeignInterview:
        """Return an answerer; photos are sent as JPEG without metadata."""
        return ForeignInterview(self._reply, _data_url)

    def _reply(self, messages: Messages) -> tuple[str, int | None]:
        request = {
            "model": self.model,
            "messages": messages,
            "max_tokens": self.max_new_tokens,
            "temperature": 0,
        }
        reply = self._call("POST", "chat/completions", request)
        text = reply["choices"][0]["message"]["content"]
        return str(text or "").strip(), reply.get("usage", {}).get("completion_tokens")

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        secure = self.url.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = kind(str(self.url.hostname), self.url.port, timeout=SERVER_TIMEOUT_SECONDS)
        place = f"{self.url.path.rstrip('/').removesuffix('/v1')}/v1/{path}"
        data = None if body is None else json.dumps(body).encode()
        try:
            connection.request(method, place, data, {"Content-Type": "application/json"})
            response = connection.getresponse()
            content = json.loads(response.read())
            if response.status != http.client.OK or not isinstance(content, dict):
                raise ValueError(f"status {response.status}")
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise EvaluationError(
                f"The server '{self.url.geturl()}' did not answer {place} as OpenAI's interface "
                f"does ({error}); check that it is running."
            ) from None
        finally:
            connection.close()
        return content


def _is_loopback(url: SplitResult) -> bool:
    if url.hostname == "localhost":
        return True
    try:
        return ipaddress.ip_address(url.hostname or "").is_loopback
    except ValueError:
        return False


def _data_url(photo: Image.Image) -> dict[str, Any]:
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG", quality=95)
    data = base64.b64encode(buffer.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{data}"}}
