# SPDX-License-Identifier: Apache-2.0
"""The mesh on hosts of a lab: everything is as on hosts of yours, reached by SSH."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.lab.host import Host
from tests.lab.hosts import Lab

from examples.demo import envoy_stats
from examples.demo.control_plane import UNIT, ControlPlane
from examples.demo.mesh import CONTROL_PLANE, SHOP, STRANGER, WORKLOADS, KeyFile, Ports
from examples.demo.playbook import Ansible
from examples.demo.report import Report

ALL = "meshwright.mesh.demo"
TAKER = "port-taker"
TAKE = "import socket,time; s=socket.socket(); s.bind(('{address}', {port})); s.listen(); time.sleep(3600)"
OUTSIDE_PORT = 8080


@dataclass
class HostsMesh:
    """`mesh.Mesh` on the hosts of `lab`."""

    lab: Lab
    ansible: Ansible
    control_plane: ControlPlane
    report: Report
    missing: Mapping[str, str]
    playbooks: tuple[str, ...] = (ALL,)
    outside_port: int = OUTSIDE_PORT

    def host(self, workload: str) -> Host:
        return self.lab.host(WORKLOADS[workload].host)

    @property
    def stranger(self) -> Host:
        return self.lab.host(STRANGER)

    def ports(self, workload: str) -> Ports:
        return Ports(WORKLOADS[workload].port, 15006, "127.240.0.1", 80)

    def certificate(self, workload: str) -> str:
        return self.host(workload).read(f"{_state(workload)}/svid.pem")

    def key_file(self, workload: str) -> KeyFile:
        host, unit = self.host(workload), f"meshwright-agent@{WORKLOADS[workload].proxy_id}.service"
        mode, owner = host.ssh(f"stat -Lc '%a %U' {_state(workload)}/svid.key").stdout.split()
        return KeyFile(mode, owner, host.ssh(f"systemctl show -p User --value {unit}").stdout.strip())

    def churn(self, workload: str) -> envoy_stats.Churn:
        return envoy_stats.churn(self.host(workload), WORKLOADS[workload].proxy_id)

    @contextlib.contextmanager
    def occupied(self, workload: str, port: int) -> Iterator[None]:
        host, address = self.host(workload), self.ports(workload).loopback
        host.ssh(f'systemd-run -q --unit={TAKER} -p Type=exec python3 -c "{TAKE.format(address=address, port=port)}"')
        try:
            host.ssh(f"timeout 10 sh -c 'until ss -Hltn src {address}:{port} | grep -q .; do sleep 0.05; done'")
            yield
        finally:
            host.ssh(f"systemctl stop {TAKER}", check=False)

    def kill_control_plane(self) -> None:
        self.lab.host(CONTROL_PLANE).ssh(f"systemctl kill --signal=KILL {UNIT}; systemctl stop {UNIT}")

    def start_control_plane(self) -> None:
        self.lab.host(CONTROL_PLANE).ssh(f"systemctl reset-failed {UNIT}; systemctl start {UNIT}")

    def outside_rule(self) -> dict[str, Any]:
        return {"src": str(SHOP / "rules" / "outside.yml")}


def _state(workload: str) -> str:
    return f"/var/lib/meshwright/agents/{WORKLOADS[workload].proxy_id}"
