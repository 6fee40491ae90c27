# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
from typing import Any

import httpx2

from meshwright.api.policy import Role
from meshwright.model.meta import Condition, Ref
from meshwright.store.base import Put
from tests.feature.api.harness import KINDS, Mesh, path_of, service_entry, virtual_service

MERGE = {"Content-Type": "application/merge-patch+json"}


def changed(response: httpx2.Response) -> bool:
    return {"true": True, "false": False}[response.headers["meshwright-changed"]]


def revision(response: httpx2.Response) -> int:
    return int(response.headers["meshwright-revision"])


def test_put_creates_then_is_unchanged_then_changes(mesh: Mesh, admin: httpx2.Client) -> None:
    document = virtual_service()
    first = admin.put(path_of(document), json=document)
    assert (first.status_code, changed(first)) == (201, True)
    metadata = first.json()["metadata"]
    assert metadata["generation"] == 1
    assert metadata["creationTimestamp"] == "2030-01-01T00:00:00Z"
    assert metadata["resourceVersion"] == first.headers["meshwright-revision"]

    second = admin.put(path_of(document), json=document)
    assert (second.status_code, changed(second), revision(second)) == (200, False, revision(first))
    assert second.json()["metadata"] == metadata

    document["spec"]["http"][0]["timeout"] = "3s"
    third = admin.put(path_of(document), json=document)
    assert (third.status_code, changed(third)) == (200, True)
    assert revision(third) > revision(first)
    assert third.json()["metadata"] == {**metadata, "generation": 2, "resourceVersion": str(revision(third))}


def test_labels_change_without_a_new_generation(admin: httpx2.Client) -> None:
    document = virtual_service()
    admin.put(path_of(document), json=document)
    document["metadata"]["labels"] = {"team": "shop"}
    answer = admin.put(path_of(document), json=document)
    assert changed(answer)
    assert answer.json()["metadata"]["generation"] == 1


def test_a_thousand_reapplies_write_nothing(mesh: Mesh, admin: httpx2.Client) -> None:
    document = service_entry()
    admin.put(path_of(document), json=document)
    before, audited = mesh.revision(), mesh.audit_path.read_bytes()
    answers = [admin.put(path_of(document), json=document) for _ in range(1000)]
    assert {(a.status_code, changed(a)) for a in answers} == {(200, False)}
    assert mesh.revision() == before
    assert mesh.audit_path.read_bytes() == audited


def test_what_get_answers_can_be_put_back(admin: httpx2.Client) -> None:
    document = service_entry()
    admin.put(path_of(document), json=document)
    got = admin.get(path_of(document)).json()
    assert got["status"]["addresses"]
    assert not changed(admin.put(path_of(document), json=got))


def test_name_namespace_version_and_kind_are_filled_from_the_path(admin: httpx2.Client) -> None:
    answer = admin.put(f"{KINDS}/namespaces/shop/virtualservices/cart", json={"spec": virtual_service()["spec"]})
    assert answer.status_code == 201
    assert (answer.json()["kind"], answer.json()["apiVersion"]) == ("VirtualService", "networking.istio.io/v1")
    assert {k: answer.json()["metadata"][k] for k in ("name", "namespace")} == {"name": "cart", "namespace": "shop"}


def test_older_versions_are_served_and_answered_as_v1(admin: httpx2.Client) -> None:
    document = {**virtual_service(), "apiVersion": "networking.istio.io/v1beta1"}
    answer = admin.put(path_of(document).replace("/v1/", "/v1beta1/"), json=document)
    assert answer.json()["apiVersion"] == "networking.istio.io/v1"
    assert not changed(admin.put(path_of(document), json=virtual_service()))


