# SPDX-License-Identifier: Apache-2.0
"""The mesh of the demo: what runs in it, and what a step of the demo may ask of it, whether it stands on hosts or in local processes."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from examples.demo.control_plane import ControlPlane
from examples.demo.envoy_stats import Churn
from examples.demo.playbook import Ansible
from examples.demo.report import Report

ROOT = Path(__file__).resolve().parents[2]
SHOP = ROOT / "playbooks" / "files" / "shop"
INVENTORY = ROOT / "examples" / "shop" / "inventory.yml"
RULES = "meshwright.mesh.demo_rules"
NAMESPACE = "shop"
TRUST_DOMAIN = "cluster.local"
CONTROL_PLANE = "mesh"
STRANGER = "outside"


@dataclass(frozen=True, slots=True)
class Workload:
    """As examples/shop/inventory.yml says it. Its account is named like its service, the workload by both service and host."""

    service: str
    host: str
    port: int
    version: str = ""

    @property
    def spiffe_id(self) -> str:
        return f"spiffe://{TRUST_DOMAIN}/ns/{NAMESPACE}/sa/{self.service}"

    @property
    def proxy_id(self) -> str:
        return f"{self.service}-{self.host}.{NAMESPACE}"


WORKLOADS = {
    "frontend": Workload("frontend", "web1", 8080),
    "catalog": Workload("catalog", "web2", 8081),
    "reviews-v1": Workload("reviews", "web3", 8082, "v1"),
    "reviews-v2": Workload("reviews", "web4", 8082, "v2"),
}
HOSTS = (CONTROL_PLANE, *(one.host for one in WORKLOADS.values()), STRANGER)


class Host(Protocol):
    """Where a workload runs, or a client that is in no mesh. `address6` is '' where there is no IPv6."""

    name: str
    address: str
    address6: str

    def as_user(self, user: str, command: str) -> list[str]:
        """The words that run a shell command there as one of its users."""

    def run(self, user: str, command: str, *, check: bool = True, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Raises RuntimeError with what it said when it fails and `check`."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Of one workload: its application's own, the one where its Envoy takes mutual TLS, and the address and port where that Envoy takes
    the application's calls of the shop's services."""

    application: int
    inbound: int
    loopback: str
    service: int

    @property
    def outbound(self) -> str:
        """Where its Envoy listens for the application: address:port."""
        return f"{self.loopback}:{self.service}"


@dataclass(frozen=True, slots=True)
class KeyFile:
    """Who may read a private key: `mode` in octal, and whether its owner is the one that it should be."""

    mode: str
    owner: str
    wanted_owner: str


class Mesh(Protocol):
    """Everything a step of the demo needs. `missing`: what this form of the demo has not got -> why; steps leave out what needs it.
    `playbooks` make the mesh, again and again; `outside_port` is where the stranger serves plain HTTP."""

    ansible: Ansible
    control_plane: ControlPlane
    report: Report
    missing: Mapping[str, str]
    playbooks: tuple[str, ...]
    outside_port: int

    def host(self, workload: str) -> Host: ...

    @property
    def stranger(self) -> Host:
        """A client that is in no mesh."""

    def ports(self, workload: str) -> Ports: ...

    def certificate(self, workload: str) -> str:
        """PEM, from the disk."""

    def key_file(self, workload: str) -> KeyFile: ...

    def churn(self, workload: str) -> Churn: ...

    def occupied(self, workload: str, port: int) -> AbstractContextManager[None]:
        """While it lasts, another process has the port that this workload's Envoy would listen on."""

    def kill_control_plane(self) -> None:
        """By SIGKILL; it stays away until it is started."""

    def start_control_plane(self) -> None: ...

    def outside_rule(self) -> dict[str, Any]:
        """What `meshwright.mesh.resource` is given to open the world outside."""
