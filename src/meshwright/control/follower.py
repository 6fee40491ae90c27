# SPDX-License-Identifier: Apache-2.0
"""Follows the store: keeps the newest World, and tells what became another in it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from typing import Protocol

import structlog

from meshwright.clock import Clock
from meshwright.control.holdoff import union
from meshwright.control.intake import Intake, Taken
from meshwright.control.pace import Pace
from meshwright.control.timers import Clockwork
from meshwright.errors import Compacted, MeshwrightError
from meshwright.model.world import Change, ChangeSet, World
from meshwright.store.base import Event, Record, Store

log = structlog.get_logger(__name__)
RETRY_SECONDS = 1.0


class Listener(Protocol):
    def started(self, world: World, revision: int) -> None:
        """The first World; nothing was told before."""
        ...

    def changed(self, world: World, revision: int, step: tuple[Taken, ChangeSet], relisted: bool) -> None:
        """`relisted`: which revision did what is not known, some may have been missed."""
        ...

    def passed(self, revision: int) -> None:
        """The store has this revision now, nothing in the World is different."""
        ...


class Follower:
    """`world` and `revision` are the newest."""

    def __init__(self, store: Store, clock: Clock, world: World, clockwork: Clockwork) -> None:
        self.world = world
        self.revision = 0
        self.intake = Intake()
        self._store = store
        self._clock = clock
        self._clockwork = clockwork
        self._burst: list[Event] = []
        self._started = False

    async def run(self, listener: Listener) -> None:
        """Until cancelled; while the store is away the last World stays."""
        while True:
            try:
                records, revision = await self._store.list("")
                if self._started:
                    self._catch_up(listener, records, revision)
                else:
                    await self._start(listener, records, revision)
                async with aclosing(self._store.watch("", revision)) as events:  # type: ignore[type-var]
                    async for event in events:
                        self._note(listener, event)
            except Compacted as error:
                log.warning("control.relist", reason=error.message)
            except MeshwrightError as error:
                log.error("control.store_away", reason=error.message)
                await self._clockwork.sleep(RETRY_SECONDS)

    async def _start(self, listener: Listener, records: Sequence[Record], revision: int) -> None:
        pace, changes = Pace(self._clock), list[Change]()
        for record in records:
            changes += self.intake.take([Event(*record)]).changes
            await pace.pause()
        self.world, _ = self.apply(self.world, changes, revision)
        self.revision = revision
        self._started = True
        listener.started(self.world, revision)

    def _catch_up(self, listener: Listener, records: Sequence[Record], revision: int) -> None:
        """After a gap in the watch."""
        if self._burst:
            self._absorb(listener)
        missed = self.intake.missed(records, revision)
        self._take(listener, missed, revision, relisted=True)

    def _note(self, listener: Listener, event: Event) -> None:
        """A burst is taken in as a whole, in the next turn of the loop (the events of a commit come without a pause)."""
        if not self._burst:
            asyncio.get_running_loop().call_soon(self._absorb, listener)
        self._burst.append(event)

    def _absorb(self, listener: Listener) -> None:
        burst, self._burst = self._burst, []
        if burst:
            self._take(listener, burst, burst[-1].revision)

    def _take(self, listener: Listener, events: Sequence[Event], revision: int, *, relisted: bool = False) -> None:
        taken = self.intake.take(events)
        self.revision = max(self.revision, revision)
        if not taken.changes:
            listener.passed(self.revision)
            return
        self.world, changed = self.apply(self.world, taken.changes, self.revision)
        listener.changed(self.world, self.revision, (taken, changed), relisted)

    def apply(self, world: World, changes: Sequence[Change], revision: int) -> tuple[World, ChangeSet]:
        """World.apply; a change that it can't take is left out, the others are applied."""
        try:
            return world.apply(changes, revision)
        except Exception as error:
            if len(changes) <= 1:
                for change in changes:
                    log.error("control.change_failed", ref=str(change.ref or change.node_name), revision=revision, exc_info=error)
                    if change.ref is not None:
                        self.intake.unreadable[change.ref] = f"{type(error).__name__}: {error}"[:500]
                return world, ChangeSet()
        middle = len(changes) // 2
        world, one = self.apply(world, changes[:middle], revision)
        world, other = self.apply(world, changes[middle:], revision)
        return world, union(one, other)
