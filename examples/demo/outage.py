# SPDX-License-Identifier: Apache-2.0
"""The control plane is killed while requests run: nobody may notice, and when it is back nothing may be taken away and given anew."""

from __future__ import annotations

import time

from examples.demo import envoy_stats, traffic
from examples.demo.control_plane import UNIT, all_synced
from examples.demo.mesh import WORKLOADS, Mesh

AWAY_SECONDS = 10.0
BACK_SECONDS = 60.0


def check(mesh: Mesh, away: float) -> None:
    mesh.report.title("The control plane dies")
    before = {name: envoy_stats.churn(mesh.host(name), WORKLOADS[name].proxy_id) for name in WORKLOADS}
    host = mesh.control_plane.host
    with traffic.Load(mesh.host("frontend"), "frontend", traffic.REVIEWS, rate=100) as load:
        host.ssh(f"systemctl kill --signal=KILL {UNIT}; systemctl stop {UNIT}")
        mesh.report.say(f"kill -9, and {away:.0f} s without a control plane, at 100 requests a second")
        time.sleep(away)  # the length of the outage is what is wanted here
        host.ssh(f"systemctl reset-failed {UNIT}; systemctl start {UNIT}")
        begun = time.monotonic()
        proxies = mesh.control_plane.wait_until(all_synced(len(WORKLOADS)), BACK_SECONDS)
        back = time.monotonic() - begun
    mesh.report.check("no request fails while the control plane is away", load.result["failed"] == 0, load.figure())
    good = all_synced(len(WORKLOADS))(proxies)
    mesh.report.check("every proxy comes back by itself", good, f"{len(WORKLOADS)} proxies in sync {back:.1f} s after the start")
    after = {name: envoy_stats.churn(mesh.host(name), WORKLOADS[name].proxy_id) for name in WORKLOADS}
    changes = {name: after[name].since(before[name]) for name in WORKLOADS}
    restarted = [name for name in WORKLOADS if after[name].started != before[name].started]
    quiet = not any(changes.values()) and not restarted
    figure = "listeners and clusters added, modified, removed: 0" if quiet else f"changes {changes}, restarted {restarted}"
    mesh.report.check("nothing is taken away and given anew", quiet, figure)
