# SPDX-License-Identifier: Apache-2.0
"""The control plane is killed while requests run: nobody may notice, and when it is back nothing may be taken away and given anew."""

from __future__ import annotations

import time

from examples.demo import traffic
from examples.demo.control_plane import all_synced
from examples.demo.mesh import WORKLOADS, Mesh
from examples.demo.progress import spell

AWAY_SECONDS = 10.0
BACK_SECONDS = 60.0


def check(mesh: Mesh, away: float) -> None:
    mesh.report.title("The control plane dies")
    before = {name: mesh.churn(name) for name in WORKLOADS}
    with traffic.Load(mesh.host("frontend"), "frontend", traffic.REVIEWS, rate=100) as load:
        mesh.kill_control_plane()
        mesh.report.say(f"killed by `kill -9`; {spell(away)} without a control plane, at 100 requests a second")
        time.sleep(away)  # the length of the outage is what is wanted here
        mesh.start_control_plane()
        begun = time.monotonic()
        proxies = mesh.control_plane.wait_until(all_synced(len(WORKLOADS)), BACK_SECONDS)
        back = time.monotonic() - begun
    mesh.report.check("no request fails while there is no control plane", load.result["failed"] == 0, load.figure())
    good = all_synced(len(WORKLOADS))(proxies)
    figure = f"{len(WORKLOADS)} Envoys in sync {back:.1f} s after the control plane was started again"
    mesh.report.check("every Envoy comes back by itself", good, figure if good else f"not within {BACK_SECONDS:.0f} s: {proxies}")
    after = {name: mesh.churn(name) for name in WORKLOADS}
    changes = {name: after[name].since(before[name]) for name in WORKLOADS}
    restarted = [name for name in WORKLOADS if after[name].started != before[name].started]
    quiet = not any(changes.values()) and not restarted
    figure = "0 listeners and 0 clusters added, changed or removed in any Envoy" if quiet else f"changes {changes}, restarted {restarted}"
    mesh.report.check("and has nothing taken away and given anew", quiet, figure)
