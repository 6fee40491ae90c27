# SPDX-License-Identifier: Apache-2.0
"""Decides what is served when: bursts of rules wait for their end, instances and new streams don't; one step after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from meshwright.clock import Clock
from meshwright.control.distributor import Advance, Distributor
from meshwright.control.holdoff import Held, HoldOff, is_urgent
from meshwright.control.intake import Taken
from meshwright.control.pace import Pace
from meshwright.control.ports import Sink
from meshwright.control.rollout import Ledger
from meshwright.control.session import Session
from meshwright.control.step import Rejection
from meshwright.control.timers import Clockwork, Handle
from meshwright.model.meta import Ref
from meshwright.model.world import Change, ChangeSet, World

Apply = Callable[[World, Sequence[Change], int], tuple[World, ChangeSet]]


class Timing(NamedTuple):
    clock: Clock
    clockwork: Clockwork
    hold_off: HoldOff


class Dispatcher:
    """`arrivals`: streams that have no configuration yet."""

    def __init__(self, timing: Timing, ledger: Ledger, distributor: Distributor, apply: Apply) -> None:
        self.arrivals: dict[Session, Sink] = {}
        self._timing = timing
        self._ledger = ledger
        self._distributor = distributor
        self._apply = apply
        self._newest: tuple[World, int] = (distributor.world, 0)
        self._held: Held | None = None
        self._busy = False
        self._started = False
        self._unplaced: set[Session] = set()  # arrivals that wait for the next World
        self._wake = asyncio.Event()

    # -- what there is to do ---------------------------------------

    def start(self, world: World, revision: int) -> None:
        self._newest = (world, revision)
        self._distributor.start(world, revision)
        step = self._ledger.begin(revision, self._ledger.now(), None)
        self._ledger.close(step, self._distributor.members())
        self._started = True
        self._wake.set()

    def add(self, world: World, revision: int, step: tuple[Taken, ChangeSet], relisted: bool) -> None:
        taken, changed = step
        self._newest = (world, revision)
        moment = self._ledger.now()
        if self._held is None:
            self._held = Held(moment)
        self._held.add(changed, taken, moment.seconds)
        self._held.relisted |= relisted
        self._wake.set()

    def passed(self, revision: int) -> None:
        self._newest = (self._newest[0], revision)
        self._settle()

    def arrive(self, session: Session, sink: Sink) -> None:
        self.arrivals[session] = sink
        self._wake.set()

    def leave(self, session: Session) -> None:
        self.arrivals.pop(session, None)
        self._unplaced.discard(session)
        self._distributor.remove(session)

    @property
    def waiting(self) -> frozenset[Ref]:
        """Resources whose last change is held off."""
        return self._held.changed.refs if self._held is not None else frozenset()

    def _settle(self) -> None:
        """When nothing waits, everything that the store has is served."""
        if self._started and self._held is None and not self._busy:
            self._ledger.serve(self._newest[1])

    # -- doing it ---------------------------------------

    async def run(self) -> None:
        """Until cancelled."""
        alarm: Handle | None = None
        while True:
            await self._wake.wait()
            self._wake.clear()
            if alarm is not None:
                alarm.cancel()
            while self._started and await self._do_one():
                pass
            alarm = self._set_alarm()

    def _set_alarm(self) -> Handle | None:
        if self._held is None:
            return None
        delay = self._held.due(self._timing.hold_off) - self._timing.clock.monotonic()
        return self._timing.clockwork.call_later(max(delay, 0.0), self._wake.set)

    async def _do_one(self) -> bool:
        """The most urgent thing that there is to do; False when there is none."""
        held = self._held
        if held is not None and held.due(self._timing.hold_off) <= self._timing.clock.monotonic():
            await self._flush(held)
        elif held is not None and held.early:
            await self._push_early(held)
        elif len(self.arrivals) > len(self._unplaced):
            await self._place_arrivals()
        else:
            return False
        await asyncio.sleep(0)  # streams first, then the next piece
        return True

    async def _flush(self, held: Held) -> None:
        world, revision = self._newest
        self._held, self._busy = None, True
        try:
            step = self._ledger.begin(revision, held.started, None if held.relisted else held.revisions)
            advance = Advance(world, revision, held.changed, frozenset(held.pushed))
            concerned = await self._distributor.advance(advance)
            self._ledger.close(step, concerned, self._failures(held.changed.refs))
        finally:
            self._busy = False
        self._unplaced.clear()
        self._settle()

    def _failures(self, refs: frozenset[Ref]) -> list[Rejection]:
        return [
            Rejection("control-plane", "", failure.subject, f"can't be compiled: {failure.message}", failure.refs & refs, narrowed=True)
            for _, failure in self._distributor.failures()
            if not failure.refs.isdisjoint(refs)
        ]

    async def _push_early(self, held: Held) -> None:
        """Instances that came or went while rules are held off: they are served in the World without those rules, under its revision."""
        early, held.early = held.early, []
        world, changed = self._apply(self._distributor.world, early, self._distributor.revision)
        if is_urgent(changed):  # else it hangs together with what is held off, and comes with it
            groups = await self._distributor.advance(Advance(world, self._distributor.revision, changed))
            held.pushed.update(id for group in groups for id in group)
            self._unplaced.clear()

    async def _place_arrivals(self) -> None:
        """One slice of them."""
        pace = Pace(self._timing.clock)
        for session, sink in list(self.arrivals.items()):
            if session in self._unplaced:
                continue
            if self._distributor.place(session, sink):
                self.arrivals.pop(session, None)
            else:
                self._unplaced.add(session)
            if await pace.pause():
                return
