# SPDX-License-Identifier: Apache-2.0
"""An editor that stores without end, or as much at once as it can."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from meshwright.api.census import Census
from meshwright.api.policy import Role
from meshwright.config import Limits
from meshwright.errors import Conflict, Full, Unavailable
from meshwright.store.base import Put
from meshwright.store.memory import MemoryStore
from tests.feature.api.harness import path_of, running, service_entry, virtual_service

RATES = {"reads_per_second": 1e6, "writes_per_second": 1e6}
MERGE = {"Content-Type": "application/merge-patch+json"}


def labelled(value: str) -> dict[str, Any]:
    return {"metadata": {"annotations": {"note": value}}}


def test_a_namespace_may_keep_so_many_and_no_more(tmp_path: Path) -> None:
    with running(tmp_path, Limits(**RATES, resources_per_namespace=3, resources=5)) as mesh, mesh.as_role(Role.MESH_ADMIN) as admin:
        mine = [service_entry(f"s{i}", "shop") for i in range(3)]
        for document in mine:
            assert admin.put(path_of(document), json=document).status_code == 201
        for more in (service_entry("more", "shop"), virtual_service("more", "shop")):
            for query in ("", "?dryRun=All"):
                refused = admin.put(path_of(more) + query, json=more)
                assert (refused.status_code, refused.json()["error"]["reason"]) == (403, "LimitReached")
                message = refused.json()["error"]["message"]
                assert "'shop' has 3 resources" in message and "limits.resources_per_namespace = 3" in message
        assert admin.patch(path_of(mine[0]), json=labelled("x"), headers=MERGE).status_code == 200
        assert admin.put(path_of(mine[1]), json=mine[1]).status_code == 200
        for name in ("a", "b"):
            assert admin.put(path_of(service_entry(name, "other")), json=service_entry(name, "other")).status_code == 201
        refused = admin.put(path_of(service_entry("c", "other")), json=service_entry("c", "other"))
        assert "the mesh has 5 resources" in refused.json()["error"]["message"]
        assert "limits.resources = 5" in refused.json()["error"]["message"]
        assert admin.delete(path_of(mine[2])).status_code == 200
        assert admin.put(path_of(virtual_service("more", "shop")), json=virtual_service("more", "shop")).status_code == 201


def test_nor_more_of_them_when_many_come_at_once(tmp_path: Path) -> None:
    with running(tmp_path, Limits(**RATES, resources_per_namespace=7)) as mesh:
        token = mesh.token(Role.NAMESPACE_EDITOR, "shop")

        def store(i: int) -> int:
            document = virtual_service(f"v{i}", "shop")
            with mesh.client(token) as editor:
                return int(editor.put(path_of(document), json=document).status_code)

        with ThreadPoolExecutor(8) as threads:
            answers = sorted(threads.map(store, range(24)))
        assert answers == [201] * 7 + [403] * 17
        assert len(mesh.stored()) == 7


def test_what_is_there_doesnt_grow_beyond_the_bytes_of_its_namespace(tmp_path: Path) -> None:
    with running(tmp_path, Limits(**RATES, bytes_per_namespace=4_000)) as mesh, mesh.as_role(Role.NAMESPACE_EDITOR, "shop") as editor:
        document = virtual_service()
        assert editor.put(path_of(document), json=document).status_code == 201
        assert editor.patch(path_of(document), json=labelled("x" * 2_000), headers=MERGE).status_code == 200
        refused = editor.patch(path_of(document), json=labelled("x" * 5_000), headers=MERGE)
        assert (refused.status_code, refused.json()["error"]["reason"]) == (403, "LimitReached")
        assert "limits.bytes_per_namespace = 4000" in refused.json()["error"]["message"]
        assert editor.patch(path_of(document), json=labelled("x" * 1_000), headers=MERGE).status_code == 200, "less is always fine"


def test_after_a_start_what_is_there_counts(tmp_path: Path) -> None:
    with running(tmp_path, Limits(**RATES, resources_per_namespace=1)) as mesh, mesh.as_role(Role.MESH_ADMIN) as admin:
        mesh.put_raw("resources/VirtualService/shop/old", b"{}")
        assert admin.put(path_of(virtual_service()), json=virtual_service()).status_code == 403


@pytest.mark.parametrize("error", [Conflict("moved"), Unavailable("who knows"), asyncio.CancelledError()])
def test_a_write_that_fails_takes_no_place(error: BaseException) -> None:
    async def story() -> None:
        store = MemoryStore()
        census = Census(store, Limits(resources_per_namespace=1))
        with pytest.raises(type(error)):
            async with census.place("shop", None, b"{}"):
                raise error
        async with census.place("shop", None, b"{}"):
            await store.commit([Put("resources/VirtualService/shop/a", b"{}")])
        with pytest.raises(Full):
            await census.check("shop", None, b"{}")

    asyncio.run(story())
