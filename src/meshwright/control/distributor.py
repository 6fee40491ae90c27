# SPDX-License-Identifier: Apache-2.0
"""Brings each connected proxy to the World that is served: compiles the scopes that a change touches, offers what became of them.

Only one task may call `advance` and `place` (the controller's); attach, detach and questions may come in between.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from meshwright.clock import Clock
from meshwright.control.compiler import Compiler
from meshwright.control.pace import Pace
from meshwright.control.ports import Sink
from meshwright.control.roll import Roll
from meshwright.control.rollout import Ledger
from meshwright.control.scope import Failure, Placed, Scope
from meshwright.control.session import Session
from meshwright.model.identity import ProxyId
from meshwright.model.snapshot import Snapshot
from meshwright.model.world import ChangeSet, World
from meshwright.translate.compile import CompileCache, ScopeKey


class Advance(NamedTuple):
    """To the World of `revision`. `again`: proxies that are offered it even when nothing of theirs changed."""

    world: World
    revision: int
    changed: ChangeSet
    again: frozenset[ProxyId] = frozenset()


class _Wave(NamedTuple):
    """What one step carries from scope to scope. `touched`: proxies whose inbound part may be another; `single` collects the proxies that
    were offered something, beside whole scopes."""

    step: Advance
    touched: set[ProxyId]
    single: set[ProxyId]
    pace: Pace


class Distributor:
    """`world` and `revision` are what is served."""

    def __init__(self, world: World, compiler: Compiler, ledger: Ledger, clock: Clock) -> None:
        self.world = world
        self.revision = 0
        self._compiler = compiler
        self._ledger = ledger
        self._clock = clock
        self._cache = CompileCache()
        self._roll = Roll(compiler.scope_key)
        self._scopes: dict[ScopeKey, Scope] = {}
        self._placed_in: dict[ProxyId, Scope] = {}
        self._failing: list[tuple[ScopeKey, Failure]] | None = None  # None: to be gathered again

    # -- streams ---------------------------------------

    def place(self, session: Session, sink: Sink) -> bool:
        """Gives a new stream its configuration; False when there is none for it yet."""
        id = session.id
        key = self._roll.scope_of(id)
        if key is None:
            return False
        self._failing = None
        scope = self._scope(key)
        placed = scope.placed.get(id) or Placed(id)
        if placed.inbound is None:
            scope.update_inbound(self.world, placed, frozenset())
        if placed.snapshot is None and scope.renew(placed) is None:
            return False
        scope.placed[id] = placed
        self._placed_in[id] = scope
        placed.sessions[session] = sink
        self._offer(placed, session, sink)
        return True

    def remove(self, session: Session) -> None:
        """The stream has ended."""
        scope = self._placed_in.get(session.id)
        placed = scope.placed.get(session.id) if scope is not None else None
        if scope is None or placed is None or placed.sessions.pop(session, None) is None or placed.sessions:
            return
        self._failing = None
        del scope.placed[session.id], self._placed_in[session.id]
        scope.failures.pop(str(session.id), None)

    def snapshot(self, id: ProxyId) -> Snapshot | None:
        scope = self._placed_in.get(id)
        return scope.placed[id].snapshot if scope is not None else None

    # -- steps ---------------------------------------

    async def advance(self, step: Advance) -> list[frozenset[ProxyId]]:
        """Serves this World from now on. The proxies concerned, in disjoint sets: those whose snapshot changed, and of those that are away
        the ones for which it may have."""
        before, self.world, self.revision = self.world, step.world, step.revision
        moved = self._enrol(step.changed.proxies)
        wave = _Wave(step, self._touched_inbound(step.changed), set(), Pace(self._clock))
        groups: list[frozenset[ProxyId]] = []
        for scope in list(self._scopes.values()):
            if not scope.placed:
                del self._scopes[scope.key]  # compiled again when somebody comes
                continue
            whole = scope.update(self.world, step.changed)
            if whole:
                groups.append(self._roll.members(scope.key))
            await self._offer_scope(scope, whole, wave)
            await wave.pace.pause()
        self._failing = None
        wave.single.update(self._place_again(moved))
        groups += self._perhaps_concerned(before, step.changed)
        wave.single.update(id for id in wave.touched if id not in self._placed_in)
        single = {id for id in wave.single if self._roll.scope_of(id) is not None and not any(id in group for group in groups)}
        return [*groups, frozenset(single)] if single else groups

    async def _offer_scope(self, scope: Scope, whole: bool, wave: _Wave) -> None:
        ids = set(scope.placed) if whole else scope.placed.keys() & (wave.touched | wave.step.again)
        if scope.failures:
            ids |= {id for id, placed in scope.placed.items() if placed.stale}
        for id in sorted(ids):
            await wave.pace.pause()
            placed = scope.placed.get(id)
            if placed is None:
                continue  # gone meanwhile
            own = (id in wave.touched or placed.stale) and scope.update_inbound(self.world, placed, wave.step.changed.refs)
            if whole or own or id in wave.step.again:
                wave.single.add(id)
                scope.renew(placed)
                for session, sink in list(placed.sessions.items()):
                    self._offer(placed, session, sink)

    def start(self, world: World, revision: int) -> None:
        """The first World, before any stream."""
        self.world, self.revision = world, revision
        self._enrol(world.proxies)

    def members(self) -> list[frozenset[ProxyId]]:
        """All that are enrolled, in disjoint sets."""
        return [self._roll.members(key) for key in self._roll.scopes()]

    def _scope(self, key: ScopeKey) -> Scope:
        scope = self._scopes.get(key)
        if scope is None:
            scope = self._scopes[key] = Scope(key, self._compiler, self._cache)
        if scope.outbound is None:
            scope.update(self.world, ChangeSet())
        return scope

    def _enrol(self, ids: Iterable[ProxyId]) -> list[Placed]:
        """Brings the roll up to date; the connected ones that are in another scope now."""
        moved = []
        for id in ids:
            proxy = self.world.proxies.get(id)
            self._roll.put(id, proxy if proxy is not None and not proxy.banned else None)
            scope = self._placed_in.get(id)
            if scope is not None and scope.key != self._roll.scope_of(id):
                moved.append(scope.placed.pop(id))
                del self._placed_in[id]
        return moved

    def _place_again(self, moved: Iterable[Placed]) -> set[ProxyId]:
        for placed in moved:
            for session, sink in placed.sessions.items():
                if session.open:
                    self.place(session, sink)
        return {placed.id for placed in moved}

    def _touched_inbound(self, changed: ChangeSet) -> set[ProxyId]:
        touched = set(changed.proxies)
        if changed.namespaces:
            root = self.world.mesh.root_namespace in changed.namespaces
            touched.update(self._roll.of_namespaces(changed.namespaces, all=root))
        return touched

    def _perhaps_concerned(self, before: World, changed: ChangeSet) -> Iterator[frozenset[ProxyId]]:
        """Scopes without connected proxies that see one of the hosts: nobody compiled them to find out."""
        hosts = changed.services | changed.endpoints
        services = [service for world in (before, self.world) for host in hosts for service in world.services_at(host)]
        namespaces: set[str] = set()
        for service in services:
            if not service.export_to or "*" in service.export_to:
                namespaces = {key.namespace for key in self._roll.scopes()}
                break
            namespaces.update(service.export_to)
        for key in self._roll.scopes():
            if key.namespace in namespaces and key not in self._scopes:
                yield self._roll.members(key)

    def _offer(self, placed: Placed, session: Session, sink: Sink) -> None:
        if placed.snapshot is not None and session.open:
            self._ledger.offered(session, placed.snapshot, self.revision)
            sink.offer(placed.snapshot, self.revision)

    # -- what may be asked ---------------------------------------

    def failures(self) -> list[tuple[ScopeKey, Failure]]:
        """What can't be compiled at the moment."""
        if self._failing is None:
            self._failing = [(scope.key, failure) for scope in self._scopes.values() for failure in scope.failures.values()]
        return self._failing

    @property
    def scopes(self) -> int:
        return len(self._scopes)
