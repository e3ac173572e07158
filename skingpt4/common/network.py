"""Refuses every connection that would leave this machine, and counts the attempts.

Python itself reports each socket operation to an audit hook before it happens, whichever library
asks; what the hook refuses, does not happen. Code that opens sockets without Python is not seen
here: for that the tests run the page in a network namespace of its own, without any network.
"""

import ipaddress
import logging
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from skingpt4.common.downloads import is_remote
from skingpt4.common.errors import ConfigError, UserError
from skingpt4.common.schema import ModelConfig

logger = logging.getLogger(__name__)

LOCAL_NAMES = ("localhost", "ip6-localhost")


class OfflineError(UserError, OSError):
    """Something tried to reach another machine; to libraries, a network that is down."""


class _Guard:
    """What the hook, which Python cannot take back, does at present."""

    is_on = False
    is_installed = False
    refused: list[str] = []  # noqa: RUF012 - one process, one guard


def go_offline() -> None:
    """Refuse connections to other machines from now on, in every thread of this process."""
    if not _Guard.is_installed:
        sys.addaudithook(_on_event)
        _Guard.is_installed = True
    _Guard.is_on = True


def go_online() -> None:
    """Allow connections again, and forget which were refused."""
    _Guard.is_on = False
    _Guard.refused.clear()


def is_offline() -> bool:
    """Tell whether connections to other machines are refused."""
    return _Guard.is_on


def refused_connections() -> tuple[str, ...]:
    """Name the machines that something has tried to reach in vain, one entry an attempt."""
    return tuple(_Guard.refused)


def is_loopback(host: str) -> bool:
    """Tell whether a name or address means this machine and is reached from nowhere else.

    Nothing is looked up; a name other than ``localhost`` counts as another machine, for asking
    about it already leaves this one.
    """
    name = host.lower().rstrip(".").partition("%")[0]
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name in LOCAL_NAMES


def is_local(host: str) -> bool:
    """Tell whether a connection to a host stays on this machine, as it does to ``0.0.0.0``."""
    return host in ("", "0.0.0.0", "::") or is_loopback(host)


def _on_event(event: str, arguments: tuple[Any, ...]) -> None:
    if _Guard.is_on and event in _READERS:
        host = _READERS[event](arguments)
        if host is not None and not is_local(host):
            _refuse(host)


def _refuse(host: str) -> None:
    _Guard.refused.append(host)
    logger.warning("Offline: a connection to %s was refused.", host)
    raise OfflineError(
        f"Offline, nothing may connect to {host}; use files of this machine, or start with "
        "--online to allow it."
    )


def _addressed(arguments: tuple[Any, ...]) -> str | None:
    """Read the host of ``(socket, address)``; sockets of the file system have none."""
    address = arguments[1]
    return _text(address[0]) if isinstance(address, tuple) and address else None


def _looked_up(arguments: tuple[Any, ...]) -> str | None:
    """Read the host of a look-up; an address needs none, and connecting to it is seen later."""
    host = arguments[0]
    if host is None:
        return None
    try:
        ipaddress.ip_address(_text(host).partition("%")[0])
    except ValueError:
        return _text(host)
    return None


def _text(host: str | bytes | bytearray) -> str:
    return host if isinstance(host, str) else bytes(host).decode("ascii", errors="replace")


_READERS: dict[str, Callable[[tuple[Any, ...]], str | None]] = {
    "socket.connect": _addressed,
    "socket.sendto": _addressed,
    "socket.sendmsg": _addressed,
    "socket.getaddrinfo": _looked_up,
    "socket.gethostbyname": _looked_up,
    "socket.gethostbyaddr": _looked_up,
}
"""How the host is read from the arguments of each event that Python reports."""


def settle_offline(wanted: bool | None, model: ModelConfig, share: bool) -> bool:
    """Decide whether connections to other machines are refused.

    Args:
        wanted: ``--offline`` or ``--online``; None refuses them unless something below needs them.
        model: Whose weights may have to be fetched, and whose engine may be a server elsewhere.
        share: Whether a public link is to be made.

    Raises:
        ConfigError: If being offline is asked for together with something that needs others.
    """
    needs = _needs(model, share)
    if wanted and needs:
        raise ConfigError(f"--offline cannot be kept with {' and '.join(needs)}; leave one out.")
    return not needs if wanted is None else wanted


def _needs(model: ModelConfig, share: bool) -> list[str]:
    """Name the settings that need other machines."""
    weights = {
        key: getattr(model, key) for key in ("vit_weights", "q_former_model", "llm_model", "ckpt")
    }
    needs = [f"model.{key}={name}" for key, name in weights.items() if is_remote(name)]
    if model.engine == "vllm" and not is_local(urlsplit(model.engine_url).hostname or ""):
        needs.append(f"model.engine_url={model.engine_url}")
    return [*needs, "--share"] if share else needs
