"""Speaks to the page as the page's own script does, without a browser."""

import json
from typing import Any

import httpx

SECONDS = 60


class Client:
    """A visitor at a page that is served by this process.

    Actions are named as their functions are; where two have one name, the first on the page is
    meant unless the number of its inputs is added, as in ``make/0``.
    """

    def __init__(self, app: Any) -> None:
        self.http = httpx.Client(base_url=app.local_url, timeout=SECONDS, trust_env=False)
        actions = list(reversed(app.fns.items()))
        self.numbers = {fn.name: number for number, fn in actions}
        self.numbers |= {f"{fn.name}/{len(fn.inputs)}": number for number, fn in actions}
        self._outputs = {number: [part._id for part in fn.outputs] for number, fn in actions}
        self._ids = {
            block["props"]["elem_id"]: block["id"]
            for block in app.config["components"]
            if block["props"].get("elem_id")
        }

    def act(self, name: str, *data: Any, session: str = "anna") -> str:
        """Let an action happen that takes no time; return its outputs as one text."""
        body = {"fn_index": self.numbers[name], "data": data, "session_hash": session}
        answer = self.http.post("/gradio_api/run/predict", json=body)
        assert answer.status_code < 500
        return answer.text

    def queue(self, name: str, *data: Any, session: str = "anna") -> dict[str, Any]:
        """Let a queued action happen to its end; return its last message."""
        body = {"fn_index": self.numbers[name], "data": data, "session_hash": session}
        joined = self.http.post("/gradio_api/queue/join", json=body)
        assert joined.status_code == 200, joined.text
        address = f"/gradio_api/queue/data?session_hash={session}"
        with self.http.stream("GET", address) as stream:
            for line in stream.iter_lines():
                message = json.loads(line.removeprefix("data:")) if line else {}
                if message.get("msg") == "process_completed":
                    return message
        raise AssertionError("the queue ended without an answer")

    def upload(self, data: bytes, name: str) -> httpx.Response:
        """Send a file."""
        return self.http.post("/gradio_api/upload", files={"files": (name, data, "image/jpeg")})

    def output(self, name: str, message: dict[str, Any], part: str) -> str:
        """Return what a finished action shows in a part of the page, as one text."""
        place = self._outputs[self.numbers[name]].index(self._ids[part])
        return json.dumps(message["output"]["data"][place], ensure_ascii=False)
