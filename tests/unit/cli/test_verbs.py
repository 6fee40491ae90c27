# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2
from ruamel.yaml import YAML

from meshwright.api.policy import Role
from meshwright.model.meta import Condition, Ref
from tests.feature.api.harness import Mesh, path_of, virtual_service
from tests.feature.api.test_nodes_and_tokens import key
from tests.unit.cli.conftest import Run

PROXY: dict[str, Any] = {
    "id": "cart.shop",
    "namespace": "shop",
    "name": "cart",
    "node": "vm1",
    "connected": True,
    "address": "192.0.2.7:4711",
    "revision": 12,
    "sync": "SYNCED",
    "rejections": [],
    "svid": {"notAfter": "2030-01-02T00:00:00Z"},
    "envoyVersion": "1.40.0",
}


def put(mesh: Mesh, *documents: dict[str, Any]) -> None:
    with mesh.as_role(Role.MESH_ADMIN) as client:
        for document in documents:
            assert client.put(path_of(document), json=document).status_code == 201


def test_get(mesh: Mesh, run: Run) -> None:
    put(mesh, virtual_service(), virtual_service("cart", "bank"))
    mesh.controller.by_ref[Ref("VirtualService", "shop", "reviews")] = (
        Condition("Accepted", "True", "Accepted"),
        Condition("Programmed", "False", "RefusedByProxy", "words"),
    )
    assert run("get", "vs", "-A").stdout.splitlines() == [
        "NAMESPACE  NAME     GENERATION  ACCEPTED  RESOLVED  PROGRAMMED              CREATED",
        "bank       cart     1           True      -         -                       2030-01-01T00:00:00Z",
        "shop       reviews  1           True      -         False (RefusedByProxy)  2030-01-01T00:00:00Z",
    ]
    assert run("get", "VirtualService", "-n", "bank").stdout.count("\n") == 2
    assert run("get", "virtualservices").stdout == "nothing found in namespace default; -n NAMESPACE looks in another one, -A in all\n"
    assert run("get", "dr", "-A").stdout == "nothing found in any namespace\n"
    assert json.loads(run("get", "vs", "reviews", "-n", "shop", "-o", "json").stdout)["spec"] == virtual_service()["spec"]
    missing = run("get", "vs", "none")
    assert (missing.exit_code, "there is no VirtualService 'none'" in missing.stderr) == (1, True)
    unknown = run("get", "gateways")
    assert (unknown.exit_code, "VirtualService (vs)" in unknown.stderr) == (2, True)


def test_yaml_can_be_applied_again(mesh: Mesh, run: Run) -> None:
    put(mesh, virtual_service())
    text = run("get", "vs", "reviews", "-n", "shop", "-o", "yaml").stdout
    assert YAML(typ="safe").load(text)["kind"] == "VirtualService"
    assert run("apply", "-f", "-", stdin=text).stdout == "VirtualService/shop/reviews unchanged\n"
    for form in ("yaml", "json"):
        listed = run("get", "vs", "-A", "-o", form).stdout
        assert run("apply", "-f", "-", stdin=listed).stdout == "VirtualService/shop/reviews unchanged\n"


def test_proxies(mesh: Mesh, run: Run) -> None:
    assert run("proxies").stdout == "nothing found\n"
    refusal = {"type": "ROUTE", "name": "80", "message": "unknown cluster"}
    mesh.controller.items = [PROXY, {"id": "away.shop", "sync": "AWAY", "node": "vm2", "rejections": [refusal]}]
    assert run("proxies").stdout.splitlines() == [
        "ID         NODE  SYNC    REVISION  ADDRESS         ENVOY   CERTIFICATE UNTIL",
        "cart.shop  vm1   SYNCED  12        192.0.2.7:4711  1.40.0  2030-01-02T00:00:00Z",
        "away.shop  vm2   AWAY    -         -               -       -",
    ]
    assert run("proxy", "away.shop").stdout.splitlines()[-1] == "refuses ROUTE 80: unknown cluster"
    assert json.loads(run("proxy", "cart.shop", "status", "-o", "json").stdout) == PROXY
    wrong = run("proxy", "cart")
    assert (wrong.exit_code, "there is no proxy cart; the ids are NAME.NAMESPACE, see `meshwright proxies`" in wrong.stderr) == (1, True)
    assert "NAME.NAMESPACE" in run("proxy", "-h").stdout.splitlines()[0]
    assert run("proxy", "cart.shop", "config").exit_code == 1
    assert run("proxy", "cart.shop", "diff").exit_code == 2


def test_rollout(mesh: Mesh, run: Run) -> None:
    proxies = {"total": 3, "acked": 2, "pending": ["cart.shop"], "away": ["x.shop"]}
    mesh.reach(6)
    mesh.controller.rollouts[5] = [{"revision": 5, "state": "pending", "proxies": proxies, "rejections": [], "seconds": None}]
    shown = run("rollout", "5")
    assert shown.exit_code == 0
    assert shown.stdout.splitlines() == ["REVISION  STATE    ACKED  PENDING  AWAY  SECONDS", "5         pending  2/3    1        1     -"]
    waited = run("rollout", "5", "--wait", "1", "-o", "json")
    assert (waited.exit_code, json.loads(waited.stdout)["state"]) == (1, "pending")
    mesh.controller.rollouts[6] = [{"revision": 6, "state": "rejected", "proxies": proxies, "rejections": [], "seconds": 0.2}]
    assert run("rollout", "6").exit_code == 1
    for wait in ("0", "600"):
        never = run("rollout", "7", "--wait", wait)
        assert never.exit_code == 1
        assert "there is no revision 7; the newest is 6" in never.stderr
    assert run("rollout", "x").exit_code == 2


