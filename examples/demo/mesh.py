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
SHOP = ROOT / "examples" / "shop"
NAMESPACE = "shop"
TRUST_DOMAIN = "cluster.local"
CONTROL_PLANE = "mesh"
STRANGER = "outside"
# workload -> (host, port of the application, service account); as examples/shop/inventory.yml says it
WORKLOADS = {
    "frontend": ("web1", 8080, "frontend"),
    "catalog": ("web2", 8081, "catalog"),
    "reviews-v1": ("web3", 8082, "reviews"),
    "reviews-v2": ("web4", 8082, "reviews"),
}
HOSTS = (CONTROL_PLANE, *(host for host, _, _ in WORKLOADS.values()), STRANGER)


@dataclass
class Mesh:
    """Everything a step of the demo needs."""

    lab: Lab
    ansible: Ansible
    control_plane: ControlPlane
    report: Report

    def host(self, workload: str) -> Host:
        return self.lab.host(WORKLOADS[workload][0])

    def port(self, workload: str) -> int:
        return WORKLOADS[workload][1]

    def spiffe_id(self, workload: str) -> str:
        return f"spiffe://{TRUST_DOMAIN}/ns/{NAMESPACE}/sa/{WORKLOADS[workload][2]}"

    def proxy_id(self, workload: str) -> str:
        return f"{workload}.{NAMESPACE}"

    @property
    def stranger(self) -> Host:
        """A host on the same network that is in no mesh."""
        return self.lab.host(STRANGER)
