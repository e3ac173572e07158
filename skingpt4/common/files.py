"""Reading and writing files safely: whole or not at all, each kind in one way."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from skingpt4.common.errors import DatasetError

PACKAGE_ROOT = Path(__file__).resolve().parents[1]
PROJECT_ROOT = PACKAGE_ROOT.parent

# Endings, in lower case, of the files that count as images when a folder or a shard is searched, in
# the order in which a name without one is tried. `processors.photo` opens what lies behind them.
IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".webp", ".heic", ".heif", ".hif", ".avif"),
    *(".tif", ".tiff", ".bmp", ".gif"),
)


def is_file(path: Path) -> bool:
    """Tell whether a path that a user gave is a file; it may be no possible path at all."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long, or with a null character
        return False


def write_atomically(path: str | Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, sync it, then rename it into place."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        # The name must not reach the disk before the content does: a power cut between the two
        # would leave an empty file under the right name.
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def clear_folder(folder: Path, own: Iterable[str], overwrite: bool) -> None:
    """Make an output folder, or delete what an earlier run wrote there and no more.

    Args:
        folder: The output.
        own: Names of the files and folders that are ours: what others have put there stays.
        overwrite: Whether there may be anything at all.

    Raises:
        DatasetError: If it is a file, or holds something and must not.
    """
    if folder.exists() and not folder.is_dir():
        raise DatasetError(f"The output '{folder}' is a file; name a folder.")
    if folder.exists() and any(folder.iterdir()) and not overwrite:
        raise DatasetError(
            f"The output folder '{folder}' is not empty; name another or add --overwrite."
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name in own:
        if (folder / name).is_dir():
            shutil.rmtree(folder / name, ignore_errors=True)  # a link to a folder stays a link
        else:
            (folder / name).unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file as UTF-8, atomically, with the line ends that the text has."""
    write_atomically(path, lambda file: file.write_bytes(text.encode("utf-8")))


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file's bytes, as hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def json_line(content: Mapping[str, Any]) -> str:
    """Return one line of a JSON-lines file, its line end included."""
    return json.dumps(content, ensure_ascii=False) + "\n"


def write_json_lines(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a whole file of JSON lines, atomically."""
    write_text(path, "".join(map(json_line, rows)))


def read_json_lines(path: str | Path) -> list[Any]:
    """Read a file of JSON lines; a last line that a crash cut short is left out.

    Raises:
        ValueError: If another line is no JSON, or the file no UTF-8.
    """
    whole, _, _cut = Path(path).read_bytes().rpartition(b"\n")
    # Not splitlines(): JSON may hold U+2028 as it is, which would count as a line's end.
    return [json.loads(line) for line in whole.decode("utf-8").split("\n") if line.strip()]


def load_data(name: str) -> Any:
    """Read one of the package's own tables, ``skingpt4/data/<name>``, a YAML file."""
    text = (resources.files("skingpt4") / "data" / name).read_text(encoding="utf-8")
    # The C parser is ten times as fast, and start-up waits for it; not every wheel has it.
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
