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
    mesh.report.title("Traffic rules: a share for the new version, and a change of it")
    share = 0.1
    result = traffic.burst(mesh.host("frontend"), "frontend", traffic.REVIEWS, count=REQUESTS, rate=200)
    got = result["versions"].get("v2", 0)
    deviation = math.sqrt(REQUESTS * share * (1 - share))
    good = result["failed"] == 0 and abs(got - REQUESTS * share) <= 3 * deviation
    figure = f"{got} of {REQUESTS:,} requests (expected: 100 ± {3 * deviation:.0f}), {result['failed']} requests failed"
    mesh.report.check("one request in ten goes to v2", good, figure)
    _change(mesh)


def _change(mesh: Mesh) -> None:
    """All to v2: from the moment the task is over, no answer may come from v1."""
    name = "all to v2: when the task ends, the very next requests obey"
    frontend = mesh.host("frontend")
    begun = time.monotonic()
    done = mesh.ansible.module("meshwright.mesh.resource", {"definition": virtual_service(0, 100)})
    task = time.monotonic() - begun
    if done["failed"]:
        mesh.report.check(name, False, str(done.get("msg")))
        return
    rollout = done["rollout"]
    proxies = rollout["proxies"]
    after = traffic.burst(frontend, "frontend", traffic.REVIEWS, count=100, rate=200)
    good = proxies["acked"] == proxies["total"] > 0 and not proxies["pending"] and after["versions"] == {"v2": 100}
    answered = ", ".join(f"{count} by {version}" for version, count in after["versions"].items())
    figure = (
        f"{proxies['acked']} of {proxies['total']} Envoys concerned ran the rule {rollout['seconds'] * 1000:.0f} ms after it was stored "
        f"(the whole Ansible task: {task:.1f} s; Envoys in the mesh: {len(WORKLOADS)}); the next 100 requests: {answered}"
    )
    mesh.report.check(name, good, figure)
    restored = mesh.ansible.module("meshwright.mesh.resource", {"definition": virtual_service(90, 10)})
    figure = f"stored as revision {restored.get('revision')}" if not restored["failed"] else str(restored.get("msg"))
    mesh.report.check("and back to one in ten", not restored["failed"] and restored["changed"], figure)
