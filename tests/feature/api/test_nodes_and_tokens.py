# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any

import httpx2
import pytest

from meshwright.api.policy import Role
from tests.feature.api.harness import Mesh

NODES = "/mesh/v1/nodes"


def key(byte: int = 1) -> str:
    blob = b"\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20" + bytes([byte]) * 32
    return f"ssh-ed25519 {base64.b64encode(blob).decode()}"


def node(*keys: str, workloads: tuple[str, ...] = ("cart",)) -> dict[str, Any]:
    ports = range(15006, 15100)
    named = [{"name": name, "namespace": "shop", "proxy": {"inboundPort": port}} for name, port in zip(workloads, ports, strict=False)]
    return {"sshHostKeys": list(keys or (key(),)), "workloads": named}


def test_enrol_change_ban_delete(mesh: Mesh, admin: httpx2.Client) -> None:
    first = admin.put(f"{NODES}/vm1", json=node())
    assert (first.status_code, first.headers["meshwright-changed"]) == (201, "true")
    assert first.json()["workloads"][0] == {
        "name": "cart",
        "namespace": "shop",
        "serviceAccount": "default",
        "labels": {},
        "proxy": {"inboundPort": 15006, "loopback": "127.240", "ipFamilies": ["IPv4"]},
    }
    again = admin.put(f"{NODES}/vm1", json=node(f"{key()} root@vm1"))
    assert (again.headers["meshwright-changed"], again.headers["meshwright-revision"]) == ("false", first.headers["meshwright-revision"])
    assert admin.get(f"{NODES}/vm1").json() == first.json() == again.json()

    banned = admin.put(f"{NODES}/vm1", json={**first.json(), "banned": True})
    assert (banned.status_code, banned.json()["banned"]) == (200, True)
    stale = admin.put(f"{NODES}/vm1", json=first.json())
    assert (stale.status_code, stale.json()["error"]["path"]) == (409, "resourceVersion")
    assert [item["name"] for item in admin.get(NODES).json()["items"]] == ["vm1"]

    assert admin.delete(f"{NODES}/vm1").headers["meshwright-changed"] == "true"
    gone = admin.delete(f"{NODES}/vm1")
    assert (gone.status_code, gone.headers["meshwright-changed"]) == (404, "false")
    assert mesh.stored("nodes/") == {}


def test_dry_run(mesh: Mesh, admin: httpx2.Client) -> None:
    answer = admin.put(f"{NODES}/vm1", json=node(), params={"dryRun": "All"})
    assert (answer.json()["name"], answer.headers["meshwright-changed"]) == ("vm1", "true")
    assert mesh.stored("nodes/") == {}


def test_one_key_is_one_host_and_one_workload_has_one_host(mesh: Mesh, admin: httpx2.Client) -> None:
    admin.put(f"{NODES}/vm1", json=node())
    same_key = admin.put(f"{NODES}/vm2", json=node(f"{key()} another comment", workloads=("other",)))
    assert (same_key.status_code, same_key.json()["error"]["path"]) == (409, "sshHostKeys")
    assert "'vm1'" in same_key.json()["error"]["message"]
    same_workload = admin.put(f"{NODES}/vm2", json=node(key(2)))
    assert (same_workload.status_code, same_workload.json()["error"]["path"]) == (409, "workloads")
    assert list(mesh.stored("nodes/")) == ["nodes/vm1"]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"bogus": 1}, "bogus"),
        ({"name": "vm2"}, "name"),
        ({"sshHostKeys": ["ssh-dss AAAA"]}, "sshHostKeys[0]"),
        ({"sshHostKeys": ["ssh-ed25519 !!!"]}, "sshHostKeys[0]"),
        ({"sshHostKeys": [key().replace("ssh-ed25519", "ssh-rsa")]}, "sshHostKeys[0]"),
        ({"sshHostKeys": "x"}, "sshHostKeys"),
        ({"workloads": [{"name": "Cart"}]}, "workloads[0].name"),
        ({"workloads": [{"name": "a", "namespace": "a.b"}]}, "workloads[0].namespace"),
        ({"workloads": [{"name": "a", "serviceAccount": "../x"}]}, "workloads[0].serviceAccount"),
        ({"workloads": [{"name": "a", "labels": {"x": "a b"}}]}, "workloads[0].labels"),
        ({"workloads": [{"name": "a", "labels": {"x": 1}}]}, "workloads[0].labels.x"),
        ({"workloads": [{"name": "a"}, {"name": "a"}]}, "workloads[1].name"),
        ({"workloads": [{"name": "a"}, {"name": "b"}]}, "workloads[1].proxy.inboundPort"),
        ({"workloads": [{"name": "a", "proxy": {"inboundPort": 0}}]}, "workloads[0].proxy.inboundPort"),
        ({"workloads": [{"name": "a", "proxy": {"loopback": "10.0"}}]}, "workloads[0].proxy.loopback"),
        ({"workloads": [{"name": "a", "proxy": {"loopback": "127.0"}}]}, "workloads[0].proxy.loopback"),
        ({"workloads": [{"name": "a", "proxy": {"ipFamilies": []}}]}, "workloads[0].proxy.ipFamilies"),
        ({"resourceVersion": 5}, "resourceVersion"),
        ({"banned": "yes"}, "banned"),
    ],
)
def test_bad_enrolments(shared: Mesh, shared_admin: httpx2.Client, change: dict[str, Any], path: str) -> None:
    answer = shared_admin.put(f"{NODES}/vm1", json={**node(), **change})
    error = answer.json()["error"]
    assert (answer.status_code, error["reason"]) == (422, "Invalid")
    assert path in [violation["path"] for violation in error["violations"]], error
    assert shared.stored("nodes/") == {}


