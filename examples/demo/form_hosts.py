# SPDX-License-Identifier: Apache-2.0
"""The demo on test hosts: six of them, booted by systemd-nspawn."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from tests.lab import host
from tests.lab.hosts import Lab

from examples.demo import build
from examples.demo.mesh import HOSTS, ROOT, STRANGER, WORKLOADS, Mesh
from examples.demo.on_hosts import HostsMesh
from examples.demo.report import Report

JOURNAL = "journalctl --no-pager -o short-precise -u 'meshwright-*' -u 'shop-*'"


class HostsForm:
    size = f"{len(HOSTS)} hosts: 1 with the control plane, {len(WORKLOADS)} with a service of the shop and its Envoy, 1 outside the mesh"
    left_out: Mapping[str, str] = {}

    def __init__(self, report: Report) -> None:
        self.report = report
        self.lab = Lab(HOSTS)

    def __enter__(self) -> HostsForm:
        self.report.title(f"{len(HOSTS)} hosts are booted on this machine")
        self.lab.__enter__()
        roles = {one.host: f"{name}, and its Envoy" for name, one in WORKLOADS.items()} | {STRANGER: "in no mesh"}
        for one in self.lab.hosts:
            self.report.say(f"{one.name}: {one.address} {one.address6} ({roles.get(one.name, 'the control plane')})")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.lab.__exit__(kind, error, trace)

    def build(self, home: Path) -> Mesh:
        return build.build(self.lab, home, self.report)

    def keep_logs(self, home: Path) -> None:
        for one in self.lab.hosts:
            (home / f"journal-{one.name}.log").write_text(one.ssh(JOURNAL, check=False).stdout)

    def say_what_is_missing(self) -> None:
        """Nothing is."""

    def leave_running(self, mesh: Mesh | None) -> None:
        self.lab.keep()
        lines = [f"ssh -F {host.ssh_config(self.lab.slot)} web1        # root on a host; systemctl status 'meshwright-*'"]
        if isinstance(mesh, HostsMesh):
            access = " ".join(f"{key}={value}" for key, value in mesh.control_plane.access.items())
            lines += [
                f"export {access}",
                f"{os.path.relpath(ROOT / '.venv/bin/meshwright')} proxies        # and: get vs -A; proxy frontend-web1.shop",
                "curl -s http://127.0.0.1:8080/        # on web1, as root: the shop's page",
            ]
        lines.append(f"{os.path.relpath(sys.executable)} -m tests.lab down {self.lab.slot.number}        # ends it")
        self.report.console.print("\nIt is left running. To look around:", style="bold")
        for line in lines:
            self.report.console.print(f"  {line}", highlight=False, soft_wrap=True)
