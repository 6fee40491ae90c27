# SPDX-License-Identifier: Apache-2.0
"""A change that one Envoy can't run: the task fails with that Envoy's words, the rule says so, and traffic goes on."""

from __future__ import annotations

from typing import Any

from examples.demo import traffic
from examples.demo.mesh import NAMESPACE, WORKLOADS, Mesh

PORT = 8888
PATH = f"/apis/networking.istio.io/v1/namespaces/{NAMESPACE}/serviceentries/taken"


def service(target: int) -> dict[str, Any]:
    """A service on PORT, for which every client's Envoy has to listen there."""
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": {"name": "taken", "namespace": NAMESPACE},
        "spec": {
            "hosts": ["taken.shop.mesh"],
            "location": "MESH_INTERNAL",
            "resolution": "STATIC",
            "ports": [{"number": PORT, "name": "http", "protocol": "HTTP", "targetPort": target}],
            "workloadSelector": {"labels": {"app": "catalog"}},
        },
    }


def check(mesh: Mesh) -> None:
    mesh.report.title("A refusal: a rule that one Envoy can't run")
    frontend = mesh.host("frontend")
    mesh.report.say(f"on {frontend.name}, another process has port {PORT}, where its Envoy would have to listen for a new service")
    definition = service(mesh.ports("catalog").application)
    with mesh.occupied("frontend", PORT):
        try:
            with traffic.Load(frontend, "frontend", traffic.REVIEWS) as load:
                done = mesh.ansible.module("meshwright.mesh.resource", {"definition": definition})
                stored = mesh.control_plane.ask("GET", PATH)
            _judge(mesh, done, stored, WORKLOADS["frontend"].proxy_id)
            mesh.report.check("requests go on meanwhile", load.result["failed"] == 0, load.figure())
        finally:
            mesh.ansible.module("meshwright.mesh.resource", {"definition": definition, "state": "absent"})


def _judge(mesh: Mesh, done: dict[str, Any], stored: dict[str, Any], proxy: str) -> None:
    message = str(done.get("msg", ""))
    named = done["failed"] and done.get("reason") == "RefusedByProxy" and proxy in message and "ddress already in use" in message
    mesh.report.check("the task fails, with the words of the Envoy that refused", named, message[:220])
    took = done.get("rollout", {}).get("proxies", {})
    conditions = {one["type"]: one for one in stored.get("status", {}).get("conditions", [])}
    programmed = conditions.get("Programmed", {})
    good = programmed.get("status") == "False" and programmed.get("reason") == "RefusedByProxy" and proxy in str(programmed.get("message"))
    said = f"Programmed={programmed.get('status')} {programmed.get('reason')}: {str(programmed.get('message'))[:120]}"
    figure = f"its condition: {said} ({took.get('acked')} of {took.get('total')} Envoys took it)"
    mesh.report.check("and the stored rule says why it does not run everywhere", good, figure)