def test_api_tokens(mesh: Mesh, security: httpx2.Client) -> None:
    body = {"kind": "api", "name": "ci", "role": "namespace-editor", "namespaces": ["shop"], "ttlSeconds": 3600}
    made = security.post("/mesh/v1/tokens", json=body)
    assert (made.status_code, made.json()["expiresAt"]) == (201, "2030-01-01T01:00:00Z")
    token, id = made.json()["token"], made.json()["id"]
    with mesh.client(token) as ci:
        assert ci.get("/mesh/v1/nodes").status_code == 200
        listed = {item["id"]: item for item in security.get("/mesh/v1/tokens").json()["items"]}
        assert listed[id] == {
            "id": id,
            "kind": "api",
            "name": "ci",
            "roles": ["namespace-editor"],
            "namespaces": ["shop"],
            "createdAt": "2030-01-01T00:00:00Z",
            "expiresAt": "2030-01-01T01:00:00Z",
            "usedAt": "2030-01-01T00:00:00Z",
        }
        assert security.delete(f"/mesh/v1/tokens/{id}").headers["meshwright-changed"] == "true"
        assert ci.get("/mesh/v1/nodes").status_code == 401
        assert security.delete(f"/mesh/v1/tokens/{id}").status_code == 404


def test_only_a_security_admin_makes_api_tokens(mesh: Mesh, admin: httpx2.Client) -> None:
    refused = admin.post("/mesh/v1/tokens", json={"kind": "api", "name": "me", "role": "security-admin", "ttlSeconds": 60})
    assert refused.status_code == 403
    assert [item["name"] for item in mesh.stored("tokens/").values()] == ["mesh-admin"]


def test_join_tokens_are_no_api_tokens(mesh: Mesh, admin: httpx2.Client, security: httpx2.Client) -> None:
    body = {"kind": "join", "node": "vm1", "workload": {"namespace": "shop", "name": "cart"}}
    made = admin.post("/mesh/v1/tokens", json=body).json()
    assert made["token"].startswith("mwj_")
    assert made["expiresAt"] == "2030-01-01T00:10:00Z"
    with mesh.client(made["token"]) as thief:
        assert thief.get("/mesh/v1/ca").status_code == 401
    listed = next(item for item in security.get("/mesh/v1/tokens").json()["items"] if item["kind"] == "join")
    assert (listed["node"], listed["workload"], listed["id"]) == ("vm1", {"namespace": "shop", "name": "cart"}, made["id"])
    assert "sha256" not in listed


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"kind": "api", "name": "x", "role": "root", "ttlSeconds": 60}, "role"),
        ({"kind": "api", "name": "x", "role": "reader", "ttlSeconds": 0}, "ttlSeconds"),
        ({"kind": "api", "name": "x", "role": "reader", "ttlSeconds": 10**9}, "ttlSeconds"),
        ({"kind": "api", "name": "x", "role": "namespace-editor", "ttlSeconds": 60}, "namespaces"),
        ({"kind": "api", "name": "x", "role": "reader", "namespaces": ["a"], "ttlSeconds": 60}, "namespaces"),
        ({"kind": "api", "name": "x", "role": "namespace-editor", "namespaces": ["A"], "ttlSeconds": 60}, "namespaces[0]"),
        ({"kind": "api", "name": "a\nb", "role": "reader", "ttlSeconds": 60}, "name"),
        ({"kind": "api", "name": "x", "role": "reader"}, ""),
        ({"kind": "join", "node": "vm1", "workload": {"namespace": "s", "name": "c"}, "ttlSeconds": 86401}, "ttlSeconds"),
        ({"kind": "join", "node": "VM", "workload": {"namespace": "s", "name": "c"}}, "node"),
        ({"kind": "join", "node": "vm1", "workload": {"namespace": "S", "name": "c"}}, "workload"),
        ({"kind": "other"}, "kind"),
        ({}, ""),
    ],
)
def test_bad_token_requests(shared: Mesh, body: dict[str, Any], path: str) -> None:
    with shared.as_role(Role.SECURITY_ADMIN) as client:
        before = shared.revision()
        answer = client.post("/mesh/v1/tokens", json=body)
        assert (answer.status_code, answer.json()["error"]["reason"]) == (422, "Invalid"), answer.text
        assert path in [violation["path"] for violation in answer.json()["error"]["violations"]], answer.text
        assert shared.revision() == before


def test_tokens_end_when_they_said(mesh: Mesh, security: httpx2.Client) -> None:
    body = {"kind": "api", "name": "short", "role": "reader", "ttlSeconds": 30}
    with mesh.client(security.post("/mesh/v1/tokens", json=body).json()["token"]) as client:
        mesh.clock.offset = timedelta(seconds=29)
        assert client.get("/mesh/v1/ca").status_code == 200
        mesh.clock.offset = timedelta(seconds=30)
        assert client.get("/mesh/v1/ca").status_code == 401
