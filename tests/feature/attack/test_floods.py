# SPDX-License-Identifier: Apache-2.0
"""Who has a valid certificate and asks without end."""

from __future__ import annotations

import asyncio
import json

import pytest
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest

from meshwright.ca.server import RENEWALS, Renewal
from meshwright.errors import Limited
from meshwright.model.snapshot import TypeUrl
from meshwright.xds.subscription import MAX_NAMES
from tests.unit.ca.fakes import Lab, make_csr
from tests.unit.ca.test_renewal import PEER
from tests.unit.xds.test_stream import Scene, play

TURNS = 2_000


def test_renewals_of_one_proxy_are_limited() -> None:
    lab = Lab()
    renewal = Renewal(lab.services)
    body = json.dumps({"csr": make_csr()}).encode()

    async def walk() -> None:
        for _ in range(RENEWALS.burst):
            await renewal.renew(PEER, body)
        lines = len(lab.audit.events)
        with pytest.raises(Limited):
            await renewal.renew(PEER, body)
        assert len(lab.audit.events) == lines, "nor does it fill the audit"

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