def test_optimistic_locking(admin: httpx2.Client) -> None:
    document = virtual_service()
    stale = admin.put(path_of(document), json=document).json()
    document["spec"]["http"][0]["timeout"] = "1s"
    now = revision(admin.put(path_of(document), json=document))
    stale["spec"]["http"][0]["timeout"] = "2s"
    refused = admin.put(path_of(document), json=stale)
    assert refused.status_code == 409
    assert f"version {now}" in refused.json()["error"]["message"]
    stale["metadata"]["resourceVersion"] = str(now)
    assert changed(admin.put(path_of(document), json=stale))
    assert admin.delete(path_of(document), params={"resourceVersion": str(now)}).status_code == 409


def test_a_version_of_something_that_is_gone_is_a_conflict(admin: httpx2.Client) -> None:
    document = virtual_service()
    document["metadata"]["resourceVersion"] = "7"
    assert admin.put(path_of(document), json=document).status_code == 409


def test_writers_without_a_version_do_not_lose_each_other(mesh: Mesh) -> None:
    """Merge patches of one document from many at once: each is in the end."""
    document = virtual_service()
    token = mesh.token(Role.MESH_ADMIN)
    with mesh.client(token) as client:
        client.put(path_of(document), json=document)

    async def patch_all() -> list[int]:
        async with httpx2.AsyncClient(base_url=mesh.url, verify=_context(mesh), headers={"Authorization": f"Bearer {token}"}) as client:

            async def one(i: int) -> int:
                body = {"metadata": {"labels": {f"l{i}": "x"}}}
                return (await client.patch(path_of(document), json=body, headers=MERGE)).status_code

            return await asyncio.gather(*(one(i) for i in range(8)))

    assert set(asyncio.run(patch_all())) == {200}
    assert len(mesh.stored()["resources/VirtualService/shop/reviews"]["metadata"]["labels"]) == 8


def _context(mesh: Mesh) -> Any:
    import ssl

    return ssl.create_default_context(cadata=mesh.ca.pem.decode())


def test_patch_merges_and_null_takes_away(admin: httpx2.Client) -> None:
    document = virtual_service()
    document["metadata"]["labels"] = {"a": "1", "b": "2"}
    admin.put(path_of(document), json=document)
    patched = admin.patch(path_of(document), json={"metadata": {"labels": {"a": None, "c": "3"}}}, headers=MERGE)
    assert changed(patched)
    assert patched.json()["metadata"]["labels"] == {"b": "2", "c": "3"}
    assert not changed(admin.patch(path_of(document), json={}, headers=MERGE))
    assert admin.patch(path_of(virtual_service("none")), json={}, headers=MERGE).status_code == 404
    renamed = admin.patch(path_of(document), json={"metadata": {"name": "other"}}, headers=MERGE)
    assert (renamed.status_code, renamed.json()["error"]["path"]) == (422, "metadata.name")
    bad = admin.patch(path_of(document), json={"spec": {"bogus": 1}}, headers=MERGE)
    assert (bad.status_code, bad.json()["error"]["path"]) == (422, "spec.bogus")


def test_delete_and_delete_again(mesh: Mesh, admin: httpx2.Client) -> None:
    document = virtual_service()
    admin.put(path_of(document), json=document)
    gone = admin.delete(path_of(document))
    assert (gone.status_code, changed(gone), gone.json()["metadata"]["name"]) == (200, True, "reviews")
    again = admin.delete(path_of(document))
    assert (again.status_code, changed(again), revision(again)) == (404, False, revision(gone))
    assert mesh.stored() == {}


def test_dry_runs_store_nothing_and_foresee_everything(mesh: Mesh, admin: httpx2.Client) -> None:
    document, dry = service_entry(), {"dryRun": "All"}
    before = mesh.revision()
    foreseen = admin.put(path_of(document), json=document, params=dry)
    assert (foreseen.status_code, changed(foreseen), revision(foreseen)) == (201, True, before)
    assert (mesh.stored(), mesh.revision()) == ({}, before)
    real = admin.put(path_of(document), json=document)
    assert real.json()["status"]["addresses"] == foreseen.json()["status"]["addresses"]
    assert not changed(admin.put(path_of(document), json=document, params=dry))
    assert changed(admin.delete(path_of(document), params=dry))
    assert list(mesh.stored()) == ["resources/ServiceEntry/shop/reviews"]
    bad = admin.put(path_of(document), json={"spec": {"bogus": 1}}, params=dry)
    assert bad.status_code == 422