def test_tokens(mesh: Mesh, run: Run) -> None:
    made = run("token", "create", "--name", "ci", "--role", "reader", "--ttl", "1h", role=Role.SECURITY_ADMIN)
    assert made.exit_code == 0
    assert "until 2030-01-01T01:00:00Z; it is not shown again" in made.stderr
    with mesh.client(made.stdout.strip()) as ci:
        assert ci.get("/mesh/v1/ca").status_code == 200
    joined = run("token", "create", "--node", "vm1", "--workload", "shop/cart", "-o", "json")
    answer = json.loads(joined.stdout)
    assert (answer["token"][:4], answer["expiresAt"]) == ("mwj_", "2030-01-01T00:10:00Z")
    listed = run("token", "list", role=Role.SECURITY_ADMIN).stdout
    assert "vm1: shop/cart" in listed
    assert "ci: reader" in listed
    assert made.stdout.strip() not in listed
    assert run("token", "delete", answer["id"], role=Role.SECURITY_ADMIN).stdout == f"token {answer['id']} deleted\n"
    assert run("token", "delete", answer["id"], role=Role.SECURITY_ADMIN).exit_code == 1
    assert run("token", "list").exit_code == 2
    wrong = (["--name", "x"], ["--node", "x"], ["--name", "x", "--role", "king"], ["--node", "a", "--workload", "b"], [])
    for args in wrong:
        assert run("token", "create", *args).exit_code == 2
    assert run("token", "create", "--name", "x", "--role", "reader", "--ttl", "soon", role=Role.SECURITY_ADMIN).exit_code == 2


def test_nodes(mesh: Mesh, run: Run, tmp_path: Path) -> None:
    public = tmp_path / "host.pub"
    public.write_text(f"{key()} root@vm1\n")
    args = ("node", "enrol", "vm1", "--ssh-host-key", str(public), "--workload", "shop/cart:cart-account")
    assert run(*args).stdout == "node/vm1 created\n"
    assert run(*args).stdout == "node/vm1 unchanged\n"
    assert run("node", "list").stdout.splitlines() == ["NAME  KEYS  BANNED  WORKLOADS", "vm1   1     no      shop/cart"]
    assert json.loads(run("node", "get", "vm1", "-o", "json").stdout)["workloads"][0]["serviceAccount"] == "cart-account"
    assert run("node", "ban", "vm1").stdout == "node/vm1 banned\n"
    assert run(*args).stdout == "node/vm1 unchanged\n", "enrolling again does not let a banned host in"
    assert run("node", "ban", "vm1", "--undo").stdout == "node/vm1 allowed\n"
    again = run("node", "enrol", "vm2", "--ssh-host-key", key())
    assert (again.exit_code, "same SSH host key" in again.stderr) == (1, True)
    assert run("node", "delete", "vm1").stdout == "node/vm1 deleted\n"
    assert run("node", "delete", "vm1").stdout == "node/vm1 absent\n"
    private = tmp_path / "host"
    private.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    refused = run("node", "enrol", "vm1", "--ssh-host-key", str(private))
    assert (refused.exit_code, "give the .pub file" in refused.stderr) == (2, True)
    assert run("node", "enrol", "vm1", "--workload", "cart").exit_code == 2
    assert run("node", "get", "vm1").exit_code == 1


def test_audit_verify(mesh: Mesh, run: Run, offline: Run) -> None:
    put(mesh, virtual_service())
    good = offline("audit", "verify", str(mesh.audit_path))
    assert (good.exit_code, good.stdout) == (0, f"2 lines from line 1 (2030-01-01T00:00:00Z), in 1 file, head {mesh.audit.head}\n")
    mesh.audit_path.write_text(mesh.audit_path.read_text().replace("mesh-admin", "nobody", 1))
    bad = offline("audit", "verify", str(mesh.audit_path))
    assert (bad.exit_code, "line 2 does not follow line 1" in bad.stderr) == (1, True)
    away = offline("audit", "verify", "/nonexistent")
    assert away.exit_code == 2
    assert "run this on the control plane's host" in away.stderr
    assert "/var/lib/meshwright/control-plane/audit.log" in away.stderr


def test_serve_refuses_bad_settings(offline: Run, tmp_path: Path) -> None:
    path = tmp_path / "control-plane.toml"
    path.write_text('trustdomain = "a"\n')
    found = offline("serve", "-c", str(path))
    assert found.exit_code == 2
    assert f"{path}: trustdomain: is not a setting; did you mean trust_domain?" in found.stderr
    path.write_text('trust_domain = "example.org"\n')
    assert offline("serve", "-c", str(path), "--check").exit_code == 0
    assert offline("serve", "-c", str(tmp_path / "none.toml")).exit_code == 2


def test_help_names_every_verb(offline: Run) -> None:
    text = offline("--help").stdout
    assert "stacks" not in text
    for verb in ("serve", "check", "apply", "delete", "get", "proxies", "proxy", "rollout", "token", "node", "audit"):
        assert f"  {verb} " in text
        assert offline(verb, "-h").exit_code == 0
    assert httpx2.__name__ == "httpx2"
