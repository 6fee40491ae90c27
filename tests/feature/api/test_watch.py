# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx2

from meshwright.api.policy import Role
from meshwright.config import Limits
from meshwright.store.base import Delete
from tests.feature.api.harness import KINDS, Mesh, path_of, running, virtual_service

PATH = f"{KINDS}/namespaces/shop/virtualservices"


def lines(response: httpx2.Response) -> Iterator[tuple[str, Any]]:
    for line in response.iter_lines():
        document = json.loads(line)
        yield document["type"], document["object"]


def names(found: list[tuple[str, Any]]) -> list[tuple[str, str]]:
    return [(kind, document["metadata"].get("name", "")) for kind, document in found]


def put(client: httpx2.Client, name: str, **labels: str) -> int:
    document = virtual_service(name)
    document["metadata"]["labels"] = labels
    return int(client.put(path_of(document), json=document).headers["meshwright-revision"])


def test_from_the_beginning_then_live(admin: httpx2.Client) -> None:
    put(admin, "a")
    with admin.stream("GET", PATH, params={"watch": "1", "timeoutSeconds": "20"}) as response:
        assert response.status_code == 200
        told = lines(response)
        assert names([next(told), next(told)]) == [("ADDED", "a"), ("BOOKMARK", "")]
        put(admin, "b")
        admin.delete(f"{PATH}/a")
        put(admin, "b", changed="yes")
        found = [next(told), next(told), next(told)]
    assert names(found) == [("ADDED", "b"), ("DELETED", "a"), ("MODIFIED", "b")]
    assert found[2][1]["status"]["conditions"]


def test_resumed_after_a_version_without_gap(admin: httpx2.Client) -> None:
    version = put(admin, "a")
    put(admin, "b")
    put(admin, "c")
    params = {"watch": "true", "resourceVersion": str(version), "timeoutSeconds": "20"}
    with admin.stream("GET", PATH, params=params) as response:
        told = lines(response)
        found = [next(told) for _ in range(3)]
    assert [kind for kind, _ in names(found)].count("BOOKMARK") == 1
    assert [one for one in names(found) if one[0] != "BOOKMARK"] == [("ADDED", "b"), ("ADDED", "c")]


def test_bounded_in_time_and_bookmarked(mesh: Mesh, admin: httpx2.Client) -> None:
    put(admin, "a")
    version = mesh.revision()
    with admin.stream("GET", PATH, params={"watch": "1", "resourceVersion": str(version), "timeoutSeconds": "1"}) as response:
        found = list(lines(response))
    assert [kind for kind, _ in found] == ["BOOKMARK"]
    assert found[0][1]["metadata"]["resourceVersion"] == str(version)


def test_with_a_selector_what_stops_matching_is_deleted(admin: httpx2.Client) -> None:
    put(admin, "other", tier="y")
    put(admin, "a", tier="x")
    with admin.stream("GET", PATH, params={"watch": "1", "labelSelector": "tier=x", "timeoutSeconds": "20"}) as response:
        told = lines(response)
        assert names([next(told), next(told)]) == [("ADDED", "a"), ("BOOKMARK", "")]
        put(admin, "other", tier="z")
        put(admin, "a", tier="y")
        assert names([next(told)]) == [("DELETED", "a")]


def test_compacted_is_410(mesh: Mesh, admin: httpx2.Client) -> None:
    version = put(admin, "a")
    put(admin, "b")
    mesh.do(mesh.store.compact(mesh.revision()))
    for given in (version, 10**15):
        answer = admin.get(PATH, params={"watch": "1", "resourceVersion": str(given)})
        assert (answer.status_code, answer.json()["error"]["reason"]) == (410, "Compacted")


def test_a_token_that_is_taken_back_ends_the_watch(mesh: Mesh) -> None:
    reader = mesh.token(Role.READER)
    with mesh.client(reader) as client, client.stream("GET", PATH, params={"watch": "1", "timeoutSeconds": "600"}) as response:
        told = lines(response)
        assert next(told)[0] == "BOOKMARK"
        for record in mesh.do(mesh.store.list("tokens/"))[0]:
            mesh.do(mesh.store.commit([Delete(record.key)]))
        mesh.clock.offset += timedelta(seconds=16)
        # Any event makes it look at the clock.
        mesh.put_raw("resources/VirtualService/shop/x", json.dumps(virtual_service("x")).encode())
        found = list(told)
    assert [kind for kind, _ in found] == ["ADDED", "ERROR"]
    assert found[-1][1]["code"] == 401


def test_watches_are_counted_and_limited(tmp_path: Any) -> None:
    with running(tmp_path, Limits(watches=2)) as mesh, mesh.as_role(Role.READER) as client:
        params = {"watch": "1", "timeoutSeconds": "60"}
        with client.stream("GET", PATH, params=params) as one, client.stream("GET", PATH, params=params) as two:
            first, second = lines(one), lines(two)
            assert (next(first)[0], next(second)[0]) == ("BOOKMARK", "BOOKMARK")
            assert client.get(PATH, params=params).status_code == 429
        # Both readers went away without a word: their places are free again as soon as the server has seen it.
        for _ in range(200):
            with client.stream("GET", PATH, params=params) as again:
                if again.status_code == 200:
                    return
        raise AssertionError("the places of watchers that left are not free again")