def test_a_dry_run_says_which_references_are_not_there_yet(admin: httpx2.Client) -> None:
    document = virtual_service()
    conditions = admin.put(path_of(document), json=document, params={"dryRun": "All"}).json()["status"]["conditions"]
    assert {c["type"]: c["status"] for c in conditions} == {"Accepted": "True", "ResolvedRefs": "False"}


def test_every_service_has_an_address_of_its_own(mesh: Mesh, admin: httpx2.Client) -> None:
    """Though the World has not seen any of them yet."""
    seen = set()
    for i in range(40):
        document = service_entry(f"s{i}", hosts=[f"s{i}.shop.mesh", f"t{i}.shop.mesh"])
        seen |= {a["value"] for a in admin.put(path_of(document), json=document).json()["status"]["addresses"]}
    assert len(seen) == 80
    document = service_entry("s0", hosts=["t0.shop.mesh", "new.shop.mesh"])
    before = {a["host"]: a["value"] for a in admin.get(path_of(document)).json()["status"]["addresses"]}
    after = {a["host"]: a["value"] for a in admin.put(path_of(document), json=document).json()["status"]["addresses"]}
    assert after["t0.shop.mesh"] == before["t0.shop.mesh"]
    assert set(after) == {"t0.shop.mesh", "new.shop.mesh"}
    assert after["new.shop.mesh"] not in seen


def test_lists_by_namespace_and_label(admin: httpx2.Client) -> None:
    for namespace, name, tier in (("shop", "a", "x"), ("shop", "b", "y"), ("bank", "c", "x")):
        document = virtual_service(name, namespace)
        document["metadata"]["labels"] = {"tier": tier}
        admin.put(path_of(document), json=document)

    def names(path: str, **params: str) -> list[str]:
        return [item["metadata"]["name"] for item in admin.get(path, params=params).json()["items"]]

    assert names(f"{KINDS}/virtualservices") == ["c", "a", "b"]
    assert names(f"{KINDS}/namespaces/shop/virtualservices") == ["a", "b"]
    assert names(f"{KINDS}/virtualservices", labelSelector="tier=x") == ["c", "a"]
    assert names(f"{KINDS}/virtualservices", labelSelector="tier==x,absent=1") == []
    assert names(f"{KINDS}/serviceentries") == []
    refused = admin.get(f"{KINDS}/virtualservices", params={"labelSelector": "tier!=x"})
    assert (refused.status_code, refused.json()["error"]["path"]) == (400, "labelSelector")


def test_conditions_are_those_of_this_moment(mesh: Mesh, admin: httpx2.Client) -> None:
    document = virtual_service()
    admin.put(path_of(document), json=document)
    refusal = Condition("Programmed", "False", "RefusedByProxy", "reviews.shop: route: unknown cluster")
    mesh.controller.by_ref[Ref("VirtualService", "shop", "reviews")] = (refusal,)
    wanted = [{"type": "Programmed", "status": "False", "reason": "RefusedByProxy", "message": "reviews.shop: route: unknown cluster"}]
    assert admin.get(path_of(document)).json()["status"]["conditions"] == wanted
    assert admin.get(f"{KINDS}/virtualservices").json()["items"][0]["status"]["conditions"] == wanted
    assert admin.put(path_of(document), json=document).json()["status"]["conditions"] == wanted
    assert "conditions" not in str(mesh.stored())


def test_a_full_store_is_unavailable_and_says_so(mesh: Mesh, admin: httpx2.Client) -> None:
    document = virtual_service()
    mesh.do(mesh.store.commit([Put("tokens/x", b"{}")]))
    mesh.do(mesh.store.close())
    answer = admin.put(path_of(document), json=document)
    assert (answer.status_code, answer.json()["error"]["reason"]) == (503, "Unavailable")
