# SPDX-License-Identifier: Apache-2.0
"""The loop that owns the World: the store's events in, snapshots for the streams out, and the answers about both.

Two tasks: the follower keeps `world` up to the store, the dispatcher serves it. What is served is behind `world` by at most one hold-off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, cast

import structlog

from meshwright.clock import Clock
from meshwright.control.compiler import Compiler
from meshwright.control.conditions import Conditions
from meshwright.control.dispatcher import Dispatcher, Timing
from meshwright.control.distributor import Distributor
from meshwright.control.follower import Follower
from meshwright.control.holdoff import HoldOff
from meshwright.control.intake import Taken
from meshwright.control.ports import Attachment, PeerIdentity, Refusal, Sink
from meshwright.control.report import Report
from meshwright.control.rollout import HISTORY, Ledger
from meshwright.control.session import Session
from meshwright.control.timers import Clockwork, Timers
from meshwright.control.waiters import Waiters
from meshwright.errors import Forbidden, MeshwrightError
from meshwright.model.identity import ProxyId
from meshwright.model.meta import Condition, Ref
from meshwright.model.snapshot import Snapshot
from meshwright.model.world import ChangeSet, MeshSettings, World
from meshwright.store.base import Store
from meshwright.translate import compile as envoy

log = structlog.get_logger(__name__)
TIDY_EVERY = 1_000


class Options(NamedTuple):
    """`history`: steps that the ledger remembers; `keep_revisions`: how much of its past the store keeps for who watches it (0: all)."""

    hold_off: HoldOff = HoldOff()
    history: int = HISTORY
    keep_revisions: int = 10_000
    compiler: Compiler = cast(Compiler, envoy)
    timers: Timers | None = None  # None: the event loop's


class Attached:
    """One stream; implements ports.Attachment."""

    def __init__(self, controller: Controller, session: Session, sink: Sink) -> None:
        self.session = session
        self.sink = sink
        self._controller = controller

    def acked(self, revision: int) -> None:
        self._controller.acked(self, revision)

    def rejected(self, refusal: Refusal) -> None:
        self._controller.rejected(self, refusal)

    def detach(self) -> None:
        self._controller.detach(self)


class Controller:
    """Implements ports.Fleet and what the API wants. `run` does the work; everything else answers at once, `wait` aside."""

    def __init__(self, store: Store, clock: Clock, mesh: MeshSettings, options: Options = Options()) -> None:  # noqa: B008 (immutable)
        self._store = store
        self._options = options
        self._clockwork = Clockwork(options.timers)
        self._waiters = Waiters()
        self._ledger = Ledger(clock, self._waiters.wake, options.history)
        world = World.empty(mesh)
        self._follower = Follower(store, clock, world, self._clockwork)
        self._distributor = Distributor(world, options.compiler, self._ledger, clock)
        timing = Timing(clock, self._clockwork, options.hold_off)
        self._dispatcher = Dispatcher(timing, self._ledger, self._distributor, self._follower.apply)
        self._conditions = Conditions(clock, self._follower.intake, self._ledger, self._distributor)
        self._report = Report(self._follower.intake, self._ledger, self._distributor)
        self._streams: dict[ProxyId, list[Attached]] = {}
        self._ready = False
        self._tidied = 0
        self._untidy = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follower.run(self), name="control-follow")
            group.create_task(self._dispatcher.run(), name="control-dispatch")
            group.create_task(self._tidy(), name="control-tidy")

    # -- follower.Listener ---------------------------------------

    def started(self, world: World, revision: int) -> None:
        self._ledger.enrol(id for id, proxy in world.proxies.items() if not proxy.banned)
        self._dispatcher.start(world, revision)
        self._tidied = revision
        self._ready = True
        log.info("control.synced", revision=revision, services=len(world.services), proxies=len(world.proxies))

    def changed(self, world: World, revision: int, step: tuple[Taken, ChangeSet], relisted: bool) -> None:
        taken, changed = step
        self._conditions.forget(change.ref for change in taken.changes if change.ref is not None and change.resource is None)
        self._enrol(world, changed.proxies)
        self._dispatcher.add(world, revision, step, relisted)
        self._mind_size(revision)

    def passed(self, revision: int) -> None:
        self._dispatcher.passed(revision)
        self._mind_size(revision)

    def _enrol(self, world: World, ids: Iterable[ProxyId]) -> None:
        """Who was removed, banned or is someone else now is cut off at once, whatever is being served."""
        for id in ids:
            proxy = world.proxies.get(id)
            gone = "removed" if proxy is None else "banned" if proxy.banned else ""
            for attached in list(self._streams.get(id, ())):
                reason = gone or ("identity" if self._objection(attached.session.peer) else "")
                if reason:
                    log.warning("control.cut", proxy=str(id), reason=reason)
                    self._forget(attached)
                    attached.sink.cut(reason)
            if gone:
                self._ledger.remove(id)
            else:
                self._ledger.enrol((id,))

    # -- ports.Fleet, and what its attachments report ---------------------------------------

    def ready(self) -> bool:
        return self._ready

    def admit(self, peer: PeerIdentity) -> None:
        objection = self._objection(peer)
        if objection:
            raise Forbidden(objection)

    def _objection(self, peer: PeerIdentity) -> str:
        proxy = self.world.proxies.get(peer.proxy)
        if proxy is None:
            return f"{peer.proxy} is not enrolled"
        if proxy.banned:
            return f"{peer.proxy} is banned"
        if peer.spiffe != proxy.spiffe_id(self.world.mesh.trust_domain):
            return f"{peer.proxy} is not enrolled as {peer.spiffe}"
        if peer.node and peer.node != proxy.node:
            return f"{peer.proxy} is not enrolled on {peer.node}"
        return ""

    def attach(self, peer: PeerIdentity, sink: Sink) -> Attachment:
        self.admit(peer)
        attached = Attached(self, self._ledger.attach(peer), sink)
        self._streams.setdefault(peer.proxy, []).append(attached)
        self._dispatcher.arrive(attached.session, sink)
        return attached

    def acked(self, attached: Attached, revision: int) -> None:
        self._ledger.acked(attached.session, revision)

    def rejected(self, attached: Attached, refusal: Refusal) -> None:
        self._ledger.rejected(attached.session, refusal)
        facts = {"type": refusal.type.name, "name": refusal.name, "revision": refusal.revision}
        log.debug("control.refused", proxy=str(attached.session.id), message=refusal.message[:300], **facts)

    def detach(self, attached: Attached) -> None:
        """Again is no error: a stream that was cut reports its end too."""
        self._forget(attached)

    def _forget(self, attached: Attached) -> None:
        session = attached.session
        streams = self._streams.get(session.id, [])
        if attached in streams:
            streams.remove(attached)
            if not streams:
                del self._streams[session.id]
            self._dispatcher.leave(session)
            self._ledger.detach(session)

    # -- questions ---------------------------------------

    @property
    def world(self) -> World:
        """The newest; what is served may be one hold-off behind."""
        return self._follower.world

    @property
    def revision(self) -> int:
        """Of what is served."""
        return self._ledger.served

    def rollout(self, revision: int) -> dict[str, Any]:
        """As the API answers it; `pending` for one that the store is not known to have. Raises Compacted for one that is forgotten."""
        return self._ledger.rollout(revision)

    async def wait(self, revision: int, timeout: float) -> dict[str, Any]:
        """The rollout as soon as it isn't pending, or after `timeout` seconds. Raises Compacted, Limited (too many wait)."""
        await self._waiters.until(lambda: self._ledger.state_of(revision) != "pending", timeout, self._clockwork)
        return self._ledger.rollout(revision)

    def conditions(self, ref: Ref) -> tuple[Condition, ...]:
        """Accepted, ResolvedRefs, Programmed; empty for a resource that is not there."""
        return self._conditions.of(ref, self.world, self._dispatcher.waiting)

    def proxies(self) -> list[dict[str, Any]]:
        return self._report.proxies(self.world)

    def proxy(self, id: ProxyId) -> dict[str, Any] | None:
        return self._report.proxy(self.world, id)

    def snapshot(self, id: ProxyId) -> Snapshot | None:
        """What it was offered last; None for one that is not connected."""
        return self._distributor.snapshot(id)

    def stats(self) -> Mapping[str, Any]:
        """Numbers by name; a mapping is one number a label value; `_total` at the end: it only grows."""
        return self._report.stats(self.world)

    # -- the store's past ---------------------------------------

    def _mind_size(self, revision: int) -> None:
        if self._options.keep_revisions and revision - self._tidied >= TIDY_EVERY:
            self._tidied = revision
            self._untidy.set()

    async def _tidy(self) -> None:
        while True:
            await self._untidy.wait()
            self._untidy.clear()
            upto = self._tidied - self._options.keep_revisions
            try:
                if upto > 0:
                    await self._store.compact(upto)
            except MeshwrightError as error:
                log.error("control.compaction_failed", reason=error.message)
