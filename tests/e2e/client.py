"""Speaks to the page as the page's own script does, without a browser."""

import json
from typing import Any
from urllib.parse import quote

import httpx

from skingpt4.demo.routes import TAB_HEADER
from tests.waiting import wait_for

SECONDS = 60


class Client:
    """Visitors at a page that is served by this process; each name is a browser tab.

    Actions are named as their functions are; of several with one name, the first on the page is
    meant.
    """

    def __init__(self, app: Any) -> None:
        self.http = httpx.Client(base_url=app.local_url, timeout=SECONDS, trust_env=False)
        actions = list(reversed(app.fns.items()))
        self.numbers = {fn.name: number for number, fn in actions}
        self._outputs = {number: [part._id for part in fn.outputs] for number, fn in actions}
        self._names = {
            block["id"]: block["props"].get("elem_id") for block in app.config["components"]
        }

    def enter(self, tab: str = "anna", language: str = "en") -> None:
        """Load the page in a tab."""
        entry = {"key": key_of(tab), "language": language, "root": ""}
        self.act("enter", json.dumps(entry), tab=tab)

    def act(self, name: str, *data: Any, tab: str = "anna", event: Any = None) -> str:
        """Press something; return what the browser is sent at once, as one text."""
        body = {"fn_index": self.numbers[name], "data": data, "session_hash": tab}
        answer = self.http.post("/gradio_api/run/predict", json=body | {"event_data": event})
        assert answer.status_code < 500
        return answer.text

    def send_photo(self, data: bytes, name: str = "x.jpg", tab: str = "anna") -> httpx.Response:
        """Send a photo by the way of all photos."""
        headers = {TAB_HEADER: key_of(tab), "x-skingpt4-name": quote(name)}
        return self.http.post("/page/photos", content=data, headers=headers)

    def look(self, tab: str = "anna") -> dict[str, Any]:
        """Ask whether there is something new."""
        return self.http.get("/page/look", headers={TAB_HEADER: key_of(tab)}).json()

    def wait(self, tab: str = "anna") -> None:
        """Wait until nothing is under way."""
        wait_for(lambda: not self.look(tab)["busy"])

    def shown(self, tab: str = "anna") -> dict[str, str]:
        """Return what every part of the page with a name shows, each as one text."""
        values = json.loads(self.act("refresh", "", tab=tab))["data"]
        parts = self._outputs[self.numbers["refresh"]]
        return {
            self._names[part]: json.dumps(value, ensure_ascii=False)
            for part, value in zip(parts, values, strict=True)
            if self._names[part]
        }


def key_of(tab: str) -> str:
    """Return a tab's key, as long as a browser makes it."""
    return f"{tab:_<32}"
