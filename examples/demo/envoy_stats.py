# SPDX-License-Identifier: Apache-2.0
"""What an Envoy counts, read from its admin socket on its host."""

from __future__ import annotations

import json
from dataclasses import dataclass

from tests.lab.host import Host

CHURN = ("listener_added", "listener_modified", "listener_removed", "cluster_added", "cluster_modified", "cluster_removed")


@dataclass(frozen=True, slots=True)
class Churn:
    """How often listeners and clusters came, changed and went, and when this Envoy was started (so that a restart shows)."""

    counts: tuple[tuple[str, int], ...]
    started: int

    def since(self, before: Churn) -> dict[str, int]:
        old = dict(before.counts)
        return {name: value - old[name] for name, value in self.counts if value != old[name]}


def churn(host: Host, proxy: str) -> Churn:
    """`proxy` is NAME.NAMESPACE. Raises RuntimeError when its Envoy does not answer."""
    stats = json.loads(_admin(host, proxy, "/stats?format=json&filter=^(listener_manager|cluster_manager)%5C."))["stats"]
    found = {one["name"].partition(".")[2]: int(one["value"]) for one in stats if "value" in one}
    unit = f"meshwright-envoy@{proxy}.service"
    started = host.ssh(f"systemctl show -p ExecMainStartTimestampMonotonic --value {unit}").stdout.strip()
    return Churn(tuple((name, found[name]) for name in CHURN), int(started))


def _admin(host: Host, proxy: str, path: str) -> str:
    return host.ssh(f"curl -gsS --max-time 5 --unix-socket /run/meshwright/{proxy}/admin.sock 'http://envoy{path}'").stdout
