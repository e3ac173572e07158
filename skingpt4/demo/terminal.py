"""Questions from the command line: one that streams to the terminal, or a folder of photos."""

import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from PIL import Image
from tqdm import tqdm

from skingpt4.common.environment import model_name
from skingpt4.common.errors import ConfigError, PhotoError
from skingpt4.common.files import IMAGE_SUFFIXES, json_line, read_json_lines, write_json_lines
from skingpt4.common.schema import ModelConfig
from skingpt4.conversation.chat import Chat, checked_question
from skingpt4.conversation.engines import Decoding
from skingpt4.conversation.interview import interview
from skingpt4.dermatology import DISCLAIMER
from skingpt4.processors.photo import open_photo
from skingpt4.processors.photo_quality import shows_skin

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)

# How each line of a batch's output begins.
FIRST_KEY = b'{"photo": '

NO_SKIN = (
    "There seems to be no skin in this photo, so no condition is named; add --even-without-skin to "
    "ask all the same."
)

# A photo that has been opened, by the path as it was given.
NamedPhoto = tuple[str, Image.Image]


def open_photos(
    paths: Sequence[str], question: str, even_without_skin: bool | None = False
) -> list[NamedPhoto]:
    """Open the photos of a question, and see that it is one, before the model is loaded.

    Args:
        paths: As they were given.
        question: What will be asked.
        even_without_skin: Take photos, too, in which there seems to be no skin.

    Raises:
        ConfigError: If the question is a photo, or a photo cannot be read.
        ChatError: If the question is empty or too long.
        PhotoError: If a file is no photo, or one without skin.
    """
    checked_question(question)
    if question.lower().endswith(IMAGE_SUFFIXES):
        raise ConfigError(f"--ask ends with a photo, '{question}'; write the question after it.")
    opened = []
    for path in paths:
        whole = Path(path).absolute()
        if whole.is_dir():
            raise ConfigError(f"--ask {whole} is a folder; --batch asks about the photos in one.")
        if not whole.is_file():  # also keeps devices and pipes from blocking
            raise ConfigError(f"--ask {whole}: there is no such file; check the path.")
        try:
            # As a stream, so that the error does not name the file a second time.
            with whole.open("rb") as file:
                photo = open_photo(file)
        except OSError as error:
            raise ConfigError(f"--ask {whole} cannot be read: {error.strerror}.") from None
        except PhotoError as error:
            raise PhotoError(f"--ask {whole}: {error}") from None
        if not even_without_skin and not shows_skin(photo):
            raise PhotoError(f"--ask {whole}: {NO_SKIN}")
        opened.append((path, photo))
    return opened


def ask(
    chat: Chat,
    photos: Sequence[NamedPhoto],
    question: str,
    out: TextIO,
    as_json: bool | None = False,
) -> None:
    """Ask one question about photos.

    Args:
        chat: Answers.
        photos: One or more, which the question is about together.
        question: What to ask.
        out: Gets the answer piece by piece and then what must be known of it; with `as_json` one
            line of JSON at the end.
        as_json: Write an object with photos, question, answer, seconds, model, notice and
            disclaimer.

    Raises:
        UserError: If the question cannot be used.
    """
    about = _about(chat)
    start = time.perf_counter()
    conversation = chat.new_conversation()
    embeddings: list[Tensor] = []
    for _, photo in photos:
        chat.upload_img(photo, conversation, embeddings)
    chat.ask(question, conversation)
    pieces = []
    for piece in chat.stream_answer(conversation, embeddings):
        pieces.append(piece)
        if not as_json:
            out.write(piece)
            out.flush()
    if as_json:
        row: dict[str, Any] = {"photos": [path for path, _ in photos], "question": question}
        row |= {"answer": "".join(pieces), "seconds": round(time.perf_counter() - start, 3)}
        out.write(json_line(row | about))
    else:
        # With the answer, so that it is wherever the answer goes: a pipe, a file, --quiet.
        out.write(f"\n\n{about['notice']}\n")
        logger.info("%s", DISCLAIMER)


def _about(chat: Chat) -> dict[str, str]:
    """Return what stands beside every answer; the notice is never empty."""
    notice = chat.model.notice or DISCLAIMER
    name = model_name(chat.model.config)
    return {"model": name, "notice": notice, "disclaimer": DISCLAIMER}


@dataclass(frozen=True)
class BatchPlan:
    """The same questions about each photo of a folder, as far as they are not answered yet.

    Attributes:
        questions: In the order in which they are asked, as one conversation.
        output: File of JSON lines: ``photo``, ``answers`` and ``model``; or ``photo`` and
            ``error``.
        size: Photos that are asked about at once.
        photos: All of the folder, by their paths in it.
        rows: Lines of `output` from an earlier run that hold answers.
    """

    questions: Sequence[str]
    output: Path
    size: int
    photos: Mapping[str, Path]
    rows: Sequence[Mapping[str, Any]]


