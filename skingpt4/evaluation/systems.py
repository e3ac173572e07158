"""The systems under test: SkinGPT-4 models, other local models, servers, and imported answers.

Each comes with a record that lets others repeat its answers.
"""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
import torch
from PIL import Image

from skingpt4.common.config import MODEL_PATHS, Config
from skingpt4.common.errors import EvaluationError
from skingpt4.common.files import sha256_of
from skingpt4.common.network import is_loopback
from skingpt4.common.tables import read_table
from skingpt4.conversation.chat import Chat, load_chat
from skingpt4.conversation.engines import Decoding
from skingpt4.conversation.interview import interview
from skingpt4.dermatology import QUESTIONS
from skingpt4.documents.images import data_url, jpeg
from skingpt4.evaluation.cases import EvalCase
from skingpt4.evaluation.responses import Answer
from skingpt4.models.weights import weight_hashes
from skingpt4.processors.photo import open_photo
from skingpt4.prompts import get_prompt_style

Record = dict[str, Any]

# Asks about each of some cases and returns each one's answers, in order.
Interview = Callable[[Sequence[EvalCase]], list[list[Answer]]]

# A conversation in OpenAI's form, which ``transformers`` takes, too.
Messages = list[dict[str, Any]]

# From the conversation so far to the next answer and, if known, its number of tokens.
Reply = Callable[[Messages], tuple[str, int | None]]

IMPORT_COLUMNS = ("case", "question", "answer")

SERVER_TIMEOUT_SECONDS = 600

# Photos for a server are compressed little, so that it sees what local models see.
SERVER_JPEG_QUALITY = 95


@dataclass(frozen=True)
class SystemUnderTest:
    """A system that takes part.

    Attributes:
        name: Its name in all tables.
        describe: Returns what it takes to repeat its answers.
        load: Returns its interview; called only where a case is left to answer.
    """

    name: str
    describe: Callable[[], Record]
    load: Callable[[], Interview]


@dataclass(frozen=True)
class Checkpoint:
    """A SkinGPT-4: a config file with ``a.b=c`` options, and its name in all tables."""

    name: str
    cfg_path: str
    options: tuple[str, ...] = ()

    def load(self, device: torch.device) -> Chat:
        """Load the model."""
        return load_chat(self.cfg_path, self.options, device)


TINY_CONFIG = "eval_configs/skingpt4_eval_tiny.yaml"

TINY_PROJECTION = "model.ckpt=weights/skingpt4-tiny/skingpt4_tiny"

# The embedded model as the paper's ablation has it.
BUILTIN_CHECKPOINTS = tuple(
    Checkpoint(name, TINY_CONFIG, (f"{TINY_PROJECTION}{suffix}.safetensors",))
    for name, suffix in (
        ("two-step", ""),
        ("step 2 only", "_step2_only"),
        ("step 1 only", "_step1"),
        ("general alignment only", "_step0"),
    )
)


def parse_checkpoint(text: str) -> Checkpoint:
    """Read ``name=config.yaml[,key=value…]``.

    Raises:
        EvaluationError: If it has another form.
    """
    # Only the first "=" parts name and path: options hold more of them.
    name, place = split_pair(text, "--system", "config.yaml[,key=value…]")
    cfg_path, *options = place.split(",")
    return Checkpoint(name, cfg_path, tuple(options))


def split_pair(text: str, option: str, form: str) -> tuple[str, str]:
    """Split ``name=value``.

    Raises:
        EvaluationError: If either is missing.
    """
    name, _, value = text.partition("=")
    if not name.strip() or not value.strip():
        raise EvaluationError(f"{option} '{text}' is not of the form name={form}.")
    return name.strip(), value.strip()


