# SPDX-License-Identifier: Apache-2.0
"""A watch may begin between the moment a commit is readable and the moment it is published."""

from __future__ import annotations

import asyncio

import pytest

from meshwright.errors import Unavailable
from meshwright.store.base import Event
from meshwright.store.broadcast import Broadcast


def _event(revision: int) -> Event:
    return Event("a", b"", revision, revision)


def test_what_is_known_already_is_not_told_again() -> None:
    async def test() -> None:
        broadcast = Broadcast(4)
        with broadcast.subscribe("") as subscription:
            assert subscription.start == 4
            broadcast.publish([_event(5)], 5)
            broadcast.publish([_event(6)], 6)
            assert (await anext(subscription.events(after=5))).revision == 6

    asyncio.run(test())


def test_who_has_left_is_not_served() -> None:
    async def test() -> None:
        broadcast = Broadcast(0, limit=1)
        with broadcast.subscribe("") as subscription:
            pass
        for revision in (1, 2, 3):
            broadcast.publish([_event(revision)], revision)
        broadcast.close()
        with pytest.raises(Unavailable):
            await asyncio.wait_for(anext(_any(broadcast)), 5)
        waiting = asyncio.ensure_future(anext(subscription.events(0)))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not waiting.done()  # neither events nor the end reach it
        waiting.cancel()

    async def _any(broadcast: Broadcast):  # type: ignore[no-untyped-def]
        with broadcast.subscribe("") as subscription:
            async for event in subscription.events(0):
                yield event

    asyncio.run(test())
