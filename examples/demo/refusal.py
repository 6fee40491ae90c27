# SPDX-License-Identifier: Apache-2.0
"""A change that one Envoy can't run: the task fails with that Envoy's words, the rule says so, and traffic goes on."""

from __future__ import annotations

from typing import Any

from examples.demo import traffic
from examples.demo.mesh import NAMESPACE, WORKLOADS, Mesh

PORT = 8888
UNIT = "port-taker"
SERVICE = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "ServiceEntry",
    "metadata": {"name": "taken", "namespace": NAMESPACE},
    "spec": {
        "hosts": ["taken.shop.mesh"],
        "location": "MESH_INTERNAL",
        "resolution": "STATIC",
        "ports": [{"number": PORT, "name": "http", "protocol": "HTTP", "targetPort": 8081}],
        "workloadSelector": {"labels": {"app": "catalog"}},
    },
}
PATH = f"/apis/networking.istio.io/v1/namespaces/{NAMESPACE}/serviceentries/taken"


def check(mesh: Mesh) -> None:
    mesh.report.title("A refusal")
    frontend, proxy = mesh.host("frontend"), WORKLOADS["frontend"].proxy_id
    taker = (
        f"import socket,time; s=socket.socket(); s.bind(('127.240.0.1', {PORT})); s.listen(); print('ready', flush=True); time.sleep(3600)"
    )
    frontend.ssh(f'systemd-run -q --unit={UNIT} -p Type=exec python3 -c "{taker}"')
    frontend.ssh(f"timeout 10 sh -c 'until ss -Hltn src 127.240.0.1:{PORT} | grep -q .; do sleep 0.05; done'")
    try:
        with traffic.Load(frontend, "frontend", traffic.REVIEWS) as load:
            done = mesh.ansible.module("meshwright.mesh.resource", {"definition": SERVICE})
            stored = mesh.control_plane.ask("GET", PATH)
        _judge(mesh, done, stored, proxy)
        mesh.report.check("traffic goes on meanwhile", load.result["failed"] == 0, load.figure())
    finally:
        mesh.ansible.module("meshwright.mesh.resource", {"definition": SERVICE, "state": "absent"})
        frontend.ssh(f"systemctl stop {UNIT}", check=False)


def _judge(mesh: Mesh, done: dict[str, Any], stored: dict[str, Any], proxy: str) -> None:
    message = str(done.get("msg", ""))
    named = done["failed"] and done.get("reason") == "RefusedByProxy" and proxy in message and "ddress already in use" in message
    mesh.report.check("the task fails with the words of the Envoy that refused", named, message[:220])
    acked = done.get("rollout", {}).get("proxies", {})
    conditions = {one["type"]: one for one in stored.get("status", {}).get("conditions", [])}
    programmed = conditions.get("Programmed", {})
    good = programmed.get("status") == "False" and programmed.get("reason") == "RefusedByProxy" and proxy in str(programmed.get("message"))
    figure = f"Programmed={programmed.get('status')} {programmed.get('reason')}: {str(programmed.get('message'))[:120]}"
    mesh.report.check("and the rule carries the reason", good, f"{figure} ({acked.get('acked')} of {acked.get('total')} proxies took it)")
