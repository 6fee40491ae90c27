# SPDX-License-Identifier: Apache-2.0
"""The runner of a stream against a context that does what it is told: slow readers, broken reads, calls from within calls."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest

from meshwright.control.ports import PeerIdentity, Refusal
from meshwright.model.identity import ProxyId, SpiffeId
from meshwright.model.snapshot import TypeUrl
from meshwright.xds.frames import Frames
from meshwright.xds.request import Request
from meshwright.xds.stream import WRITE_PATIENCE, Counters, Ended, Stream
from tests.unit.xds.client import read, resources, snapshot

NAMES = TypeUrl.NAMES
PEER = PeerIdentity(ProxyId("web", "shop"), SpiffeId("cluster.local", "shop", "default"), "here", "1.40.0")
SHOT = snapshot(resources(NAMES, names="1"))


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def now(self) -> datetime:
        return datetime(2030, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.seconds


class Context:
    """`inbox` feeds reads (an exception is raised); writes go to `written`, once `flowing` is set."""

    def __init__(self) -> None:
        self.inbox: asyncio.Queue[Any] = asyncio.Queue()
        self.written: asyncio.Queue[bytes] = asyncio.Queue()
        self.flowing = asyncio.Event()
        self.flowing.set()

    async def read(self) -> Any:
        found = await self.inbox.get()
        if isinstance(found, Exception):
            raise found
        return found

    async def write(self, message: bytes) -> None:
        await self.flowing.wait()
        self.written.put_nowait(message)


class Scene:
    """A stream that runs, and an attachment that remembers."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.context = Context()
        self.counters = Counters()
        self.stream = Stream(PEER, self.context, Frames(), self.clock, self.counters)
        self.acked: list[int] = []
        self.refusals: list[Refusal] = []
        self.detached = 0
        self.on_ack: Callable[[int], None] = lambda revision: None

    def acknowledge(self, message: bytes) -> None:
        self.context.inbox.put_nowait(DeltaDiscoveryRequest(type_url=NAMES.value, response_nonce=read(message).nonce).SerializeToString())

    # as an Attachment

    def rejected(self, refusal: Refusal) -> None:
        self.refusals.append(refusal)

    def detach(self) -> None:
        self.detached += 1

    def acked_(self, revision: int) -> None:
        self.acked.append(revision)
        self.on_ack(revision)


class _Attachment:
    def __init__(self, scene: Scene) -> None:
        self.acked = scene.acked_
        self.rejected = scene.rejected
        self.detach = scene.detach


def play(story: Callable[[Scene, asyncio.Task[None]], Awaitable[None]]) -> Scene:
    async def run() -> Scene:
        scene = Scene()
        scene.stream.offer(SHOT, 1)
        first = Request(NAMES, subscribe=("*",))
        task = asyncio.create_task(scene.stream.run(_Attachment(scene), first, 1.0))
        async with asyncio.timeout(5):
            await story(scene, task)
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        return scene

    return asyncio.run(run())


def test_a_slow_reader_is_cut_and_detached_at_once() -> None:
    async def story(scene: Scene, task: asyncio.Task[None]) -> None:
        scene.context.flowing.clear()
        await asyncio.sleep(0)
        scene.clock.seconds += WRITE_PATIENCE
        scene.stream.tick(scene.clock.seconds, 5.0)
        assert scene.detached == 0
        scene.stream.tick(scene.clock.seconds + 0.1, 5.0)
        assert scene.detached == 1
        assert scene.counters.cut == 1
        scene.stream.offer(SHOT, 2)
        scene.context.flowing.set()
        with pytest.raises(Ended) as ended:
            await task
        assert ended.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert scene.context.written.qsize() == 1

    assert play(story).detached == 1


def test_an_offer_from_within_an_ack() -> None:
    """The controller may answer a report with the next offer."""

    async def story(scene: Scene, task: asyncio.Task[None]) -> None:
        newer = snapshot(resources(NAMES, names="2"))
        scene.on_ack = lambda revision: scene.stream.offer(newer, revision + 1) if revision < 3 else None
        for _ in range(2):
            scene.acknowledge(await scene.context.written.get())
        while scene.acked[-1:] != [3]:
            await asyncio.sleep(0)

    assert play(story).acked == [1, 2, 3]


def test_cut_does_not_call_back_before_it_returns() -> None:
    async def story(scene: Scene, task: asyncio.Task[None]) -> None:
        await scene.context.written.get()
        scene.stream.cut("removed")
        assert scene.detached == 0
        with pytest.raises(Ended) as ended:
            await task
        assert (ended.value.code, ended.value.words) == (grpc.StatusCode.PERMISSION_DENIED, "removed")

    assert play(story).detached == 1


@pytest.mark.parametrize(
    ("fed", "code"),
    [(grpc.aio.EOF, grpc.StatusCode.OK), (b"\xff", grpc.StatusCode.INVALID_ARGUMENT), (RuntimeError("gone"), grpc.StatusCode.INTERNAL)],
    ids=["end", "garbage", "error"],
)
def test_how_reading_ends(fed: Any, code: grpc.StatusCode) -> None:
    async def story(scene: Scene, task: asyncio.Task[None]) -> None:
        await scene.context.written.get()
        scene.context.inbox.put_nowait(fed)
        with pytest.raises(Ended) as ended:
            await task
        assert ended.value.code is code

    assert play(story).detached == 1


def test_the_cancelled_stream_stays_cancelled() -> None:
    async def story(scene: Scene, task: asyncio.Task[None]) -> None:
        await scene.context.written.get()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(asyncio.all_tasks()) == 1, "a task was left behind"

    assert play(story).detached == 1


def test_its_place_among_the_first_is_given_back_when_all_is_acked_or_after_a_while() -> None:
    async def acked(scene: Scene, task: asyncio.Task[None]) -> None:
        done: list[bool] = []
        scene.stream.on_settled = lambda: done.append(True)
        message = await scene.context.written.get()
        assert done == []
        scene.acknowledge(message)
        while not scene.acked:
            await asyncio.sleep(0)
        assert done == [True]

    async def late(scene: Scene, task: asyncio.Task[None]) -> None:
        done: list[bool] = []
        scene.stream.on_settled = lambda: done.append(True)
        scene.stream.tick(scene.clock.seconds + 5, 5.0)
        assert done == []
        scene.stream.tick(scene.clock.seconds + 5.1, 5.0)
        assert done == [True]

    play(acked)
    play(late)
