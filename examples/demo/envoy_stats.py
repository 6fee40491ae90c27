# SPDX-License-Identifier: Apache-2.0
"""What an Envoy counts, as its admin socket says it."""

from __future__ import annotations

import json
from dataclasses import dataclass

from tests.lab.host import Host

CHURN = ("listener_added", "listener_modified", "listener_removed", "cluster_added", "cluster_modified", "cluster_removed")
PATH = "/stats?format=json&filter=^(listener_manager|cluster_manager)%5C."


@dataclass(frozen=True, slots=True)
class Churn:
    """How often listeners and clusters came, changed and went, and when this Envoy was started (so that a restart shows)."""

    counts: tuple[tuple[str, int], ...]
    started: int

    def since(self, before: Churn) -> dict[str, int]:
        old = dict(before.counts)
        return {name: value - old[name] for name, value in self.counts if value != old[name]}


def read(text: str, started: int) -> Churn:
    """From the answer to PATH."""
    found = {one["name"].partition(".")[2]: int(one["value"]) for one in json.loads(text)["stats"] if "value" in one}
    return Churn(tuple((name, found[name]) for name in CHURN), started)


def command(socket: str) -> str:
    """The shell command that asks for PATH."""
    return f"curl -gsS --max-time 5 --unix-socket '{socket}' 'http://envoy{PATH}'"


def churn(host: Host, proxy: str) -> Churn:
    """Of an Envoy on a host; `proxy` is NAME.NAMESPACE. Raises RuntimeError when it does not answer."""
    unit = f"meshwright-envoy@{proxy}.service"
    started = host.ssh(f"systemctl show -p ExecMainStartTimestampMonotonic --value {unit}").stdout.strip()
    return read(host.ssh(command(f"/run/meshwright/{proxy}/admin.sock")).stdout, int(started))
