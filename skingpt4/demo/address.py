"""Where the page is served and to whom: told on the command line, checked before the model loads.

Nothing here needs Gradio, so that a taken port or half a login is found in a moment.
"""

import errno
import ipaddress
import re
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from skingpt4.common.errors import ConfigError
from skingpt4.common.network import is_loopback

# Where no port is asked for, the first free one of these is taken.
PORTS = range(7860, 7960)

# Path under which a browser finds the page; empty where nothing stands before it.
ROOT_PATH = re.compile(r"(/[\w.~-]+)*")

# A socket that is bound to one of these is reached under all of this machine's addresses.
EVERY_INTERFACE = {"0.0.0.0": socket.AF_INET, "::": socket.AF_INET6}


@dataclass(frozen=True)
class Address:
    """Where the page is served, and to whom; each field is an option of ``demo.py``.

    Attributes:
        host: Of this machine's addresses, or one that stands for all.
        port: 0 for any; None for the first free one from 7860 on.
        share: Whether Gradio's servers make a public link to it.
        auth: User and password that visitors must give.
        ssl_certfile: Certificate for TLS, as PEM; it may hold its private key, too.
        ssl_keyfile: The private key where it is another file.
        root_path: Under which a reverse proxy shows the page, as ``/skin``.
        allowed_host: Names, besides localhost, under which requests may call the page.
        proxy: Addresses or networks of proxies, besides those on this machine, whose
            ``X-Forwarded-For`` is believed.
    """

    host: str = "127.0.0.1"
    port: int | None = None
    share: bool = False
    auth: tuple[str, str] | None = None
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None
    root_path: str = ""
    allowed_host: Sequence[str] = ()
    proxy: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Refuse an address that would show photos to strangers, or cannot be served on.

        Raises:
            ConfigError: If `host` is not a loopback address and there is no login, or a value is
                none of its kind.
        """
        if self.auth is None and not is_loopback(self.host):
            raise ConfigError(
                f"--host {self.host} would show people's photos to other machines without a login; "
                "add --auth user:password or leave --host out."
            )
        if self.port is not None and not 0 <= self.port <= 65535:
            raise ConfigError(f"--port {self.port}: give a number from 0 (any free one) to 65535.")
        if not ROOT_PATH.fullmatch(self.root_path):
            raise ConfigError(
                f"--root-path {self.root_path}: give a path that begins with a slash and ends "
                "without one, as in /skin."
            )
        for name in self.allowed_host:
            if not re.fullmatch(r"[\w.-]+", name):
                raise ConfigError(
                    f"--allowed-host {name}: give the bare name, as in skin.example.org."
                )
        for proxy in self.proxy:
            try:
                ipaddress.ip_network(proxy)
            except ValueError:
                raise ConfigError(
                    f"--proxy {proxy} is no IP address or network, as 10.0.0.7 or 10.0.0.0/24 are."
                ) from None
        self._check_certificate()

    def _check_certificate(self) -> None:
        if not self.ssl_certfile:
            if self.ssl_keyfile:
                raise ConfigError("--ssl-keyfile needs its certificate: add --ssl-certfile.")
            return
        for option, file in (("certfile", self.ssl_certfile), ("keyfile", self.ssl_keyfile)):
            if file and not Path(file).is_file():
                raise ConfigError(f"--ssl-{option} {Path(file).absolute()}: there is no such file.")
        try:
            # A password is given so that none is asked for: the server could not ask either.
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.ssl_certfile, self.ssl_keyfile, password="")
        except (OSError, ValueError):
            raise ConfigError(
                f"--ssl-certfile {Path(self.ssl_certfile).absolute()}: this is no PEM certificate "
                "with its private key, or the key belongs to another certificate or has a "
                "password; --ssl-keyfile names the key if it is another file."
            ) from None

    @property
    def names(self) -> frozenset[str] | None:
        """Names besides localhost under which requests may call the page; None is any."""
        is_open = self.share or not is_loopback(self.host)
        if self.share or (is_open and not self.allowed_host):
            return None
        own = {self.host, *lan_addresses(self.host)} if is_open else set()
        return frozenset(name.lower() for name in (*self.allowed_host, *own))

    def urls_for_others(self, port: int) -> list[str]:
        """Return the page's URLs on other machines; none where only this one is served."""
        scheme = "https" if self.ssl_certfile else "http"
        names = [f"[{name}]" if ":" in name else name for name in lan_addresses(self.host)]
        return [f"{scheme}://{name}:{port}{self.root_path}/" for name in names]

    def find_port(self) -> int:
        """Return a port that can be served on now.

        Raises:
            ConfigError: If the one asked for cannot be used, or none can.
        """
        for port in PORTS if self.port is None else [self.port]:
            try:
                found = _bind(self.host, port)
                _bind("127.0.0.1", found)  # which Gradio tries, too, whatever the host is
            except OSError as error:
                if error.errno == errno.EACCES:
                    raise ConfigError(
                        f"--port {port} is kept for the administrator, as ports below 1024 are; "
                        "name a higher one."
                    ) from None
                if error.errno != errno.EADDRINUSE:
                    raise ConfigError(
                        f"--host {self.host} is no address of this machine ({error.strerror}); "
                        "leave it out, or take 0.0.0.0 for all that this machine has."
                    ) from None
            else:
                return found
        if self.port is None:
            raise ConfigError(
                f"The ports from {PORTS[0]} to {PORTS[-1]} are all taken on {self.host}; name "
                "another with --port, or take any free one with --port 0."
            )
        raise ConfigError(
            f"--port {self.port} is taken by another program on {self.host}; name another, or "
            "leave --port out for the next free one."
        )


def _bind(host: str, port: int) -> int:
    """Take a port for a moment, and return its number; 0 is any free one."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        # As the server will do: a port whose last connections are dying out counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        return int(probe.getsockname()[1])


def parse_login(text: str) -> tuple[str, str]:
    """Read ``user:password``.

    Raises:
        ConfigError: If either part is missing.
    """
    user, _, password = text.partition(":")
    if not user or not password:
        raise ConfigError("--auth needs a user and a password, as in --auth anna:secret.")
    return user, password


def lan_addresses(host: str) -> list[str]:
    """Return the addresses by which other machines reach what is served on a host.

    The system is asked, not the network: nothing is sent or looked up.
    """
    if is_loopback(host):
        return []
    if host not in EVERY_INTERFACE:
        return [host]
    running = {name for name, state in psutil.net_if_stats().items() if state.isup}
    found = [
        entry.address
        for name, entries in psutil.net_if_addrs().items()
        for entry in entries
        if name in running and entry.family == EVERY_INTERFACE[host]
    ]
    addresses = [(text, ipaddress.ip_address(text.partition("%")[0])) for text in found]
    return [text for text, own in addresses if not (own.is_loopback or own.is_link_local)]
