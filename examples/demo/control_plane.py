# SPDX-License-Identifier: Apache-2.0
"""The rule API as the demo reads it, with the administrator's token that the role left on the controller."""

from __future__ import annotations

import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from typing import Any

UNIT = "meshwright-control-plane.service"


class ControlPlane:
    """Reached from the controller; its certificate is verified by the mesh's root, which came by SSH."""

    def __init__(self, credentials: Path) -> None:
        """`credentials` is the directory that the role has filled: config.json, ca.pem, token."""
        config = json.loads((credentials / "config.json").read_text())
        self.url = str(config["apiUrl"])
        self.token_file = Path(config["tokenFile"])
        self.ca_file = Path(config["caFile"])
        context = ssl.create_default_context(cafile=str(self.ca_file))
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)).open

    @property
    def access(self) -> dict[str, str]:
        """What the `meshwright` command takes from the environment."""
        files = {"MESHWRIGHT_TOKEN_FILE": str(self.token_file), "MESHWRIGHT_CA_FILE": str(self.ca_file)}
        return {"MESHWRIGHT_API_URL": self.url} | files

    def ask(self, method: str, path: str, body: Any = None, *, timeout: float = 30.0) -> Any:
        """JSON in and out. Raises HTTPError, URLError."""
        return self.answer(method, path, body, timeout=timeout)[1]

    def answer(self, method: str, path: str, body: Any = None, *, timeout: float = 30.0) -> tuple[Message, Any]:
        """As `ask`, with the headers of the answer."""
        request = urllib.request.Request(self.url + path, method=method)
        request.add_header("authorization", f"Bearer {self.token_file.read_text().strip()}")
        if body is not None:
            request.add_header("content-type", "application/json")
            request.data = json.dumps(body).encode()
        with self._open(request, timeout=timeout) as answer:
            text = answer.read()
            return answer.headers, json.loads(text) if text else None

    def proxies(self) -> list[dict[str, Any]]:
        return list(self.ask("GET", "/mesh/v1/proxies")["items"])

    def wait_until(self, good: Callable[[list[dict[str, Any]]], bool], seconds: float) -> list[dict[str, Any]]:
        """Asks for the proxies until they are as wanted or the time is over; the last answer, [] when there was none."""
        deadline = time.monotonic() + seconds
        seen: list[dict[str, Any]] = []
        while True:
            try:
                seen = self.proxies()
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                seen = []
            if good(seen) or time.monotonic() > deadline:
                return seen
            time.sleep(0.2)


def all_synced(count: int) -> Callable[[list[dict[str, Any]]], bool]:
    return lambda proxies: len(proxies) == count and all(one["connected"] and one["sync"] == "SYNCED" for one in proxies)
