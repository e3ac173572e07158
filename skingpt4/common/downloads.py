"""Where model files come from: a path, an address on the web, or a Hugging Face id."""

import hashlib
import logging
import os
import re
from pathlib import Path

import httpx
from huggingface_hub import snapshot_download
from iopath.common import file_lock
from tqdm import tqdm

from skingpt4.common.errors import WeightsError
from skingpt4.common.files import PROJECT_ROOT, sha256_of

logger = logging.getLogger(__name__)

URL_PREFIXES = ("http://", "https://")
CACHE_VARIABLE, DEFAULT_CACHE = "SKINGPT4_CACHE", "~/.cache/skingpt4"
CHECKSUM_MARK = "sha256="

# What a repository's weights and tokenizer consist of; pickled weights only where it has no others.
HUB_PATTERNS = ("*.safetensors", "*.json", "*.model", "*.txt")
HUB_PICKLES = ("*.bin",)
# A second copy of the same weights in another form.
HUB_COPIES = ("consolidated*", "original/*")

_HUB_ID = re.compile(r"\w[\w.-]*/[\w.-]+")
_FILE_ENDINGS = (".bin", ".gguf", ".json", ".pt", ".pth", ".safetensors", ".txt", ".yaml")

_ATTEMPTS = 4
_TIMEOUT_SECONDS = 60


def resolve(name: str) -> str:
    """Return a local path: of what is local already, or of what was fetched into the cache.

    Addresses on the web go to ``$SKINGPT4_CACHE`` (default ``~/.cache/skingpt4``); a broken
    download goes on where it stopped, and ``#sha256=…`` at the end of an address is checked. A
    Hugging Face id goes to that library's own cache. Everything else is returned as it is.

    Raises:
        WeightsError: If it cannot be fetched or its checksum differs.
    """
    if name.startswith(URL_PREFIXES):
        return str(_fetch(name))
    return _fetch_repository(name) if is_hub_id(name) else name


def cache_folder(name: str) -> Path:
    """Return the folder of the cache for what comes of an address or file; it may not be there."""
    cached = Path(os.environ.get(CACHE_VARIABLE) or DEFAULT_CACHE).expanduser()
    # The hash keeps files of the same name apart.
    return cached / hashlib.sha256(name.encode()).hexdigest()[:16]


def is_remote(name: str) -> bool:
    """Tell whether a name means something to be fetched: an address or a Hugging Face id."""
    return name.startswith(URL_PREFIXES) or is_hub_id(name)


def is_hub_id(name: str) -> bool:
    """Tell whether a name is a Hugging Face id, ``organisation/model``.

    A name in a folder that exists, or with the ending of a weight file, is a path.
    """
    if not _HUB_ID.fullmatch(name) or name.endswith(_FILE_ENDINGS):
        return False
    folder = name.partition("/")[0]
    return not (Path(folder).is_dir() or (PROJECT_ROOT / folder).is_dir())


def _fetch(url: str) -> Path:
    """Return the cached file of an address, fetched if it is not there."""
    address, _, fragment = url.partition("#")
    folder = cache_folder(url)
    target = folder / address.partition("?")[0].rstrip("/").rpartition("/")[2]
    folder.mkdir(parents=True, exist_ok=True)
    # Of several processes that start together, one fetches and the others wait.
    with file_lock(str(target)):
        if not target.is_file():
            part = target.with_name(target.name + ".part")
            _download(address, part)
            found, wanted = "", fragment.removeprefix(CHECKSUM_MARK).lower()
            if fragment.startswith(CHECKSUM_MARK) and (found := sha256_of(part)) != wanted:
                part.unlink()
                raise WeightsError(
                    f"What '{address}' sent has the checksum {found[:12]}…, not {wanted[:12]}…; it "
                    "is damaged or another file, and was deleted."
                )
            part.replace(target)
    return target


def _download(address: str, part: Path) -> None:
    """Fetch an address into ``part``, going on after what is there already."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            if _append(address, part):
                return
            reason = "the connection ended early"
        except httpx.RemoteProtocolError:
            reason = "the connection ended early"
        except httpx.HTTPStatusError as error:
            reason = f"HTTP Error {error.response.status_code}: {error.response.reason_phrase}"
            if error.response.status_code < 500:  # asking again will not help
                break
        except (OSError, httpx.HTTPError, httpx.InvalidURL) as error:
            reason = " ".join(str(error).split())[:160]
        logger.warning("Attempt %d to fetch %s: %s", attempt, address, reason)
    raise WeightsError(
        f"'{address}' could not be fetched ({reason}); check the address and the connection and "
        "start again, which goes on where it stopped, or name a file that you have."
    )


def _append(address: str, part: Path) -> bool:
    """Fetch what ``part`` lacks; tell whether it is whole now."""
    have = part.stat().st_size if part.exists() else 0
    # Compressed on the way, the bytes would be others than those that a range counts.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with httpx.stream(
        "GET", address, headers=headers, timeout=_TIMEOUT_SECONDS, follow_redirects=True
    ) as response:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            # Nothing lies beyond what we have: all of it, or the remains of another file.
            is_whole = response.headers.get("Content-Range", "") == f"bytes */{have}"
            if not is_whole:
                part.unlink()
            return is_whole
        response.raise_for_status()
        # A server that does not know ranges sends all again.
        have = have if response.status_code == httpx.codes.PARTIAL_CONTENT else 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        # Pieces as they arrive: of a larger one a broken connection would lose what had come.
        with (
            part.open("ab" if have else "wb") as file,
            tqdm.wrapattr(
                file, "write", total=total, initial=have, desc=part.stem, disable=None
            ) as sink,
        ):
            for piece in response.iter_raw():
                sink.write(piece)
    return total is None or part.stat().st_size == total


def _fetch_repository(name: str) -> str:
    """Return the folder of a Hugging Face repository's weights, configuration and tokenizer."""
    try:
        # Pickled weights only where the first look finds no others.
        for patterns in (HUB_PATTERNS, (*HUB_PATTERNS, *HUB_PICKLES)):
            folder = snapshot_download(
                name, allow_patterns=list(patterns), ignore_patterns=list(HUB_COPIES)
            )
            if any(Path(folder).glob("*.safetensors")):
                break
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise WeightsError(
            f"'{name}' is no folder here, and as a Hugging Face id it could not be fetched "
            f"({reason}); check the name, the connection, and 'hf auth login' if it is gated."
        ) from None
    return folder
