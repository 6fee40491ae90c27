# SPDX-License-Identifier: Apache-2.0
"""Rates, query parameters, tokens, numbers of services."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import QueryParams

from meshwright.api import parameters
from meshwright.api.auth import API_PREFIX, Authenticator, TokenGrant, new_token, store_api_token, token_key
from meshwright.api.handlers.resources import merge_patch
from meshwright.api.numbers import Numbers
from meshwright.api.policy import TABLE, Role
from meshwright.api.rates import MAX_CALLERS, Buckets
from meshwright.errors import BadRequest, Unauthenticated
from meshwright.model.decode import decode, encode
from meshwright.model.meta import Resource
from meshwright.model.world import World
from meshwright.store.base import Put
from meshwright.store.memory import MemoryStore
from tests.feature.api.harness import CountingRandom, TestClock, service_entry


class StandingClock(TestClock):
    def monotonic(self) -> float:
        return 1000.0 + self.offset.total_seconds()


def test_a_bucket_fills_again() -> None:
    clock = StandingClock()
    bucket = Buckets(clock, rate=2.0, burst=3.0)
    assert [bucket.take("a") for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    assert bucket.take("b") == 0.0
    clock.offset = timedelta(seconds=0.5)
    assert [bucket.take("a"), bucket.take("a")] == [0.0, 0.5]
    clock.offset = timedelta(hours=1)
    assert [bucket.take("a") for _ in range(4)].count(0.0) == 3


def test_callers_are_forgotten_not_collected() -> None:
    bucket = Buckets(StandingClock(), rate=1.0, burst=1.0)
    for n in range(3 * MAX_CALLERS):
        bucket.take(str(n))
    assert len(bucket._callers) == MAX_CALLERS


def test_parameters_are_of_routes_that_there_are() -> None:
    assert set(parameters.PARAMETERS) <= {(rule.method, rule.path) for rule in TABLE}


@pytest.mark.parametrize("query", ["wait=601", "wait=-1", "wait=1e3", "wait=", "wait=1&wait=1", "Wait=1", "wait=%C2%B2"])
def test_impossible_parameters(query: str) -> None:
    with pytest.raises(BadRequest):
        parameters.check(("GET", "/mesh/v1/rollouts/{revision}"), QueryParams(query))


def test_good_parameters() -> None:
    assert parameters.check(("GET", "/mesh/v1/rollouts/{revision}"), QueryParams("wait=600")) == {"wait": "600"}
    assert parameters.check(("GET", "/healthz"), QueryParams("")) == {}


def test_tokens_are_found_by_hash_only() -> None:
    store, clock = MemoryStore(), TestClock()

    async def walk() -> None:
        token = new_token(API_PREFIX, CountingRandom())
        await store_api_token(store, clock, TokenGrant("ci", (Role.READER,), ttl=60), token)
        records, _ = await store.list("tokens/")
        assert [record.key for record in records] == [token_key(token)]
        assert token.removeprefix("mwa_") not in str(records)
        auth = Authenticator(store, clock)
        found = await auth.principal(f"bearer {token}")
        assert (found.name, found.roles, found.namespaces) == ("ci", {Role.READER}, frozenset())
        assert auth.used_at(found.token_id) == "2030-01-01T00:00:00Z"
        clock.offset = timedelta(seconds=60)
        with pytest.raises(Unauthenticated):
            await auth.principal(f"Bearer {token}")

    asyncio.run(walk())


def entry(name: str, *hosts: str) -> Resource:
    return decode(service_entry(name, hosts=list(hosts)))


def addresses(resource: Resource) -> list[str]:
    return [address.value for address in resource.status.addresses]


def test_numbers_are_given_once() -> None:
    store, world = MemoryStore(), World.empty()

    async def walk() -> None:
        numbers = Numbers(store)
        foreseen = await numbers.complete(world, entry("a", "a.shop.mesh"))
        first = await numbers.complete(world, entry("a", "a.shop.mesh"))
        assert addresses(foreseen) == addresses(first) == ["240.240.0.2"]
        numbers.keep(first)
        await store.commit([Put("resources/ServiceEntry/shop/a", msgspec.json.encode(encode(first)))])
        assert addresses(await numbers.complete(world, entry("b", "b.shop.mesh"))) == ["240.240.0.3"]
        # A process that has just started knows from the store what the World doesn't yet.
        assert addresses(await Numbers(store).complete(world, entry("b", "b.shop.mesh"))) == ["240.240.0.3"]

    asyncio.run(walk())


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from("abc"), below, max_size=3),
    max_leaves=8,
)


@given(json_values, json_values)
def test_merge_patch_is_idempotent_and_leaves_its_input(document: object, change: object) -> None:
    before = msgspec.json.encode(document)
    once = merge_patch(document, change)
    assert merge_patch(once, change) == once
    assert msgspec.json.encode(document) == before


@pytest.mark.parametrize(
    ("document", "change", "merged"),
    [
        # The examples of RFC 7396, appendix A.
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch(document: object, change: object, merged: object) -> None:
    assert merge_patch(document, change) == merged
