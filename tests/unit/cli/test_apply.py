# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from meshwright.api.policy import Role
from meshwright.model.meta import Condition, Ref
from tests.feature.api.harness import Mesh, service_entry, virtual_service
from tests.unit.cli.conftest import Run


def rollout(revision: int, state: str = "done", pending: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    proxies = {"total": 2, "acked": 2 - len(pending), "pending": list(pending), "away": []}
    return {"revision": revision, "state": state, "proxies": proxies, "rejections": [], "seconds": None, **more}


@pytest.fixture
def rules(tmp_path: Path) -> str:
    path = tmp_path / "rules.json"
    path.write_text(json.dumps({"kind": "List", "items": [service_entry(), virtual_service()]}))
    return str(path)


def serve_rollouts(mesh: Mesh, *states: dict[str, Any]) -> int:
    """The next two writes have these rollouts, and the revision of the first of them."""
    following = mesh.revision() + 1
    for revision in (following, following + 1):
        mesh.controller.rollouts[revision] = [{**state, "revision": revision} for state in states]
    return following


def test_created_unchanged_configured(mesh: Mesh, run: Run, rules: str) -> None:
    first = serve_rollouts(mesh, rollout(0))
    found = run("apply", "-f", rules)
    assert (found.exit_code, found.stdout) == (0, "ServiceEntry/shop/reviews created\nVirtualService/shop/reviews created\n")
    assert [revision for revision, _ in mesh.controller.waits] == [first, first + 1]

    mesh.controller.waits.clear()
    again = run("apply", "-f", rules)
    assert (again.exit_code, again.stdout) == (0, "ServiceEntry/shop/reviews unchanged\nVirtualService/shop/reviews unchanged\n")
    assert mesh.controller.waits == []

    serve_rollouts(mesh, rollout(0))
    changed = virtual_service()
    changed["spec"]["http"][0]["timeout"] = "2s"
    third = run("apply", "-f", "-", stdin=json.dumps(changed))
    assert (third.exit_code, third.stdout) == (0, "VirtualService/shop/reviews configured\n")


def test_as_json(mesh: Mesh, run: Run, rules: str) -> None:
    first = serve_rollouts(mesh, rollout(0))
    answer = json.loads(run("apply", "-f", rules, "-o", "json").stdout)
    assert answer["results"] == [
        {"resource": "ServiceEntry/shop/reviews", "result": "created", "revision": first, "errors": [], "refusedBy": [], "warnings": []},
        {
            "resource": "VirtualService/shop/reviews",
            "result": "created",
            "revision": first + 1,
            "errors": [],
            "refusedBy": [],
            "warnings": [],
        },
    ]
    assert [one["state"] for one in answer["rollouts"]] == ["done", "done"]


def test_what_leads_nowhere_is_a_warning_each_time(mesh: Mesh, run: Run, rules: str) -> None:
    serve_rollouts(mesh, rollout(0))
    loose = Condition("ResolvedRefs", "False", "HostNotFound", "spec.http[0].route[0].destination: there is no service nosuch.shop.mesh")
    mesh.controller.by_ref[Ref("VirtualService", "shop", "reviews")] = (loose,)
    for result in ("created", "unchanged"):
        found = run("apply", "-f", rules)
        assert found.exit_code == 0 and f"VirtualService/shop/reviews {result}" in found.stdout
        assert found.stderr == f"warning: VirtualService/shop/reviews: {loose.message}\n"
    again = json.loads(run("apply", "-f", rules, "-o", "json").stdout)
    assert [one["warnings"] for one in again["results"]] == [[], [loose.message]]


def test_it_waits_until_all_have_it(mesh: Mesh, run: Run, rules: str) -> None:
    serve_rollouts(mesh, rollout(0, "pending", ("cart.shop",)), rollout(0, "pending", ("cart.shop",)), rollout(0))
    assert run("apply", "-f", rules).exit_code == 0
    assert len(mesh.controller.waits) == 6


def refused(*refs: str) -> dict[str, Any]:
    refusal = {
        "proxy": "cart.shop",
        "type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        "name": "80",
        "message": "route: unknown cluster 'x'",
        "refs": list(refs),
    }
    return rollout(0, "rejected", rejections=[refusal])


def test_a_refusal_is_told_in_envoys_words(mesh: Mesh, run: Run, rules: str) -> None:
    serve_rollouts(mesh, refused("VirtualService/shop/reviews"))
    found = run("apply", "-f", rules)
    assert found.exit_code == 1
    assert found.stdout.splitlines() == [
        "ServiceEntry/shop/reviews created",
        "VirtualService/shop/reviews created, but refused by 1 of 2 proxies",
    ]
    assert found.stderr.splitlines() == [
        "cart.shop refuses RouteConfiguration 80 (VirtualService/shop/reviews): route: unknown cluster 'x'",
        "What is refused is stored all the same; these proxies keep what they ran before. See more: `meshwright proxy cart.shop`. Undo:",
        "  meshwright delete VirtualService reviews -n shop",
    ]
    changed = virtual_service()
    changed["spec"]["http"][0]["timeout"] = "2s"
    serve_rollouts(mesh, refused("VirtualService/shop/reviews"))
    again = run("apply", "-f", "-", "-o", "json", stdin=json.dumps(changed))
    assert (again.exit_code, json.loads(again.stdout)["results"][0]["refusedBy"]) == (1, ["cart.shop"])
    assert "apply VirtualService/shop/reviews as it was before, or: meshwright delete" in again.stderr


def test_a_deletion_is_refused_in_words_about_what_is_left(mesh: Mesh, run: Run, rules: str) -> None:
    run("apply", "-f", rules, "--no-wait")
    serve_rollouts(mesh, refused("DestinationRule/shop/other"))
    found = run("delete", "vs", "reviews", "-n", "shop")
    assert found.exit_code == 1
    assert found.stdout == "VirtualService/shop/reviews deleted, but 1 of 2 proxies refuse what is there without it\n"
    assert "  apply VirtualService/shop/reviews again" in found.stderr


def test_what_was_stored_is_said_though_nobody_can_say_who_runs_it(mesh: Mesh, run: Run, rules: str) -> None:
    first = serve_rollouts(mesh, rollout(0))
    del mesh.controller.rollouts[first + 1]
    found = run("apply", "-f", rules)
    assert found.exit_code == 1
    assert found.stdout.splitlines() == [
        "ServiceEntry/shop/reviews created",
        "VirtualService/shop/reviews created, but who runs it is not known",
    ]


def test_what_stands_refused_is_bad_though_nothing_changed(mesh: Mesh, run: Run, rules: str) -> None:
    assert run("apply", "-f", rules, "--no-wait").exit_code == 0
    words = "cart.shop: route: unknown cluster 'x'"
    mesh.controller.by_ref[Ref("VirtualService", "shop", "reviews")] = (Condition("Programmed", "False", "RefusedByProxy", words),)
    found = run("apply", "-f", rules)
    assert found.exit_code == 1
    assert "VirtualService/shop/reviews unchanged, and still refused by proxies\n" in found.stdout
    assert found.stderr.startswith(f"VirtualService/shop/reviews: not running: {words}\nWhat is refused is stored all the same;")
    assert "See more: `meshwright proxies`" in found.stderr


def test_time_is_over(mesh: Mesh, run: Run, rules: str) -> None:
    first = serve_rollouts(mesh, rollout(0, "pending", ("cart.shop",)))
    found = run("apply", "-f", rules, "--timeout", "1")
    assert found.exit_code == 1
    assert f"revision {first}: 1 of 2 proxies run it; waiting for cart.shop" in found.stderr
    assert found.stdout.startswith("ServiceEntry/shop/reviews created, but not everywhere yet\n")


def test_one_bad_document_and_nothing_is_sent(mesh: Mesh, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "rules.json"
    path.write_text(json.dumps({"kind": "List", "items": [service_entry(), virtual_service(bogus=1)]}))
    found = run("apply", "-f", str(path))
    assert found.exit_code == 1
    assert "nothing was sent" in found.stderr
    assert "VirtualService/shop/reviews: spec.bogus: UnknownField" in found.stderr
    assert mesh.stored() == {}


def test_what_the_server_refuses(mesh: Mesh, run: Run, rules: str) -> None:
    document = {**service_entry(), "metadata": {"name": "reviews", "namespace": "shop", "resourceVersion": "1"}}
    found = run("apply", "-f", "-", "--no-wait", stdin=json.dumps(document))
    assert found.exit_code == 1
    assert found.stdout == "ServiceEntry/shop/reviews refused\n"
    assert "Conflict" in found.stderr
    forbidden = run("apply", "-f", rules, role=Role.READER)
    assert forbidden.exit_code == 2
    assert "needs the role mesh-admin or namespace-editor" in forbidden.stderr


def test_dry_run_and_namespace(mesh: Mesh, run: Run) -> None:
    document = service_entry()
    del document["metadata"]["namespace"]
    found = run("apply", "-f", "-", "-n", "bank", "--dry-run", stdin=json.dumps(document))
    assert (found.exit_code, found.stdout) == (0, "ServiceEntry/bank/reviews created (dry run)\n")
    assert mesh.stored() == {}


def test_delete(mesh: Mesh, run: Run, rules: str) -> None:
    run("apply", "-f", rules, "--no-wait")
    one = run("delete", "vs", "reviews", "-n", "shop", "--no-wait")
    assert (one.exit_code, one.stdout) == (0, "VirtualService/shop/reviews deleted\n")
    serve_rollouts(mesh, rollout(0))
    rest = run("delete", "-f", rules)
    assert (rest.exit_code, rest.stdout) == (0, "VirtualService/shop/reviews absent\nServiceEntry/shop/reviews deleted\n")
    assert mesh.stored() == {}
    for wrong in (("delete",), ("delete", "vs"), ("delete", "vs", "a", "-f", rules), ("delete", "gateway", "a")):
        assert run(*wrong).exit_code == 2
