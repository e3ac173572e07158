"""Questions from the command line: one that streams to the terminal, or a folder of photos."""

import json
import logging
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from torch import Tensor
from tqdm import tqdm

from skingpt4.common.errors import ConfigError, PhotoError, UserError
from skingpt4.common.files import write_atomically
from skingpt4.conversation.chat import Chat
from skingpt4.conversation.conversation import Conversation
from skingpt4.conversation.engines import Decoding
from skingpt4.demo.features.report_draft import model_name
from skingpt4.dermatology import DISCLAIMER

logger = logging.getLogger(__name__)

PHOTO_ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""File endings that count as photos in a folder; what is in them decides whether they open."""

BATCH_SIZE = 8
"""Photos of a folder that are asked about at once."""

Row = dict[str, Any]


def ask(
    chat: Chat, photos: Sequence[str | Path], question: str, out: TextIO, as_json: bool = False
) -> None:
    """Ask one question about photos.

    Args:
        chat: Answers.
        photos: One or more files, which the question is about together.
        question: What to ask.
        out: Gets the answer piece by piece; with `as_json` one line of JSON at the end.
        as_json: Write an object with photos, question, answer, seconds, model and disclaimer.

    Raises:
        UserError: If a photo or the question cannot be used.
    """
    start = time.perf_counter()
    pieces = []
    for piece in _stream(chat, photos, question):
        pieces.append(piece)
        if not as_json:
            out.write(piece)
            out.flush()
    if as_json:
        row: Row = {"photos": [str(photo) for photo in photos], "question": question}
        row |= {"answer": "".join(pieces), "seconds": round(time.perf_counter() - start, 3)}
        out.write(_line(row | _about(chat)))
    else:
        out.write("\n")
        logger.info("%s", " ".join(filter(None, (chat.model.notice, DISCLAIMER))))


def ask_folder(
    chat: Chat,
    folder: str | Path,
    questions: Sequence[str],
    output: str | Path,
    batch_size: int = BATCH_SIZE,
) -> None:
    """Ask the same questions, as one conversation, about each photo of a folder.

    Some photos are asked about at once, and a line of JSON for each is added to `output`. A run
    that was cut short goes on where it stopped; photos that could not be opened then are tried
    again.

    Args:
        chat: Answers.
        folder: Searched with its subfolders for files that end as photos do.
        questions: In the order in which they are asked.
        output: File of JSON lines: ``photo``, ``answers`` and ``model``; or ``photo`` and
            ``error``.
        batch_size: Photos that are asked about at once.

    Raises:
        ConfigError: If `batch_size` is not positive, there is no photo, or `output` holds answers
            to other questions or of another model.
        UserError: If somebody presses Ctrl+C.
    """
    if batch_size < 1:
        raise ConfigError(f"--batch-size is {batch_size}; give a number of at least 1.")
    photos = _photos(Path(folder))
    done = _resume(Path(output), questions, _about(chat))
    left = [photo for photo in photos if _name(photo, folder) not in done]
    logger.info("%d of %d photos are left to ask about", len(left), len(photos))
    try:
        with (
            Path(output).open("a", encoding="utf-8") as file,
            tqdm(initial=len(photos) - len(left), total=len(photos), unit="photo") as bar,
        ):
            for start in range(0, len(left), batch_size):
                some = left[start : start + batch_size]
                for photo, row in zip(some, _converse(chat, some, questions), strict=True):
                    file.write(_line({"photo": _name(photo, folder)} | row | _about(chat)))
                file.flush()
                os.fsync(file.fileno())
                bar.update(len(some))
    except KeyboardInterrupt:
        raise UserError(
            f"Stopped; the answers so far are in '{output}', and the same command goes on from "
            "there."
        ) from None


def _stream(chat: Chat, photos: Sequence[str | Path], question: str) -> Iterator[str]:
    conversation = chat.new_conversation()
    embeddings: list[Tensor] = []
    for photo in photos:
        chat.upload_img(photo, conversation, embeddings)
    chat.ask(question, conversation)
    yield from chat.stream_answer(conversation, embeddings)


@dataclass
class _Talk:
    """One photo's conversation, and what is written about it."""

    conversation: Conversation
    photos: list[Tensor] = field(default_factory=list)
    row: Row = field(default_factory=dict)


def _converse(chat: Chat, photos: Sequence[Path], questions: Sequence[str]) -> list[Row]:
    """Ask about several photos; one that cannot be opened becomes a row that says why."""
    talks = [_open(chat, photo) for photo in photos]
    going = [talk for talk in talks if talk.photos]
    for question in questions if going else ():
        for talk in going:
            chat.ask(question, talk.conversation)
        said = chat.answer_batch(
            [talk.conversation for talk in going], [talk.photos for talk in going], Decoding()
        )
        for talk, answer in zip(going, said, strict=True):
            talk.row["answers"].append({"question": question, "answer": answer.text})
    return [talk.row for talk in talks]


def _open(chat: Chat, photo: Path) -> _Talk:
    talk = _Talk(chat.new_conversation())
    try:
        chat.upload_img(photo, talk.conversation, talk.photos)
        talk.row["answers"] = []
    except PhotoError as error:
        talk.row["error"] = str(error)
    return talk


def _photos(folder: Path) -> list[Path]:
    found = [path for path in folder.rglob("*") if path.suffix.lower() in PHOTO_ENDINGS]
    if not found:
        raise ConfigError(
            f"--batch {folder}: there is no photo in this folder ({', '.join(PHOTO_ENDINGS)}); "
            "check the path."
        )
    return sorted(found)


def _name(photo: Path, folder: str | Path) -> str:
    return photo.relative_to(folder).as_posix()


def _resume(output: Path, questions: Sequence[str], about: Row) -> set[str]:
    """Return the photos already answered, and leave only their lines in the file.

    Raises:
        ConfigError: If a line answers other questions, or comes from another model.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    rows = [row for row in _read(output) if "answers" in row]
    for row in rows:
        asked = [answer["question"] for answer in row["answers"]]
        if asked != list(questions) or row["model"] != about["model"]:
            raise ConfigError(
                f"--output {output} holds answers to other questions or of another model "
                f"('{row['model']}'); choose another file, or delete it."
            )

    def write(file: Path) -> None:
        file.write_text("".join(map(_line, rows)), encoding="utf-8")

    write_atomically(output, write)
    return {row["photo"] for row in rows}


def _read(output: Path) -> list[Row]:
    """Read the rows of a file, less a last line that was cut short."""
    if not output.is_file():
        return []
    whole = output.read_text(encoding="utf-8").rpartition("\n")[0]
    try:
        return [json.loads(line) for line in whole.splitlines() if line]
    except ValueError:
        raise ConfigError(f"--output {output} is no file of answers; choose another.") from None


def _about(chat: Chat) -> Row:
    return {"model": model_name(chat.model.config), "disclaimer": DISCLAIMER}


def _line(row: Row) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"
