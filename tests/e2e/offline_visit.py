"""Run in a network namespace of its own: a whole visit at the page, and what tried to go out.

Prints a line of JSON: what was shown, which connections the page's guard refused, and how often the
kernel had no route for a packet. The last counts every library's attempts, Python's or not.
"""

import fcntl
import json
import socket
import struct
import sys
from pathlib import Path
from typing import Any

from skingpt4.common.network import go_offline, go_online, refused_connections
from skingpt4.conversation.chat import load_chat
from skingpt4.demo.address import Address
from skingpt4.demo.features.report_draft import FIELDS, SECTIONS
from skingpt4.demo.server import served
from skingpt4.dermatology import QUESTIONS
from tests.e2e.client import Client

SIOCSIFFLAGS = 0x8914
UP_AND_RUNNING = 0x1 | 0x40
BOXES = (*["Text"] * len((*FIELDS, *SECTIONS)), True, False, False)
"""What the report's boxes hold."""

CONFIG = "eval_configs/skingpt4_eval_tiny.yaml"


def bring_loopback_up() -> None:
    """Switch the only interface of a new namespace on."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh", b"lo", UP_AND_RUNNING))


def packets_without_a_way() -> int:
    """Return how often something in this namespace wanted to reach what is not there."""
    names, values = (
        line.split()
        for line in Path("/proc/net/snmp").read_text().splitlines()
        if line.startswith("Ip:")
    )
    ipv6 = dict(line.split() for line in Path("/proc/net/snmp6").read_text().splitlines())
    return int(dict(zip(names, values, strict=True))["OutNoRoutes"]) + int(ipv6["Ip6OutNoRoutes"])


def visit() -> dict[str, Any]:
    """Converse, draw a second opinion, map the evidence, write the report."""
    chat = load_chat(CONFIG, [], "cpu")
    with served(chat, Address()) as app:
        client = Client(app)
        page = client.http.get("/").status_code
        client.enter()
        client.act("press", event={"act": "example", "key": "0"})
        client.act("ask", {"text": QUESTIONS[0], "files": []})
        client.wait()
        client.shown()  # only what has been offered can be chosen
        client.act("begin_opinion", 3)
        client.act("begin_evidence", 0, 1)
        client.wait()
        client.act("make_report")
        report = client.act("save", *BOXES)
        shown = client.shown()
        return {
            "page": page,
            "answer": shown["conversation"],
            "opinion": shown["opinion-chart"],
            "evidence": shown["evidence-map"],
            "report": report,
        }


def main() -> None:
    """Visit the page, say what happened, then try to leave, as a control of the counter."""
    bring_loopback_up()
    go_offline()
    shown = visit()
    shown |= {"refused": refused_connections(), "unrouted": packets_without_a_way()}
    go_online()
    socket.socket().connect_ex(("192.0.2.1", 80))
    shown["unrouted_then"] = packets_without_a_way()
    sys.stdout.write(json.dumps(shown) + "\n")


if __name__ == "__main__":
    main()
