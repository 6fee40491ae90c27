# SPDX-License-Identifier: Apache-2.0
"""Health, metrics, rollouts, proxies, the CA, attestation, the audit."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from meshwright.api.auth import TokenGrant
from meshwright.api.chain import Broken, verify
from meshwright.api.policy import Role
from meshwright.model.decode import decode
from meshwright.model.identity import ProxyId
from meshwright.model.proxy import EnrolledWorkload, Node
from meshwright.model.snapshot import ResourceSet, Snapshot, TypeUrl, XdsResource
from meshwright.model.world import Change, World, allocate_vips
from meshwright.translate import compile
from tests.feature.api.harness import Mesh, path_of, service_entry, virtual_service

DONE = {"revision": 7, "state": "done", "proxies": {"total": 1, "acked": 1, "pending": [], "away": []}, "rejections": []}


def test_alive_and_ready(mesh: Mesh) -> None:
    with mesh.client() as anonymous:
        assert anonymous.get("/healthz").status_code == 200
        assert anonymous.get("/readyz").status_code == 200
        mesh.controller.is_ready = False
        assert anonymous.get("/healthz").status_code == 200
        assert anonymous.get("/readyz").status_code == 503


def test_metrics_are_what_prometheus_reads(mesh: Mesh, admin: httpx2.Client) -> None:
    admin.put(path_of(virtual_service()), json=virtual_service())
    answer = admin.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    assert {(s.labels["kind"], s.value) for s in families["meshwright_proxies"].samples} == {("connected", 2.0), ("away", 1.0)}
    assert families["meshwright_pushes"].type == "counter"
    puts = [s for s in families["meshwright_api_requests"].samples if s.labels.get("method") == "PUT" and s.name.endswith("_total")]
    assert [(s.labels["code"], s.value) for s in puts] == [("201", 1.0)]


def test_rollouts(mesh: Mesh, admin: httpx2.Client) -> None:
    mesh.controller.rollouts[7] = [DONE]
    mesh.reach(8)
    assert admin.get("/mesh/v1/rollouts/7").json() == DONE
    assert mesh.controller.waits == []
    assert admin.get("/mesh/v1/rollouts/7", params={"wait": "30"}).json() == DONE
    assert mesh.controller.waits == [(7, 30.0)]
    assert admin.get("/mesh/v1/rollouts/8").status_code == 410, "forgotten"
    for revision, params in (("x", {}), ("-1", {}), ("9" * 30, {}), ("7", {"wait": "601"}), ("7", {"wait": "-1"})):
        assert admin.get(f"/mesh/v1/rollouts/{revision}", params=params).status_code == 400


def test_a_revision_that_never_was(mesh: Mesh, admin: httpx2.Client) -> None:
    mesh.reach(3)
    mesh.controller.rollouts[3] = [{**DONE, "revision": 3, "state": "pending"}]
    mesh.controller.rollouts[4] = [{**DONE, "revision": 4, "state": "pending"}]
    assert admin.get("/mesh/v1/rollouts/3").json()["state"] == "pending", "stored, but the controller has not read it yet"
    for params in ({}, {"wait": "600"}):
        refused = admin.get("/mesh/v1/rollouts/4", params=params)
        assert (refused.status_code, refused.json()["error"]["reason"]) == (404, "NotFound")
        assert refused.json()["error"]["message"] == "there is no revision 4; the newest is 3"
    assert mesh.controller.waits == []
    mesh.reach(4)
    assert admin.get("/mesh/v1/rollouts/4").json()["state"] == "pending"


def test_proxies_and_their_configuration(mesh: Mesh, admin: httpx2.Client) -> None:
    cluster_pb2 = pytest.importorskip("envoy.config.cluster.v3.cluster_pb2")
    body = cluster_pb2.Cluster(name="outbound|80||reviews.shop.mesh").SerializeToString()
    found = XdsResource(TypeUrl.CLUSTER, "outbound|80||reviews.shop.mesh", body, ())
    names = XdsResource(TypeUrl.NAMES, "names", b"127.240.0.1 reviews.shop.mesh\n", ())
    layers = {r.type: (ResourceSet(r.type, {r.name: r}),) for r in (found, names)}
    mesh.controller.items = [
        {"id": "cart.shop", "namespace": "shop", "name": "cart"},
        {"id": "new.shop", "namespace": "shop", "name": "new"},
    ]
    mesh.controller.snapshots[ProxyId("cart", "shop")] = Snapshot(layers)
    assert admin.get("/mesh/v1/proxies").json() == {"items": mesh.controller.items}
    assert admin.get("/mesh/v1/proxies/cart.shop").json()["name"] == "cart"
    config = admin.get("/mesh/v1/proxies/cart.shop/config").json()
    assert config["clusters"] == [{"name": "outbound|80||reviews.shop.mesh"}]
    assert config["listeners"] == config["routes"] == config["endpoints"] == []
    assert config["names"] == [{"name": "names", "text": "127.240.0.1 reviews.shop.mesh\n"}]
    for path, status in (("new.shop/config", 404), ("none.shop", 404), ("none.shop/config", 404), ("nodot", 400)):
        assert admin.get(f"/mesh/v1/proxies/{path}").status_code == status


def test_the_whole_configuration_of_a_proxy_is_shown(mesh: Mesh, admin: httpx2.Client) -> None:
    """Every message that the compiler emits can be said in JSON, whatever is wrapped in what."""
    entry = decode(service_entry())
    entry = allocate_vips(World.empty(), entry)
    rule = decode(virtual_service())
    node = Node("vm1", workloads=(EnrolledWorkload("reviews", "shop", labels={"app": "reviews"}),))
    changes = [Change(ref=entry.ref, resource=entry), Change(ref=rule.ref, resource=rule), Change(node_name="vm1", node=node)]
    world, _ = World.empty().apply(changes, 5)
    proxy = world.proxies[ProxyId("reviews", "shop")]
    outbound = compile.compile_outbound(world, compile.scope_key(proxy), compile.CompileCache())
    snapshot = compile.make_snapshot(outbound, compile.compile_inbound(world, proxy, None))
    mesh.controller.snapshots[proxy.id] = snapshot
    config = admin.get("/mesh/v1/proxies/reviews.shop/config").json()
    assert "outbound|80||reviews.shop.mesh" in [cluster["name"] for cluster in config["clusters"]]
    for field, type in (("clusters", TypeUrl.CLUSTER), ("listeners", TypeUrl.LISTENER), ("routes", TypeUrl.ROUTE)):
        assert [one["name"] for one in config[field]] == snapshot.names(type) != []
    assert all("@type" in chain["filters"][0]["typedConfig"] for chain in config["listeners"][0]["filterChains"])


def test_the_ca(admin: httpx2.Client) -> None:
    answer = admin.get("/mesh/v1/ca").json()
    assert answer["active"] == {"serial": "2a", "notAfter": "2039-12-30T00:00:00Z"}
    assert (answer["trustDomain"], answer["svidTtlSeconds"]) == ("cluster.local", 86400.0)
    assert answer["bundle"].startswith("-----BEGIN")


def test_attestation_needs_no_token_but_a_proof(mesh: Mesh) -> None:
    with mesh.client() as anonymous:
        assert anonymous.post("/mesh/v1/attest/nonce", json={"node": "vm1"}).json()["expiresIn"] == 60
        assert anonymous.post("/mesh/v1/attest", json={"token": "good"}).json()["proxyId"] == "x"
        refused = anonymous.post("/mesh/v1/attest", json={"token": "bad"})
        assert (refused.status_code, refused.json()["error"]["message"]) == (401, "attestation refused")
        assert mesh.attestation.sources == ["127.0.0.1", "127.0.0.1"]
        for body in ([], {}, {"node": 5}, {"node": "a", "more": 1}):
            assert anonymous.post("/mesh/v1/attest/nonce", json=body).status_code == 400
        assert anonymous.post("/mesh/v1/attest", json={"csr": "x" * 70_000}).status_code == 413


def test_the_audit_holds_every_write(mesh: Mesh, admin: httpx2.Client, security: httpx2.Client) -> None:
    document = virtual_service()
    put = admin.put(path_of(document), json=document)
    admin.delete(path_of(document))
    answer = security.get("/mesh/v1/audit").json()
    items = answer["items"]
    assert [item["outcome"] for item in items] == ["begun", "stored", "begun", "deleted"]
    assert {item["key"] for item in items} == {"resources/VirtualService/shop/reviews"}
    assert {(item["principal"], item["source"]) for item in items} == {("mesh-admin", "127.0.0.1")}
    assert items[1]["requestId"] == put.headers["x-request-id"]
    assert items[1]["revision"] == int(put.headers["meshwright-revision"])
    assert (items[0]["before"], items[2]["before"]) == ("", items[1]["after"])
    assert security.get("/mesh/v1/audit", params={"after": "2", "limit": "1"}).json()["items"] == [items[2]]
    assert verify(mesh.audit_path)[:2] == (4, answer["head"])
    assert mesh.audit_path.stat().st_mode & 0o777 == 0o600


def test_a_changed_line_breaks_the_chain(mesh: Mesh, admin: httpx2.Client) -> None:
    for name in ("a", "b"):
        admin.put(path_of(virtual_service(name)), json=virtual_service(name))
    text = mesh.audit_path.read_text()
    lines = text.splitlines(keepends=True)
    for forged in (text.replace("mesh-admin", "nobody", 1), "".join(lines[1:]), "".join([*lines[:1], *lines[2:]]), text + "{}\n"):
        mesh.audit_path.write_text(forged)
        with pytest.raises(Broken):
            verify(mesh.audit_path)


def test_without_the_audit_nothing_is_written(mesh: Mesh, admin: httpx2.Client, security: httpx2.Client) -> None:
    mesh.audit_fails = True
    document = virtual_service()
    answer = admin.put(path_of(document), json=document)
    assert (answer.status_code, answer.json()["error"]["reason"]) == (503, "Unavailable")
    assert "audit" in answer.json()["error"]["message"]
    assert admin.put("/mesh/v1/nodes/vm1", json={}).status_code == 503
    assert security.post("/mesh/v1/tokens", json={"kind": "api", "name": "x", "role": "reader", "ttlSeconds": 60}).status_code == 503
    assert mesh.stored() == mesh.stored("nodes/") == {}
    mesh.audit_fails = False
    assert admin.put(path_of(document), json=document).status_code == 201
    verify(mesh.audit_path)


def test_no_secret_is_in_the_audit_or_the_store(mesh: Mesh, security: httpx2.Client) -> None:
    body: dict[str, Any] = {"kind": "api", "name": "ci", "role": "reader", "ttlSeconds": 60}
    token = security.post("/mesh/v1/tokens", json=body).json()["token"]
    kept = mesh.audit_path.read_text() + json.dumps(mesh.stored("tokens/")) + security.get("/mesh/v1/tokens").text + str(mesh.events)
    assert token not in kept
    assert token.removeprefix("mwa_") not in kept
    with mesh.client(token) as ci:
        assert ci.get("/mesh/v1/ca").status_code == 200
        assert ci.put(path_of(virtual_service()), json=virtual_service()).status_code == 403


def test_writes_are_logged_and_reads_are_not(mesh: Mesh, admin: httpx2.Client) -> None:
    answer = admin.put(path_of(virtual_service()), json=virtual_service())
    admin.get("/mesh/v1/nodes")
    (event,) = mesh.events
    wanted = {"event": "api.write", "principal": "mesh-admin", "status": 201, "request_id": answer.headers["x-request-id"]}
    assert {key: event[key] for key in wanted} == wanted


def test_the_role_of_a_first_administrator(mesh: Mesh) -> None:
    with mesh.client(mesh.grant(TokenGrant("admin", (Role.MESH_ADMIN, Role.SECURITY_ADMIN)))) as client:
        assert client.put(path_of(virtual_service()), json=virtual_service()).status_code == 201
        assert client.get("/mesh/v1/audit").status_code == 200
        listed = client.get("/mesh/v1/tokens").json()["items"]
    assert [(item["name"], "expiresAt" in item) for item in listed] == [("admin", False)]
