# SPDX-License-Identifier: Apache-2.0
"""A controller over a store in memory, and proxies that take what they are given (or not, or later)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from meshwright.control.controller import Controller, Options
from meshwright.control.ports import Attachment, PeerIdentity, Refusal
from meshwright.model.identity import ProxyId, SpiffeId
from meshwright.model.snapshot import Snapshot, TypeUrl
from meshwright.store.base import Store
from meshwright.store.memory import MemoryStore
from tests.feature.control.clockwork import FakeTime, until
from tests.feature.control.mesh import MESH, Mesh

Versions = dict[str, dict[str, str]]


def versions(snapshot: Snapshot) -> Versions:
    """By type and name: what two snapshots must have in common to be the same for Envoy."""
    return {
        type.name: {name: found.version for name in snapshot.names(type) if (found := snapshot.get(type, name)) is not None}
        for type in TypeUrl
    }


class FakeProxy:
    """A Sink. ACKs at once unless `patient`; refuses what `dislikes` says (type, name) in the form it has then."""

    def __init__(self, id: str, account: str = "default") -> None:
        proxy = ProxyId.parse(id)
        self.peer = PeerIdentity(proxy, SpiffeId(MESH.trust_domain, proxy.namespace, account), "192.0.2.1:40000", "1.40.0")
        self.offers: list[tuple[Snapshot, int]] = []
        self.cut_for: str | None = None
        self.patient = False
        self.dislikes: set[tuple[TypeUrl, str]] = set()
        self._refused: set[str] = set()
        self._attachment: Attachment | None = None

    def connect(self, controller: Controller) -> None:
        self._attachment = controller.attach(self.peer, self)

    def offer(self, snapshot: Snapshot, revision: int) -> None:
        self.offers.append((snapshot, revision))
        if not self.patient:
            asyncio.get_running_loop().call_soon(self.ack)

    def cut(self, reason: str) -> None:
        self.cut_for = reason
        self.leave()

    def ack(self) -> None:
        """What was offered last, refusing what it dislikes."""
        if self._attachment is None:
            return
        snapshot, revision = self.offers[-1]
        for type, name in sorted(self.dislikes, key=str):
            found = snapshot.get(type, name)
            if found is not None and found.version not in self._refused:
                self._refused.add(found.version)
                self._attachment.rejected(Refusal(type, name, found.version, "no, thank you", revision))
        self._attachment.acked(revision)

    def leave(self) -> None:
        if self._attachment is not None:
            self._attachment.detach()
            self._attachment = None

    @property
    def revision(self) -> int:
        return self.offers[-1][1] if self.offers else 0

    @property
    def versions(self) -> Versions:
        return versions(self.offers[-1][0])


class Lab:
    def __init__(self, store: Store, time: FakeTime, controller: Controller) -> None:
        self.store = store
        self.time = time
        self.controller = controller
        self.mesh = Mesh(store)

    async def connect(self, *ids: str) -> list[FakeProxy]:
        """When it returns they have their first configuration, ACKed."""
        proxies = [FakeProxy(id) for id in ids]
        for proxy in proxies:
            proxy.connect(self.controller)
        await until(lambda: all(proxy.offers for proxy in proxies))
        await self.time.advance(0)
        return proxies


@asynccontextmanager
async def running(store: Store, options: Options = Options(), tick: float = 0.0) -> AsyncIterator[Lab]:  # noqa: B008
    """A controller that is ready."""
    time = FakeTime(tick)
    controller = Controller(store, time, MESH, options._replace(timers=time))
    task = asyncio.create_task(controller.run())
    await until(controller.ready)
    try:
        yield Lab(store, time, controller)
        assert not task.done(), task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def lab(test: Callable[[Lab], Awaitable[None]], options: Options = Options(), tick: float = 0.0) -> None:  # noqa: B008
    async def main() -> None:
        async with asyncio.timeout(30), running(MemoryStore(), options, tick) as made:
            await test(made)

    asyncio.run(main())
