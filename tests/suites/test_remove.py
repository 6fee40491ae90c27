# SPDX-License-Identifier: Apache-2.0
"""Taking the mesh away leaves the hosts as they were before it came, with the shop still running."""

from __future__ import annotations

import pytest
from examples.demo import build, traffic
from examples.demo.mesh import HOSTS, STRANGER
from examples.demo.report import Report
from rich.console import Console

from tests.lab.hosts import Lab
from tests.lab.trace import difference, trace
from tests.suites.conftest import new_home

pytestmark = pytest.mark.hosts


def test_removing_leaves_no_trace(can_have_hosts: None) -> None:
    home = new_home("remove")
    report = Report(Console(stderr=True))
    with Lab(HOSTS) as lab:
        ansible = build.prepare(lab, home, report)
        hosts = [host for host in lab.hosts if host.name != STRANGER]
        before = {host.name: trace(host) for host in hosts}
        build.join(lab, ansible, report)
        meanwhile = {host.name: difference(before[host.name], trace(host)) for host in hosts}
        assert all(meanwhile.values())  # the comparison sees a mesh where there is one
        ansible.play("meshwright.mesh.remove").raise_for_failure()
        left = {host.name: difference(before[host.name], trace(host)) for host in hosts}
        assert left == {host.name: [] for host in hosts}
        assert not build.credentials(home).exists()
        shop = traffic.get(lab.host("web4"), "nobody", f"http://{lab.host('web3').address}:8082/reviews/1")
        assert shop.body.get("version") == "v1"
        again = ansible.play("meshwright.mesh.remove", "-e", "meshwright_forget=false")  # there is nobody left to tell
        assert (again.status, again.changed, again.failed) == (0, 0, 0)
