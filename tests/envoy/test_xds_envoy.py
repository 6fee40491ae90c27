# SPDX-License-Identifier: Apache-2.0
"""The discovery server and a real Envoy: what it is told, in which order, and what happens when it says no."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest

from meshwright.model.snapshot import TypeUrl
from tests.envoy.xds_harness import (
    Board,
    Envoy,
    Load,
    application,
    call,
    cluster,
    discovery,
    endpoint,
    envoy,
    free_port,
    listener,
    route,
    shot,
)

pytestmark = pytest.mark.envoy


async def _updates(proxy: Envoy) -> list[int]:
    names = (
        "cluster_manager.cds.update_success",
        "listener_manager.lds.update_success",
        "http.test.rds.r1.update_success",
        "cluster.c1.update_success",
    )
    return [await proxy.stat(name) for name in names]


def _with_envoy(story: Callable[[Board, Envoy, int, int, int], Awaitable[None]]) -> None:
    """A listener `l1` with routes `r1` to cluster `c1`, which answers `one`; `story(board, envoy, its port, port of one, port of two)`."""

    async def play() -> None:
        async with application("one") as one, application("two") as two:
            port = free_port()
            board = Board(shot(cluster("c1"), endpoint("c1", one), listener("l1", port, "r1"), route("r1", "c1")))
            server = discovery(board)
            try:
                async with envoy(await server.start("127.0.0.1:0")) as proxy:
                    await board.settled()
                    await story(board, proxy, port, one, two)
            finally:
                await server.stop()

    asyncio.run(play())


def test_first_configuration_then_another_endpoint_then_another_route() -> None:
    async def story(board: Board, proxy: Envoy, port: int, one: int, two: int) -> None:
        assert await call(port) == (200, "one")
        board.publish(shot(cluster("c1"), endpoint("c1", two), listener("l1", port, "r1"), route("r1", "c1")))
        await board.settled()
        assert await call(port) == (200, "two")
        board.publish(
            shot(
                *(cluster("c1"), endpoint("c1", two), cluster("c2"), endpoint("c2", one)),
                *(listener("l1", port, "r1"), route("r1", "c2")),
            )
        )
        await board.settled()
        assert await call(port) == (200, "one")
        assert board.refusals == []

    _with_envoy(story)


def test_no_request_fails_while_everything_behind_the_listener_is_replaced_again_and_again() -> None:
    async def story(board: Board, proxy: Envoy, port: int, one: int, two: int) -> None:
        async with Load(port).running() as load:
            for turn in range(12):
                name, to = f"generation-{turn}", (one, two)[turn % 2]
                board.publish(shot(cluster(name), endpoint(name, to), listener("l1", port, "r1"), route("r1", name)))
                await board.settled()
                before = load.calls
                async with asyncio.timeout(10):
                    while load.calls < before + 3:
                        await asyncio.sleep(0.001)
        assert load.calls > 36
        assert load.failures == []
        assert board.refusals == []
        clusters = await proxy.get("/clusters")
        assert "generation-11::" in clusters
        assert "generation-10::" not in clusters
        assert "c1::" not in clusters

    _with_envoy(story)


def test_an_updated_cluster_is_warm_at_once_and_no_request_fails() -> None:
    async def story(board: Board, proxy: Envoy, port: int, one: int, two: int) -> None:
        async with Load(port).running() as load:
            for seconds in (6, 7, 8):
                rest = (endpoint("c1", one), listener("l1", port, "r1"), route("r1", "c1"))
                board.publish(shot(cluster("c1", connect_seconds=seconds), *rest))
                await board.settled()
                assert await proxy.stat("cluster_manager.warming_clusters") == 0
        assert await proxy.stat("cluster_manager.cluster_modified") == 3
        assert load.failures == []

    _with_envoy(story)


def test_a_listener_whose_port_is_taken_is_refused_in_envoys_words_and_the_rest_flows() -> None:
    async def story(board: Board, proxy: Envoy, port: int, one: int, two: int) -> None:
        other = free_port()
        with socket.create_server(("127.0.0.1", 0)) as taken:
            bad = listener("l2", taken.getsockname()[1], "r2")
            rest = (cluster("c1"), endpoint("c1", one), listener("l1", port, "r1"), route("r1", "c1"))
            more = (cluster("c2"), endpoint("c2", two), listener("l3", other, "r2"), route("r2", "c2"))
            board.publish(shot(*rest, *more, bad))
            await board.settled()
            assert [(r.type, r.name, r.version) for r in board.refusals] == [(TypeUrl.LISTENER, "l2", bad.version)]
            assert "Address already in use" in board.refusals[0].message
            assert await call(port) == (200, "one")
            await proxy.until(lambda: _is(call(other), (200, "two")))
            refused = await proxy.stat("listener_manager.lds.update_rejected")
            board.publish(shot(*rest, *more, bad, cluster("c3"), endpoint("c3", two)))
            await board.settled()
            assert await proxy.stat("listener_manager.lds.update_rejected") == refused, "refused content was sent again"
        third = free_port()
        board.publish(shot(*rest, *more, listener("l2", third, "r2")))
        await board.settled()
        await proxy.until(lambda: _is(call(third), (200, "two")))
        assert len(board.refusals) == 1

    _with_envoy(story)


def test_the_last_good_route_stays_with_its_cluster_while_the_new_one_is_refused() -> None:
    async def story(board: Board, proxy: Envoy, port: int, one: int, two: int) -> None:
        bad = route("r1", "c2")
        broken = bad.body + route("r1", "c2").body  # every virtual host twice
        wrong = type(bad)(bad.type, "r1", broken, ())
        board.publish(shot(cluster("c2"), endpoint("c2", two), listener("l1", port, "r1"), wrong))
        await board.settled()
        assert [r.name for r in board.refusals] == ["r1"]
        assert await call(port) == (200, "one")
        board.publish(shot(cluster("c2"), endpoint("c2", two), listener("l1", port, "r1"), bad))
        await board.settled()
        assert await call(port) == (200, "two")
        assert "c1::" not in await proxy.get("/clusters")

    _with_envoy(story)


def test_a_reconnecting_envoy_is_not_told_what_it_has() -> None:
    async def play() -> None:
        async with application("one") as one:
            port = free_port()
            before = shot(cluster("c1"), endpoint("c1", one), listener("l1", port, "r1"), route("r1", "c1"))
            board = Board(before)
            server = discovery(board)
            ads = await server.start("127.0.0.1:0")
            async with envoy(ads) as proxy, Load(port).running() as load:
                await board.settled()
                load.failures.clear()
                seen = await _updates(proxy)
                await server.stop(0)
                board = Board(before)
                server = discovery(board)
                await server.start(f"127.0.0.1:{ads}")
                await board.settled()
                assert server.counters.responses == 0
                assert await _updates(proxy) == seen
                board.publish(shot(endpoint("c1", one), listener("l1", port, "r1"), route("r1", "c1"), cluster("c1", connect_seconds=9)))
                await board.settled()
                assert await _updates(proxy) == [seen[0] + 1, *seen[1:]] or await proxy.stat("cluster_manager.cluster_modified") == 1
                assert load.failures == []
            await server.stop()

    asyncio.run(play())


async def _is(result: Awaitable[object], wanted: object) -> bool:
    return await result == wanted
