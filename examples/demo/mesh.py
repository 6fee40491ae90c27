# SPDX-License-Identifier: Apache-2.0
"""The mesh of the demo: which host runs what, and the ways to reach it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.lab.host import Host
from tests.lab.hosts import Lab

from examples.demo.control_plane import ControlPlane
from examples.demo.playbook import Ansible
from examples.demo.report import Report

ROOT = Path(__file__).resolve().parents[2]
SHOP = ROOT / "playbooks" / "files" / "shop"
INVENTORY = ROOT / "examples" / "shop" / "inventory.yml"
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

    @property
    def spiffe_id(self) -> str:
        return f"spiffe://{TRUST_DOMAIN}/ns/{NAMESPACE}/sa/{self.service}"

    @property
    def proxy_id(self) -> str:
        return f"{self.service}-{self.host}.{NAMESPACE}"


WORKLOADS = {
    "frontend": Workload("frontend", "web1", 8080),
    "catalog": Workload("catalog", "web2", 8081),
    "reviews-v1": Workload("reviews", "web3", 8082),
    "reviews-v2": Workload("reviews", "web4", 8082),
}
HOSTS = (CONTROL_PLANE, *(one.host for one in WORKLOADS.values()), STRANGER)


@dataclass
class Mesh:
    """Everything a step of the demo needs."""

    lab: Lab
    ansible: Ansible
    control_plane: ControlPlane
    report: Report

    def host(self, workload: str) -> Host:
        return self.lab.host(WORKLOADS[workload].host)

    @property
    def stranger(self) -> Host:
        """A host on the same network that is in no mesh."""
        return self.lab.host(STRANGER)
