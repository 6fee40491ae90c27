# SPDX-License-Identifier: Apache-2.0
"""Streams over real gRPC, in plaintext: admission, limits, how they end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest

from meshwright.model.snapshot import Snapshot, TypeUrl
from meshwright.xds.server import DELTA_ADS, Limits
from tests.feature.xds.door import NODE, UNLIMITED, Client, Door, door
from tests.unit.xds.client import resources, snapshot

Code = grpc.StatusCode
SHOT = snapshot(*(resources(type, alpha="1", beta="2") for type in TypeUrl))


def at_the_door(story: Callable[[Door], Awaitable[None]], shot: Snapshot | None = SHOT, limits: Limits = UNLIMITED) -> None:
    async def play() -> None:
        async with door(shot, limits=limits) as it:
            await story(it)

    asyncio.run(play())


async def _settle(client: Client, node: str = NODE) -> None:
    """Takes everything, as Envoy does."""
    await client.send(TypeUrl.CLUSTER, node)
    await client.ack(await client.read())
    await client.send(TypeUrl.ENDPOINT, resource_names_subscribe=["alpha", "beta"])
    await client.ack(await client.read())
    await client.send(TypeUrl.LISTENER)
    await client.ack(await client.read())
    await client.send(TypeUrl.ROUTE, resource_names_subscribe=["alpha", "beta"])
    await client.ack(await client.read())


def test_a_client_gets_everything_and_the_fleet_hears_of_it() -> None:
    async def story(it: Door) -> None:
        async with it.stream() as client:
            await _settle(client)
            await it.crew.until(lambda: it.crew.acked == [1])
            assert str(it.crew.peers[0].proxy) == NODE
            it.crew.sinks[0].offer(SHOT, 5)
            assert it.crew.acked == [1, 5]
            changed = snapshot(*(resources(type, alpha="1", beta="3") for type in TypeUrl))
            it.crew.sinks[0].offer(changed, 6)
            for _ in range(4):
                response = await client.read()
                assert [r.name for r in response.resources] == ["beta"]
                await client.ack(response)
            await it.crew.until(lambda: it.crew.acked == [1, 5, 6])
        await it.crew.until(lambda: not it.crew.sinks)

    at_the_door(story)


def test_the_client_that_says_goodbye_is_detached() -> None:
    async def story(it: Door) -> None:
        async with it.stream() as client:
            await client.send(TypeUrl.CLUSTER, NODE)
            await client.read()
            await client.call.done_writing()
            assert await client.status() == (Code.OK, "")
            await it.crew.until(lambda: not it.crew.sinks)

    at_the_door(story)


def test_a_stream_that_is_cut_ends_with_the_reason() -> None:
    async def story(it: Door) -> None:
        async with it.stream() as client:
            await client.send(TypeUrl.CLUSTER, NODE)
            await client.read()
            it.crew.sinks[0].cut("banned")
            assert await client.status() == (Code.PERMISSION_DENIED, "banned")
            assert it.crew.sinks == []

    at_the_door(story)


def test_a_cut_while_the_client_does_not_read_detaches_at_once() -> None:
    """gRPC can't take the message back; the status comes after it."""
    big = snapshot(*(resources(type, alpha="x" * 30_000_000) for type in TypeUrl))

    async def story(it: Door) -> None:
        async with it.stream() as client:
            await client.send(TypeUrl.CLUSTER, NODE)
            await it.crew.until(lambda: bool(it.crew.sinks))
            it.crew.sinks[0].cut("banned")
            await it.crew.until(lambda: not it.crew.sinks)
            await client.call.read()
            assert await client.status() == (Code.PERMISSION_DENIED, "banned")

    at_the_door(story, big)


def test_nothing_is_served_before_the_fleet_is_ready() -> None:
    async def story(it: Door) -> None:
        it.crew.is_ready = False
        async with it.stream() as client:
            assert (await client.status())[0] is Code.UNAVAILABLE
        assert it.crew.peers == []

    at_the_door(story)