def plan_batch(
    folder: str, questions: Sequence[str], output: str, size: int, model: ModelConfig
) -> BatchPlan:
    """Look at a folder and at the answers that an earlier run left; nothing is written.

    Args:
        folder: Searched with its subfolders for files that end as photos do.
        questions: In the order in which they are asked.
        output: File for the answers; photos that could not be opened before are tried again.
        size: Photos that are asked about at once.
        model: Which will answer.

    Raises:
        ConfigError: If there is no photo, `size` is not positive, or `output` cannot be written
            or holds answers to other questions or of another model.
        ChatError: If a question is empty or too long.
    """
    if size < 1:
        raise ConfigError(f"--batch-size is {size}; give a number of at least 1.")
    for question in questions:
        checked_question(question)
    place, target = Path(folder).absolute(), Path(output).absolute()
    if not place.is_dir():
        raise ConfigError(f"--batch {place}: there is no such folder; check the path.")
    found = sorted(p for p in place.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise ConfigError(
            f"--batch {place}: there is no photo in this folder ({', '.join(IMAGE_SUFFIXES)}); "
            "check the path."
        )
    # The folder that the output is made in, or that its own folders are.
    parent = next(path for path in target.parents if path.exists())
    written = [path for path in (target, parent) if path.exists()]
    if target.is_dir() or not parent.is_dir() or not all(os.access(p, os.W_OK) for p in written):
        raise ConfigError(f"--output {target} cannot be written; name a file in a folder of yours.")
    photos = {photo.relative_to(place).as_posix(): photo for photo in found}
    return BatchPlan(
        questions, target, size, photos, _answered(target, questions, model_name(model))
    )


def _answered(output: Path, questions: Sequence[str], model: str) -> list[Mapping[str, Any]]:
    """Return the lines of a file that hold answers.

    Raises:
        ConfigError: If one answers other questions, or comes from another model.
    """
    start = output.read_bytes()[: len(FIRST_KEY)] if output.is_file() else b""
    try:
        rows = read_json_lines(output) if start else []
        # A file of one line that was cut short has no row to tell by.
        if not FIRST_KEY.startswith(start) or not all("photo" in row for row in rows):
            raise ValueError
        rows = [row for row in rows if "error" not in row]
        runs = {(tuple(a["question"] for a in row["answers"]), row["model"]) for row in rows}
    except (ValueError, TypeError, KeyError):
        raise ConfigError(f"--output {output} is no file of answers; choose another.") from None
    for asked, by in runs:
        if asked != tuple(questions) or by != model:
            raise ConfigError(
                f"--output {output} holds answers to other questions or of another model "
                f"('{by}'); choose another file, or delete it."
            )
    return rows


def ask_folder(chat: Chat, batch: BatchPlan, even_without_skin: bool | None = False) -> int:
    """Ask about each photo, some at once, and add a line of JSON for each to the output.

    A run that was cut short goes on where it stopped; photos that could not be opened then are
    tried again.

    Args:
        chat: Answers.
        batch: From :func:`plan_batch`.
        even_without_skin: Ask about photos, too, in which there seems to be no skin.

    Returns:
        How many photos could not be asked about.

    Raises:
        ConfigError: If the output cannot be written any more.
        KeyboardInterrupt: With a sentence, if the user presses Ctrl+C.
    """
    about = _about(chat)
    done = {row["photo"] for row in batch.rows}
    left = [name for name in batch.photos if name not in done]
    total, failed = len(batch.photos), 0
    is_quiet = not logger.isEnabledFor(logging.INFO)
    try:
        logger.info("%d of %d photos are left to ask about", len(left), total)
        with _writing(batch.output):  # without the lines of photos that failed
            write_json_lines(batch.output, batch.rows)
        with tqdm(initial=total - len(left), total=total, unit="photo", disable=is_quiet) as bar:
            for start in range(0, len(left), batch.size):
                some = left[start : start + batch.size]
                photos = [batch.photos[name] for name in some]
                rows = _converse(chat, photos, batch.questions, even_without_skin)
                failed += sum("error" in row for row in rows)
                named = zip(some, rows, strict=True)
                lines = [json_line({"photo": name} | row | about) for name, row in named]
                with _writing(batch.output), batch.output.open("a", encoding="utf-8") as file:
                    file.writelines(lines)
                    # A batch takes minutes on a CPU: a power cut should cost no more than one.
                    file.flush()
                    os.fsync(file.fileno())
                bar.update(len(some))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"Stopped; the answers so far are in {batch.output}, and the same command goes on "
            "from there."
        ) from None
    logger.info("%d photos are answered, in %s", total - failed, batch.output)
    if failed:
        logger.error(
            "%d of %d photos were not asked about: their lines in %s say why, and the same command "
            "tries them again",
            failed,
            total,
            batch.output,
        )
    return failed


@contextmanager
def _writing(output: Path) -> Iterator[None]:
    """Say in one sentence that the output cannot be written, as when the disk is full."""
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"--output {output} cannot be written: {error.strerror}; the same command goes on once "
            "it can."
        ) from None


def _converse(
    chat: Chat, photos: Sequence[Path], questions: Sequence[str], even_without_skin: bool | None
) -> list[dict[str, Any]]:
    """Ask about several photos; one that cannot be asked about becomes a row that says why."""
    rows: list[dict[str, Any]] = []
    encoded: list[Tensor] = []
    for photo in photos:
        # One by one, so that a photo that cannot be opened costs the others nothing.
        try:
            opened = open_photo(photo)
            if not even_without_skin and not shows_skin(opened):
                raise PhotoError(NO_SKIN)
            encoded += chat.encode_photos([opened])
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
