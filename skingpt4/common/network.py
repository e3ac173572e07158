"""Refuses every connection that would leave this machine, and counts the attempts.

Python itself reports each socket operation to an audit hook before it happens, whichever library
asks; what the hook refuses, does not happen. Code that opens sockets without Python is not seen
here: for that the tests run the page in a network namespace of its own, without any network.
"""

import ipaddress
import logging
import sys
from typing import Any
from urllib.parse import urlsplit

from skingpt4.common.downloads import is_remote
from skingpt4.common.errors import ConfigError, UserError
from skingpt4.common.schema import ModelConfig

logger = logging.getLogger(__name__)

LOCAL_NAMES = ("localhost", "ip6-localhost")

# Python's events: those with (socket, address, …) as arguments, and those with (host, …).
CONNECTIONS = ("socket.connect", "socket.sendto", "socket.sendmsg")
LOOK_UPS = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr")


class OfflineError(UserError, OSError):
    """Something tried to reach another machine; to libraries, a network that is down."""


class _Guard:
    """What the hook does at present; Python cannot take a hook back."""

    is_on = False
    is_installed = False
    refused: list[str] = []  # noqa: RUF012 - one process, one guard


def go_offline() -> None:
    """Refuse connections to other machines from now on, in every thread of this process."""
    if not _Guard.is_installed:
        sys.addaudithook(_refuse_others)
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
    name = host.lower().rstrip(".")
    address = _address(name)
    return name in LOCAL_NAMES if address is None else address.is_loopback


def is_local(host: str) -> bool:
    """Tell whether a connection to a host stays on this machine, as it does to ``0.0.0.0``."""
    return host in ("", "0.0.0.0", "::") or is_loopback(host)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Read a numeric address, whose zone (``%eth0``) says nothing about the machine."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


def _refuse_others(event: str, arguments: tuple[Any, ...]) -> None:
    """Raise for a connection to another machine; called by Python before each of its events."""
    is_look_up = event in LOOK_UPS
    if not _Guard.is_on or not (is_look_up or event in CONNECTIONS):
        return
    host: str | bytes | bytearray | None
    if is_look_up:
        host = arguments[0]
    else:  # sockets of the file system have no address of this form
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) and address else None
    if host is None:
        return
    if not isinstance(host, str):
        host = bytes(host).decode("ascii", errors="replace")
    # An address needs no look-up; connecting to it is seen later.
    if is_local(host) or (is_look_up and _address(host) is not None):
        return
    _Guard.refused.append(host)
    logger.warning("Offline: a connection to %s was refused.", host)
    raise OfflineError(
        f"Offline, nothing may connect to {host}; use files of this machine, or start with "
        "--online to allow it."
    )


def settle_offline(wanted: bool | None, model: ModelConfig, share: bool) -> bool:
    """Decide whether connections to other machines are refused.

    Args:
        wanted: ``--offline`` or ``--online``; None refuses them unless something below needs them.
        model: Whose weights may have to be fetched, and whose engine may be a server elsewhere.
        share: Whether a public link is to be made.

    Raises:
        ConfigError: If being offline is asked for together with something that needs others.
    """
    weights = {
        key: getattr(model, key) for key in ("vit_weights", "q_former_model", "llm_model", "ckpt")
    }
    needs = [f"model.{key}={name}" for key, name in weights.items() if is_remote(name)]
    if model.engine == "vllm" and not is_local(urlsplit(model.engine_url).hostname or ""):
        needs.append(f"model.engine_url={model.engine_url}")
    if share:
        needs.append("--share")
    if wanted and needs:
        raise ConfigError(f"--offline cannot be kept with {' and '.join(needs)}; leave one out.")
    return not needs if wanted is None else wanted