def test_a_proxy_that_is_not_enrolled_is_refused_and_that_is_audited() -> None:
    async def story(it: Door) -> None:
        it.crew.objection = "not enrolled"
        async with it.stream() as client:
            await client.send(TypeUrl.CLUSTER, NODE)
            assert await client.status() == (Code.PERMISSION_DENIED, "not enrolled")
        assert it.crew.peers == []
        assert it.denials == [(NODE, "not enrolled")]
        assert it.server.counters.denied == 1

    at_the_door(story)


def test_new_streams_come_at_a_limited_rate() -> None:
    async def story(it: Door) -> None:
        async with it.stream() as first:
            await first.send(TypeUrl.CLUSTER, NODE)
            await first.read()
            async with it.stream() as second:
                assert (await second.status())[0] is Code.RESOURCE_EXHAUSTED
        assert it.server.counters.limited == 1

    at_the_door(story, limits=Limits(accept_rate=0.001, accept_burst=1))


def test_a_proxy_has_a_bounded_number_of_streams() -> None:
    async def story(it: Door) -> None:
        async with it.stream() as first, it.stream() as second, it.stream() as other:
            await first.send(TypeUrl.CLUSTER, NODE)
            await first.read()
            await second.send(TypeUrl.CLUSTER, NODE)
            assert (await second.status())[0] is Code.RESOURCE_EXHAUSTED
            await other.send(TypeUrl.CLUSTER, "other.shop")
            await other.read()
            await first.call.done_writing()
            await first.status()
        async with it.stream() as again:
            await again.send(TypeUrl.CLUSTER, NODE)
            await again.read()

    at_the_door(story, limits=Limits(accept_rate=0, streams_per_proxy=1))


def test_only_so_many_get_their_first_configuration_at_once() -> None:
    async def story(it: Door) -> None:
        async with it.stream() as first, it.stream() as second:
            await first.send(TypeUrl.CLUSTER, NODE)
            response = await first.read()
            await second.send(TypeUrl.CLUSTER, "other.shop")
            await it.crew.until(lambda: len(it.crew.peers) == 1)
            await first.ack(response)
            await first.send(TypeUrl.ENDPOINT, resource_names_subscribe=["alpha", "beta"])
            await first.ack(await first.read())
            assert len(it.crew.peers) == 1
            await first.send(TypeUrl.LISTENER)
            await first.ack(await first.read())
            await first.send(TypeUrl.ROUTE, resource_names_subscribe=["alpha", "beta"])
            await first.ack(await first.read())
            await second.read()
            assert len(it.crew.peers) == 2

    at_the_door(story, limits=Limits(accept_rate=0, first_at_once=1))


def test_no_configuration_in_time_ends_the_stream() -> None:
    async def story(it: Door) -> None:
        async with it.stream() as client:
            await client.send(TypeUrl.CLUSTER, NODE)
            assert (await client.status())[0] is Code.UNAVAILABLE
            await it.crew.until(lambda: not it.crew.sinks)

    at_the_door(story, None, Limits(accept_rate=0, offer_patience=0.05))


def test_who_says_nothing_is_not_waited_for() -> None:
    async def story(it: Door) -> None:
        async with it.stream() as client:
            assert (await client.status())[0] is Code.DEADLINE_EXCEEDED

    at_the_door(story, limits=Limits(accept_rate=0, request_patience=0.05))


