# SPDX-License-Identifier: Apache-2.0
"""Who has a valid certificate and asks without end."""

from __future__ import annotations

import asyncio
import json

import grpc
import pytest
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest

from meshwright.ca.server import RENEWALS, Renewal
from meshwright.errors import Limited
from meshwright.model.snapshot import TypeUrl
from meshwright.xds.server import DELTA_ADS, Limits
from meshwright.xds.subscription import MAX_NAMES
from tests.feature.xds.door import NODE, PATIENCE, door
from tests.unit.ca.fakes import Lab, make_csr
from tests.unit.ca.test_renewal import PEER
from tests.unit.xds.test_stream import Scene, play

TURNS = 2_000
CALLS = 50


def test_renewals_of_one_proxy_are_limited() -> None:
    ca = Lab()
    renewal = Renewal(ca.services)
    body = json.dumps({"csr": make_csr()}).encode()

    async def walk() -> None:
        for _ in range(RENEWALS.burst):
            await renewal.renew(PEER, body)
        lines = len(ca.audit.events)
        with pytest.raises(Limited):
            await renewal.renew(PEER, body)
        assert len(ca.audit.events) == lines, "nor does it fill the audit"

    asyncio.run(walk())


def test_a_stream_that_talks_without_end_is_read_no_further() -> None:
    names = [f"n{i}" for i in range(MAX_NAMES)]
    request = DeltaDiscoveryRequest(type_url=TypeUrl.CLUSTER.value, resource_names_subscribe=names).SerializeToString()

    async def story(scene: Scene, task: asyncio.Task[None]) -> None:
        for _ in range(40):
            scene.context.inbox.put_nowait(request)
        for _ in range(TURNS):
            await asyncio.sleep(0)
        assert 2 < scene.counters.requests < 10
        assert not task.done()

    play(story)


def test_every_call_of_a_flood_is_refused_with_its_reason() -> None:
    """On the wire. A client on gRPC's asyncio for Python that is still writing makes INTERNAL of it by itself (docs/limits.md)."""
    request = DeltaDiscoveryRequest(type_url=TypeUrl.CLUSTER.value)
    request.node.id = NODE

    def flood(port: int) -> set[tuple[grpc.StatusCode, str]]:
        found = set()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            for _ in range(CALLS):
                call = channel.stream_stream(DELTA_ADS)(iter([request.SerializeToString()] * 5), timeout=PATIENCE)
                with pytest.raises(grpc.RpcError) as refused:
                    next(call)
                found.add((refused.value.code(), refused.value.details()))
        return found

    async def walk() -> None:
        limits = Limits(accept_rate=0.001, accept_burst=1, accept_patience=0)
        async with door(None, limits=limits) as it:
            async with it.stream() as first:
                await first.send(TypeUrl.CLUSTER, NODE)
                await it.crew.until(lambda: bool(it.crew.peers))
                found = await asyncio.gather(*(asyncio.to_thread(flood, it.port) for _ in range(4)))
            assert set().union(*found) == {(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many new streams at once; come back later")}
            assert it.server.counters.limited == 4 * CALLS

    asyncio.run(walk())
