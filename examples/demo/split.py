# SPDX-License-Identifier: Apache-2.0
"""A share of the traffic goes to a new version, and a change of the share is there when the task says so."""

from __future__ import annotations

import math
import time
from typing import Any

from examples.demo import traffic
from examples.demo.mesh import NAMESPACE, WORKLOADS, Mesh

REQUESTS = 1000
HOST = "reviews.shop.mesh"


def virtual_service(v1: int, v2: int) -> dict[str, Any]:
    """What rules/reviews.yml says, with other weights."""
    route = [{"destination": {"host": HOST, "subset": subset}, "weight": weight} for subset, weight in (("v1", v1), ("v2", v2)) if weight]
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "reviews", "namespace": NAMESPACE},
        "spec": {"hosts": [HOST], "http": [{"route": route}]},
    }


def check(mesh: Mesh) -> None:
    mesh.report.title("Traffic rules")
    share = 0.1
    result = traffic.burst(mesh.host("frontend"), "frontend", traffic.REVIEWS, count=REQUESTS, rate=200)
    got = result["versions"].get("v2", 0)
    deviation = math.sqrt(REQUESTS * share * (1 - share))
    good = result["failed"] == 0 and abs(got - REQUESTS * share) <= 3 * deviation
    bounds = f"100 ± {3 * deviation:.0f} expected"
    mesh.report.check("one request in ten goes to v2", good, f"{got} of {REQUESTS:,} ({bounds}), {result['failed']} failed")
    _change(mesh)


def _change(mesh: Mesh) -> None:
    """All to v2, with requests running: from the moment the task is over, no answer may come from v1."""
    frontend = mesh.host("frontend")
    begun = time.monotonic()
    done = mesh.ansible.module("meshwright.mesh.resource", {"definition": virtual_service(0, 100)})
    task = time.monotonic() - begun
    if done["failed"]:
        mesh.report.check("a changed rule runs in every proxy", False, str(done.get("msg")))
        return
    rollout = done["rollout"]
    proxies = rollout["proxies"]
    after = traffic.burst(frontend, "frontend", traffic.REVIEWS, count=100, rate=200)
    good = proxies["acked"] == proxies["total"] > 0 and not proxies["pending"] and after["versions"] == {"v2": 100}
    figure = (
        f"{proxies['acked']} of {proxies['total']} proxies concerned ran it {rollout['seconds'] * 1000:.0f} ms after it was stored "
        f"({len(WORKLOADS)} in the mesh; the whole task: {task:.1f} s); then {after['versions']}"
    )
    mesh.report.check("a changed rule runs in every proxy when its task ends", good, figure)
    restored = mesh.ansible.module("meshwright.mesh.resource", {"definition": virtual_service(90, 10)})
    mesh.report.check("and back", not restored["failed"] and restored["changed"], f"revision {restored.get('revision')}")
