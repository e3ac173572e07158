"""Questions from the command line: one that streams to the terminal, or a folder of photos."""

import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from tqdm import tqdm

from skingpt4.common.environment import model_name
from skingpt4.common.errors import ConfigError, PhotoError, UserError
from skingpt4.common.files import IMAGE_SUFFIXES, json_line, read_json_lines, write_json_lines
from skingpt4.conversation.chat import Chat
from skingpt4.conversation.engines import Decoding
from skingpt4.conversation.interview import interview
from skingpt4.dermatology import DISCLAIMER

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)

# Photos of a folder that are asked about at once.
BATCH_SIZE = 8


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
    about = {"model": model_name(chat.model.config), "disclaimer": DISCLAIMER}
    start = time.perf_counter()
    conversation = chat.new_conversation()
    embeddings: list[Tensor] = []
    for photo in photos:
        chat.upload_img(photo, conversation, embeddings)
    chat.ask(question, conversation)
    pieces = []
    for piece in chat.stream_answer(conversation, embeddings):
        pieces.append(piece)
        if not as_json:
            out.write(piece)
            out.flush()
    if as_json:
        row: dict[str, Any] = {"photos": [str(photo) for photo in photos], "question": question}
        row |= {"answer": "".join(pieces), "seconds": round(time.perf_counter() - start, 3)}
        out.write(json_line(row | about))
    else:
        # To the log, which goes to stderr: a pipe gets the answer and nothing else.
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
        UserError: If the user presses Ctrl+C.
    """
    if batch_size < 1:
        raise ConfigError(f"--batch-size is {batch_size}; give a number of at least 1.")
    photos = sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
    if not photos:
        raise ConfigError(
            f"--batch {folder}: there is no photo in this folder ({', '.join(IMAGE_SUFFIXES)}); "
            "check the path."
        )
    names = {photo: photo.relative_to(folder).as_posix() for photo in photos}
    about = {"model": model_name(chat.model.config), "disclaimer": DISCLAIMER}
    done = _resume(Path(output), questions, about)
    left = [photo for photo in photos if names[photo] not in done]
    logger.info("%d of %d photos are left to ask about", len(left), len(photos))
    try:
        with (
            Path(output).open("a", encoding="utf-8") as file,
            tqdm(initial=len(photos) - len(left), total=len(photos), unit="photo") as bar,
        ):
            for start in range(0, len(left), batch_size):
                some = left[start : start + batch_size]
                for photo, row in zip(some, _converse(chat, some, questions), strict=True):
                    file.write(json_line({"photo": names[photo]} | row | about))
                # A batch takes minutes on a CPU: a power cut should cost no more than one.
                file.flush()
                os.fsync(file.fileno())
                bar.update(len(some))
    except KeyboardInterrupt:
        raise UserError(
            f"Stopped; the answers so far are in '{output}', and the same command goes on from "
            "there."
        ) from None


def _converse(chat: Chat, photos: Sequence[Path], questions: Sequence[str]) -> list[dict[str, Any]]:
    """Ask about several photos; one that cannot be opened becomes a row that says why."""
    rows: list[dict[str, Any]] = []
    encoded: list[Tensor] = []
    for photo in photos:
        # One by one, so that a photo that cannot be opened costs the others nothing.
        try:
            encoded += chat.encode_photos([photo])
        except PhotoError as error:
            rows.append({"error": str(error)})
        else:
            rows.append({"answers": []})
    answered = [row for row in rows if "answers" in row]
    said = interview(chat, encoded, questions, Decoding())
    for row, answers in zip(answered, said, strict=True):
        row["answers"] = [
            {"question": question, "answer": answer.text}
            for question, answer in zip(questions, answers, strict=True)
        ]
    return rows


def _resume(output: Path, questions: Sequence[str], about: dict[str, Any]) -> set[str]:
    """Return the photos already answered, and leave only their lines in the file.

    Raises:
        ConfigError: If a line answers other questions, or comes from another model.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        rows = read_json_lines(output) if output.is_file() else []
    except ValueError:
        raise ConfigError(f"--output {output} is no file of answers; choose another.") from None
    rows = [row for row in rows if "answers" in row]  # what could not be opened is tried again
    for row in rows:
        asked = [answer["question"] for answer in row["answers"]]
        if asked != list(questions) or row["model"] != about["model"]:
            raise ConfigError(
                f"--output {output} holds answers to other questions or of another model "
                f"('{row['model']}'); choose another file, or delete it."
            )
    write_json_lines(output, rows)
    return {row["photo"] for row in rows}
