"""What keeps photos and text off the disk, and in memory no longer than they are needed.

The page sends nothing to the disk. The folder is for what Gradio may want to write all the same.
"""

import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from skingpt4.demo.session import Sessions

logger = logging.getLogger(__name__)

# Names the folder in which Gradio puts what visitors send.
UPLOADS_VARIABLE = "GRADIO_TEMP_DIR"

# What lies in the folder for so long has been forgotten there.
FILE_SECONDS = 60

# How often it is looked for what is due.
SWEEP_SECONDS = 2


@contextmanager
def private_folder() -> Iterator[Path]:
    """Give Gradio a folder for files that only this user can read, and delete it at the end.

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
            if now - path.stat().st_mtime <= FILE_SECONDS:
                continue
            if path.is_dir():
                path.rmdir()
            else:
                path.unlink()
                deleted += 1
    return deleted


@contextmanager
def janitor(folder: Path, sessions: Sessions) -> Iterator[None]:
    """Keep deleting what is due, in the background.

    Args:
        folder: What :func:`private_folder` gave.
        sessions: The visitors: those whose time is over are forgotten.
    """
    is_over = threading.Event()

    def work() -> None:
        while not is_over.wait(SWEEP_SECONDS):
            try:
                sweep(folder, time.time())
                now = time.monotonic()
                for key in sessions.due(now):
                    sessions.close(key)
                for session in list(sessions.open.values()):
                    session.forget_removed(now)
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
        for key in list(sessions.open):
            sessions.close(key)