@pytest.mark.parametrize(
    ("type", "node", "fields", "words"),
    [
        pytest.param(TypeUrl.CLUSTER, "", {}, "must say the node's id", id="no node"),
        pytest.param(TypeUrl.CLUSTER, "no dots", {}, "is not a proxy's id", id="no proxy's id"),
        pytest.param("type.googleapis.com/other.Type", NODE, {}, "is not served here", id="unknown type"),
        pytest.param(TypeUrl.ENDPOINT, NODE, {"resource_names_subscribe": ["x" * 513]}, "longer than 512", id="long name"),
        pytest.param(
            TypeUrl.ENDPOINT, NODE, {"resource_names_subscribe": [f"n{i}" for i in range(20_001)]}, "more than 20000", id="many names"
        ),
        pytest.param(
            TypeUrl.CLUSTER,
            NODE,
            {"initial_resource_versions": {f"n{i}": "1" for i in range(20_001)}},
            "more than 20000",
            id="many versions",
        ),
    ],
)
def test_what_breaks_the_protocol_ends_the_stream(type: Any, node: str, fields: dict[str, Any], words: str) -> None:
    async def story(it: Door) -> None:
        async with it.stream() as client:
            await client.send(type, node, **fields)
            code, details = await client.status()
            assert code is Code.INVALID_ARGUMENT
            assert words in details
        assert it.crew.sinks == []

    at_the_door(story)


@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"\x12\x05ab", b"\x12\x02\xff\xfe"], ids=["tag", "cut off", "no UTF-8"])
def test_garbage_ends_the_stream_and_no_other(data: bytes) -> None:
    async def story(it: Door) -> None:
        async with it.stream() as good, it.stream() as bad:
            await good.send(TypeUrl.CLUSTER, NODE)
            response = await good.read()
            await bad.send_bytes(data)
            assert (await bad.status())[0] is Code.INVALID_ARGUMENT
            await good.ack(response)
            await good.send(TypeUrl.ENDPOINT, resource_names_subscribe=["alpha"])
            assert [r.name for r in (await good.read()).resources] == ["alpha"]
            await good.send_bytes(data)
            assert (await good.status())[0] is Code.INVALID_ARGUMENT
        await it.crew.until(lambda: not it.crew.sinks)

    at_the_door(story)


def test_a_request_beyond_four_mebibytes_is_refused_unread() -> None:
    async def story(it: Door) -> None:
        async with it.stream() as client:
            await client.send_bytes(b"x" * (4 * 1024 * 1024 + 1))
            assert (await client.status())[0] is Code.RESOURCE_EXHAUSTED

    at_the_door(story)


def test_the_node_may_not_become_another() -> None:
    async def story(it: Door) -> None:
        async with it.stream() as client:
            await client.send(TypeUrl.CLUSTER, NODE)
            await client.read()
            await client.send(TypeUrl.LISTENER, "other.shop")
            assert await client.status() == (Code.INVALID_ARGUMENT, "the node's id changed")

    at_the_door(story)


def test_a_refusal_reaches_the_fleet() -> None:
    async def story(it: Door) -> None:
        async with it.stream() as client:
            await client.send(TypeUrl.CLUSTER, NODE)
            response = await client.read()
            words = {"code": 13, "message": "Error adding/updating cluster(s) beta: no"}
            await client.send(TypeUrl.CLUSTER, response_nonce=response.nonce, error_detail=words)
            assert [r.name for r in (await client.read()).resources] == ["alpha"]
            found = it.crew.refusals
            assert [(r.type, r.name, r.message, r.revision) for r in found] == [(TypeUrl.CLUSTER, "beta", words["message"], 1)]
            assert it.server.counters.nacks == 1

    at_the_door(story)


def test_stopping_tells_the_clients_to_come_back() -> None:
    async def play() -> None:
        async with door(SHOT) as it, it.stream() as client:
            await client.send(TypeUrl.CLUSTER, NODE)
            await client.read()
            await it.server.stop(1)
            assert await client.status() == (Code.UNAVAILABLE, "shutting down")
            assert it.crew.sinks == []

    asyncio.run(play())


def test_plaintext_is_for_loopback_only() -> None:
    async def play() -> None:
        async with door(SHOT) as it:
            with pytest.raises(ValueError, match="loopback only"):
                await it.server.start("0.0.0.0:0")

    asyncio.run(play())


def test_methods_that_are_not_there() -> None:
    async def story(it: Door) -> None:
        async with it.channel() as channel:
            for path in ("/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources", DELTA_ADS + "X"):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await channel.unary_unary(path)(b"", timeout=10)
                assert caught.value.code() is Code.UNIMPLEMENTED

    at_the_door(story)