def seed_for(seed: int, case: str, draw: int) -> int:
    """Return a draw's own seed, 0 to 2^63 - 1, whatever else is drawn."""
    # Not hash(): Python's own differs from one process to the next.
    digest = hashlib.sha256(f"{seed}:{case}:{draw}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def skingpt4_system(
    checkpoint: Checkpoint,
    decoding: Decoding,
    load: Callable[[], Chat],
    questions: Sequence[str] = QUESTIONS,
    draws: int = 1,
    note: Mapping[str, Any] | None = None,
) -> SystemUnderTest:
    """Return a SkinGPT-4 that is asked questions in order, each with what was said before.

    Args:
        checkpoint: Which one, for the record.
        decoding: How answers are chosen; its seed gives each case and answer one of its own.
        load: Loads it.
        questions: By default the paper's four.
        draws: Conversations about each case, independent of one another.
        note: Further entries of the record.
    """

    def start() -> Interview:
        chat = load()

        def ask(cases: Sequence[EvalCase]) -> list[list[Answer]]:
            began = time.perf_counter()
            encoded = chat.encode_photos([case.image for case in cases])  # [1, Q, D] each
            encoding = time.perf_counter() - began
            photos = [photo for photo in encoded for _ in range(draws)]
            # A seed for each answer, so that neither batches nor processes change what is drawn.
            owners = [(case.id, draw * len(questions)) for case in cases for draw in range(draws)]
            first = decoding.seed or 0
            seeds = [
                [seed_for(first, case, draw + number) for case, draw in owners]
                for number in range(len(questions))
            ]
            answers: list[list[Answer]] = [[] for _ in cases]
            for place, own in enumerate(interview(chat, photos, questions, decoding, seeds)):
                for number, (question, said) in enumerate(zip(questions, own, strict=True)):
                    waited = encoding if number == 0 else 0.0  # the photo is encoded once
                    # To a millisecond, which is finer than times repeat.
                    first_token = round(waited + said.seconds_to_first, 3)
                    seconds = round(waited + said.seconds, 3)
                    tokens = len(said.token_ids)
                    answer = Answer(question, said.text, first_token, seconds, tokens)
                    answers[place // draws].append(answer)
            return answers

        return ask

    return SystemUnderTest(
        checkpoint.name,
        lambda: {**describe_checkpoint(checkpoint, decoding), **(note or {})},
        start,
    )


def describe_checkpoint(checkpoint: Checkpoint, decoding: Decoding) -> Record:
    """Return what it takes to repeat a model's answers: config, weights, prompt, decoding."""
    config = Config.load(checkpoint.cfg_path, checkpoint.options)
    model = config.model
    style = get_prompt_style(model.prompt_style, model.prompt_template, model.end_sym)
    # Where the files lie is nobody's business but this machine's; their hashes tell which they are.
    names = {key: Path(getattr(model, key)).name for key in MODEL_PATHS}
    return {
        "kind": "skingpt4",
        "config": {"model": {**asdict(model), **names}, "preprocess": asdict(config.preprocess)},
        "weights": weight_hashes(model, MODEL_PATHS),
        "template": {"system": style.system, "roles": list(style.roles), "end": style.end_sym},
        "decoding": asdict(decoding),
        "notice": model.notice,
    }


def imported_system(name: str, path: Path, cases: Sequence[EvalCase]) -> SystemUnderTest:
    """Return a system whose answers were given elsewhere.

    Args:
        name: Its name in all tables.
        path: A table with the columns case, question (1 to 4, or its text) and answer.
        cases: The case list that it belongs to.

    Raises:
        EvaluationError: If the table or a column is missing, or a case is not in the list.
    """
    if not path.is_file():
        raise EvaluationError(f"The answers '{path}' cannot be read: there is no such file.")
    table = read_table(path, error=EvaluationError)
    missing = set(IMPORT_COLUMNS) - set(table.columns)
    if missing:
        raise EvaluationError(
            f"The answers '{path}' have no column '{min(missing)}'; give "
            f"{', '.join(IMPORT_COLUMNS)}."
        )
    # An answer about a case that is not in the list would silently be left out.
    unknown = table["case"][~table["case"].isin([case.id for case in cases])]
    if len(unknown):
        raise EvaluationError(
            f"'{path}' has an answer about the case '{unknown.iloc[0]}', which the case list "
            "does not have; name the list that the answers belong to."
        )
    numbers = {str(number): question for number, question in enumerate(QUESTIONS, start=1)}
    table["question"] = table["question"].replace(numbers)
    # The paper's questions first, others as they came: sorting keeps the order of equals.
    places = {question: place for place, question in enumerate(QUESTIONS)}
    table["place"] = table["question"].map(places).fillna(len(QUESTIONS))
    table = table.sort_values("place", kind="stable")
    answers = dict(list(table.groupby("case")))

    def ask(asked: Sequence[EvalCase]) -> list[list[Answer]]:
        for case in asked:
            if case.id not in answers:
                raise EvaluationError(f"'{path.name}' has no answer about this case.")
        return [
            [Answer(*pair) for pair in zip(rows["question"], rows["answer"], strict=True)]
            for rows in (answers[case.id] for case in asked)
        ]

    record = {"kind": "import", "name": path.name, "sha256": sha256_of(path)}
    return SystemUnderTest(name, lambda: record, lambda: ask)


def transformers_system(
    name: str, folder: Path, device: torch.device, max_new_tokens: int
) -> SystemUnderTest:
    """Return any ``transformers`` image-text-to-text model of a local folder; greedy answers.

    Raises:
        EvaluationError: If the folder is not there.
    """
    if not folder.is_dir():
        raise EvaluationError(
            f"--hf names the folder '{folder}', which does not exist; fetch the model first."
        )

    def start() -> Interview:
        # Takes seconds to import, and only this kind of system needs it.
        from transformers import pipeline

        pipe: Any = pipeline("image-text-to-text", model=str(folder), device=device)
        # Nothing else is set: each model answers with its own generation settings.
        greedy = {"max_new_tokens": max_new_tokens, "do_sample": False}

        def reply(messages: Messages) -> tuple[str, int | None]:
            output = pipe(text=messages, return_full_text=False, generate_kwargs=greedy)
            return str(output[0]["generated_text"]).strip(), None

        return message_interview(reply, lambda photo: {"type": "image", "image": photo})

    def describe() -> Record:
        files = sorted(path for path in folder.iterdir() if path.is_file())
        return {
            "kind": "transformers",
            "name": folder.name,
            "weights": {file.name: sha256_of(file) for file in files},
            "decoding": {"max_new_tokens": max_new_tokens, "temperature": 0.0},
        }

    return SystemUnderTest(name, describe, start)


def server_system(
    name: str, address: str, max_new_tokens: int, allow_remote: bool = False
) -> SystemUnderTest:
    """Return what an OpenAI-compatible server serves; no redirect is followed, no proxy used.

    Args:
        name: Its name in all tables.
        address: ``http://127.0.0.1:8000``, also with a path before ``/v1``.
        max_new_tokens: Of each answer.
        allow_remote: Permit addresses that are not this machine's.

    Raises:
        EvaluationError: If the address is another machine's, or nothing answers there.
    """
    try:
        url = httpx.URL(address)
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host:
        raise EvaluationError(f"--server '{address}' is no http address.")
    if not (allow_remote or is_loopback(url.host)):
        raise EvaluationError(
            f"--server '{address}' is not on this machine, and photos would leave it; add "
            "--allow-remote if that is meant."
        )
    # Both "…:8000" and "…:8000/v1" are common ways to write such an address.
    url = url.copy_with(path=f"{url.path.rstrip('/').removesuffix('/v1')}/v1", query=None)
    # A server of one model says its name; asking also tells at once that nothing answers there.
    model = str(_call_server(url, "GET", "models")["data"][0]["id"])

    def reply(messages: Messages) -> tuple[str, int | None]:
        # No seed: servers treat it differently, and greedy answers need none.
        asked = {"model": model, "messages": messages, "max_tokens": max_new_tokens}
        content = _call_server(url, "POST", "chat/completions", {**asked, "temperature": 0})
        text = content["choices"][0]["message"]["content"]
        return str(text or "").strip(), content.get("usage", {}).get("completion_tokens")

    def show(photo: Image.Image) -> dict[str, Any]:
        url = data_url(jpeg(photo, quality=SERVER_JPEG_QUALITY))
        return {"type": "image_url", "image_url": {"url": url}}

    decoding = {"max_new_tokens": max_new_tokens, "temperature": 0.0}
    record = {"kind": "server", "name": model, "decoding": decoding}
    return SystemUnderTest(name, lambda: record, lambda: message_interview(reply, show))


def _call_server(root: httpx.URL, method: str, path: str, body: Record | None = None) -> Any:
    """Call a path of an OpenAI-compatible server, below its ``/v1``; return its JSON object."""
    place = root.copy_with(path=f"{root.path}/{path}")
    try:
        # trust_env=False: a proxy of the environment would see the photos.
        with httpx.Client(trust_env=False, timeout=SERVER_TIMEOUT_SECONDS) as client:
            response = client.request(method, place, json=body)
        if response.status_code != httpx.codes.OK:
            raise ValueError(f"status {response.status_code}")
        content = response.json()
        if not isinstance(content, dict):
            raise ValueError("no JSON object")
    except (httpx.HTTPError, ValueError) as error:
        raise EvaluationError(
            f"The server did not answer '{place}' as OpenAI's interface does ({error}); check that "
            "it is running."
        ) from None
    return content


def message_interview(reply: Reply, show: Callable[[Image.Image], dict[str, Any]]) -> Interview:
    """Return an interview by messages: the four questions of a case, one after the other.

    Args:
        reply: Answers a conversation whose first message holds the photo.
        show: Turns a photo into that message's part.
    """

    def converse(case: EvalCase) -> list[Answer]:
        messages: Messages = []
        answers = []
        for question in QUESTIONS:
            content: list[dict[str, Any]] = [{"type": "text", "text": question}]
            if not messages:
                content.insert(0, show(open_photo(case.image)))
            messages.append({"role": "user", "content": content})
            began = time.perf_counter()
            text, tokens = reply(messages)
            seconds = round(time.perf_counter() - began, 3)
            # The answer goes back into the conversation, as the next question builds on it.
            said = [{"type": "text", "text": text}]
            messages.append({"role": "assistant", "content": said})
            answers.append(Answer(question, text, None, seconds, tokens))
        return answers

    return lambda cases: [converse(case) for case in cases]
