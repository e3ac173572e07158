"""The guard that keeps this process on its machine; nothing here needs a network."""

import asyncio
import socket
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from skingpt4.common import network as offline
from skingpt4.common.errors import UserError


def in_a_thread(function, *arguments):
    """Call a function in a thread of its own: in this one a browser's loop may be running."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *arguments).result()


@pytest.fixture(autouse=True)
def back_online():
    yield
    offline.go_online()


@pytest.mark.parametrize(
    "reach",
    [
        lambda: socket.create_connection(("192.0.2.1", 80), timeout=1),
        lambda: socket.socket().connect_ex(("192.0.2.1", 80)),
        lambda: socket.socket(socket.AF_INET6).connect(("2001:db8::1", 80)),
        lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 53)),
        lambda: socket.getaddrinfo("example.invalid", 80),
        lambda: socket.gethostbyname("example.invalid"),
        lambda: in_a_thread(asyncio.run, asyncio.open_connection("192.0.2.1", 80)),
    ],
    ids=["tcp", "connect_ex", "ipv6", "udp", "lookup", "old-lookup", "asyncio"],
)
def test_every_way_out_is_refused_and_counted(reach):
    offline.go_offline()
    with pytest.raises(offline.OfflineError, match="--online") as caught:
        reach()
    assert isinstance(caught.value, UserError) and isinstance(caught.value, OSError)
    assert len(offline.refused_connections()) == 1
    assert offline.refused_connections()[0] in str(caught.value)


def test_libraries_see_a_network_that_is_down():
    offline.go_offline()
    with pytest.raises(httpx.ConnectError):
        httpx.get("http://example.invalid", trust_env=False)
    with pytest.raises(urllib.error.URLError):
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open("http://example.invalid")
    assert offline.refused_connections() == ("example.invalid",) * 2


def test_other_threads_are_held_back_too():
    offline.go_offline()
    seen = []

    def reach():
        try:
            socket.create_connection(("192.0.2.1", 80), timeout=1)
        except OSError as error:
            seen.append(type(error))

    thread = threading.Thread(target=reach)
    thread.start()
    thread.join()
    assert seen == [offline.OfflineError]


def test_this_machine_can_be_reached():
    offline.go_offline()
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        for name in ("127.0.0.1", "localhost"):
            socket.create_connection((name, server.getsockname()[1]), timeout=5).close()
    assert offline.refused_connections() == ()


def test_online_again_nothing_is_refused():
    offline.go_offline()
    offline.go_online()
    assert not offline.is_offline()
    with pytest.raises(OSError) as caught, socket.socket() as probe:
        probe.setblocking(False)
        probe.connect(("192.0.2.1", 80))  # begins, or there is no network: but it is not refused
        raise OSError("begun")
    assert not isinstance(caught.value, offline.OfflineError)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost", "LOCALHOST."])
def test_loopback(host):
    assert offline.is_loopback(host) and offline.is_local(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", ""])
def test_all_interfaces_are_local_but_no_loopback(host):
    assert offline.is_local(host) and not offline.is_loopback(host)


@pytest.mark.parametrize(
    "host", ["192.168.1.5", "8.8.8.8", "2001:db8::1", "localhost.evil.example"]
)
def test_elsewhere(host):
    assert not offline.is_local(host)
