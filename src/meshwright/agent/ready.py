# SPDX-License-Identifier: Apache-2.0
"""What the Envoy beside us really runs, read from its admin socket: that a configuration was accepted does not mean that it is active."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

REQUEST_SECONDS = 5.0
POLL_SECONDS = 0.05
MAX_ANSWER = 64 * 1024 * 1024
_WARMING_CLUSTERS = "/stats?filter=^cluster_manager.warming_clusters$"
_DUMP = "/config_dump?resource=dynamic_listeners&mask=name,active_state.version_info,warming_state.version_info,error_state.details"


class EnvoyState(NamedTuple):
    """`state`: LIVE, INITIALIZING, PRE_INITIALIZING, DRAINING, or AWAY when the admin socket doesn't answer. Lists of listener names, and
    the number of clusters that warm: calls to those are answered with 503."""

    state: str
    active: tuple[str, ...] = ()
    warming: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    warming_clusters: int = 0

    @property
    def ready(self) -> bool:
        return self.state == "LIVE" and not self.warming and not self.warming_clusters


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=REQUEST_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(REQUEST_SECONDS)
        self.sock.connect(str(self._path))


def envoy_state(admin_socket: Path) -> EnvoyState:
    """Asks once; never raises for an Envoy that is away or busy."""
    try:
        state = _get(admin_socket, "/ready").decode(errors="replace").strip()[:32]
        if state != "LIVE":
            return EnvoyState(state or "AWAY")
        clusters = int(_get(admin_socket, _WARMING_CLUSTERS).rpartition(b":")[2])
        return _listeners(state, json.loads(_get(admin_socket, _DUMP)))._replace(warming_clusters=clusters)
    except (OSError, http.client.HTTPException, ValueError):
        return EnvoyState("AWAY")


def wait_ready(admin_socket: Path, *, seconds: float, sleep: Callable[[float], None] = time.sleep) -> EnvoyState:
    """Polls until Envoy is live and nothing warms, or the time is over; the state seen last."""
    deadline = time.monotonic() + seconds
    while True:
        seen = envoy_state(admin_socket)
        if seen.ready or time.monotonic() >= deadline:
            return seen
        sleep(POLL_SECONDS)


def _get(admin_socket: Path, path: str) -> bytes:
    connection = _UnixConnection(admin_socket)
    try:
        connection.request("GET", path)
        return connection.getresponse().read(MAX_ANSWER)
    finally:
        connection.close()


def _listeners(state: str, dump: dict[str, Any]) -> EnvoyState:
    listeners = [entry for entry in dump.get("configs", []) if isinstance(entry, dict)]

    def having(part: str) -> tuple[str, ...]:
        return tuple(sorted(str(entry.get("name", "")) for entry in listeners if part in entry))

    return EnvoyState(state, having("active_state"), having("warming_state"), having("error_state"))
