"""What keeps photos and text on this machine, and off its disk."""

import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from skingpt4.common.errors import PhotoError

logger = logging.getLogger(__name__)

# Names the folder in which Gradio puts what visitors send.
UPLOADS_VARIABLE = "GRADIO_TEMP_DIR"

# An upload is read and deleted at once; one whose tab was closed in between goes after this.
UPLOAD_SECONDS = 60

# What a visitor showed and said is forgotten after so long without any action.
IDLE_SECONDS = 30 * 60

# How often it is looked for what is due.
SWEEP_SECONDS = 10


@contextmanager
def private_folder() -> Iterator[Path]:
    """Give Gradio a folder for uploads that only this user can read, and delete it at the end.

    The page must be built inside, because its parts remember the folder they were made with.
    """
    before = os.environ.get(UPLOADS_VARIABLE)
    # Made with mode 700, whatever the umask is.
    folder = Path(tempfile.mkdtemp(prefix="skingpt4-"))
    os.environ[UPLOADS_VARIABLE] = str(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.environ.pop(UPLOADS_VARIABLE)
        if before is not None:
            os.environ[UPLOADS_VARIABLE] = before


def own_upload(path: str) -> Path:
    """Return an upload's path, having checked that it is one.

    A browser sends the path along; a crafted request could name any file of this machine, to be
    shown or deleted.

    Raises:
        PhotoError: If the path leads out of the folder for uploads.
    """
    # Resolved first, so that neither ".." nor a link leads out.
    resolved = Path(path).resolve()
    folder = os.environ.get(UPLOADS_VARIABLE)
    if not folder or not resolved.is_relative_to(Path(folder).resolve()):
        sentence = "The photo was not uploaded through this page; please send it again."
        raise PhotoError(sentence, "foreign_upload")
    return resolved


def read_upload(path: Path) -> bytes:
    """Read an uploaded file.

    Raises:
        PhotoError: If it is gone, as when another visitor sent and finished the same file just now.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        sentence = "The upload did not arrive whole; please send the photo again."
        raise PhotoError(sentence, "broken_upload") from error


def delete_upload(path: Path) -> None:
    """Delete an uploaded file from the disk, with the folder that was made for it."""
    with suppress(OSError):
        path.unlink()
        # Gradio makes a folder for each file, named by its content's hash.
        path.parent.rmdir()


def sweep(folder: Path, now: float) -> int:
    """Delete the files in the private folder that are due, and the folders left empty.

    Args:
        folder: What :func:`private_folder` gave.
        now: Seconds since the epoch, as the files' times of change.

    Returns:
        How many files were deleted.
    """
    deleted = 0
    for path in sorted(folder.rglob("*"), reverse=True):  # files come before their folders
        with suppress(OSError):  # gone by now, or a folder that is not empty
            if now - path.stat().st_mtime <= UPLOAD_SECONDS:
                continue
            if path.is_dir():
                path.rmdir()
            else:
                path.unlink()
                deleted += 1
    return deleted


@contextmanager
def janitor(
    folder: Path, idle: Callable[[float], list[str]], forget: Callable[[str], object]
) -> Iterator[None]:
    """Keep deleting what is due, in the background.

    Args:
        folder: What :func:`private_folder` gave.
        idle: Names the visitors who did nothing for so many seconds.
        forget: Forgets one of them.
    """
    is_over = threading.Event()

    def work() -> None:
        while not is_over.wait(SWEEP_SECONDS):
            try:
                sweep(folder, time.time())
                for key in idle(IDLE_SECONDS):
                    forget(key)
            except Exception as error:  # the next round tries again
                logger.error("Cleaning up failed: %s", type(error).__name__)

    # A daemon: it must not keep a process alive that fails while it starts.
    worker = threading.Thread(target=work, name="janitor", daemon=True)
    worker.start()
    try:
        yield
    finally:
        is_over.set()
        worker.join()
