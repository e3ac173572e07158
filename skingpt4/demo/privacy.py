"""What keeps photos and text on this machine, and off its disk."""

import ipaddress
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from skingpt4.common.errors import ConfigError, PhotoError

UPLOADS_VARIABLE = "GRADIO_TEMP_DIR"
"""Names the folder in which Gradio puts what visitors send."""


@contextmanager
def private_folder() -> Iterator[Path]:
    """Give Gradio a folder for uploads that only this user can read, and delete it at the end.

    The page must be built inside, because its parts remember the folder they were made with.
    """
    before = os.environ.get(UPLOADS_VARIABLE)
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
    resolved = Path(path).resolve()
    folder = os.environ.get(UPLOADS_VARIABLE)
    if not folder or not resolved.is_relative_to(Path(folder).resolve()):
        raise PhotoError("The photo was not uploaded through this page; please send it again.")
    return resolved


def read_upload(path: Path) -> bytes:
    """Read an uploaded file.

    Raises:
        PhotoError: If it is gone, as when somebody else sent and finished the same file just now.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise PhotoError("The upload did not arrive whole; please send the photo again.") from error


def delete_upload(path: Path) -> None:
    """Delete an uploaded file from the disk, with the folder that was made for it."""
    with suppress(OSError):
        path.unlink()
        path.parent.rmdir()


def check_host(host: str, has_login: bool) -> None:
    """Refuse to show the page to other machines without a login.

    Raises:
        ConfigError: If `host` is not a loopback address and there is no login.
    """
    if not has_login and not _is_loopback(host):
        raise ConfigError(
            f"--host {host} would show people's photos to other machines without a login; "
            "add --auth user:password or leave --host out."
        )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
