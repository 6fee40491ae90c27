# SPDX-License-Identifier: Apache-2.0
"""One scope with its connected proxies: compiled once for all of them, and never lost to an error while compiling."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import structlog

from meshwright.control.compiler import Compiler
from meshwright.control.ports import Sink
from meshwright.control.session import Session
from meshwright.model.identity import ProxyId
from meshwright.model.meta import Ref
from meshwright.model.snapshot import Snapshot
from meshwright.model.world import ChangeSet, World
from meshwright.translate.compile import CompileCache, Inbound, Outbound, ScopeKey

log = structlog.get_logger(__name__)


class Failure(NamedTuple):
    """Something that could not be compiled. `subject` is the host or the proxy, `refs` the resources that it is made of."""

    subject: str
    message: str
    refs: frozenset[Ref]


class Placed:
    """A connected proxy in its scope. `sessions`: its streams. `stale`: its inbound part is to be compiled again (it failed)."""

    def __init__(self, id: ProxyId) -> None:
        self.id = id
        self.inbound: Inbound | None = None
        self.snapshot: Snapshot | None = None
        self.sessions: dict[Session, Sink] = {}
        self.stale = False


class Scope:
    """`outbound` None: it could not be compiled yet. `failures` by host ('' the whole scope) or proxy."""

    def __init__(self, key: ScopeKey, compiler: Compiler, cache: CompileCache) -> None:
        self.key = key
        self.outbound: Outbound | None = None
        self.placed: dict[ProxyId, Placed] = {}
        self.failures: dict[str, Failure] = {}
        self._missed: set[str] = set()  # hosts whose last change could not be compiled
        self._compiler = compiler
        self._cache = cache

    def update(self, world: World, changed: ChangeSet) -> bool:
        """The outbound part of this World; False when it is the same object as before."""
        before = self.outbound
        if before is None:
            self._compile(world)
        elif changed.services or changed.endpoints or self._missed:
            self._update(world, before, changed)
        return self.outbound is not before

    def _compile(self, world: World) -> None:
        try:
            self.outbound = self._compiler.compile_outbound(world, self.key, self._cache)
        except Exception as error:  # noqa: BLE001 (one scope must not take the loop down)
            self._fail("", error, frozenset())
        else:
            self.failures.pop("", None)

    def _update(self, world: World, outbound: Outbound, changed: ChangeSet) -> None:
        if not self._missed:
            try:
                self.outbound = self._compiler.update_outbound(world, self.key, outbound, changed, self._cache)
                return
            except Exception as error:  # noqa: BLE001 (as above; it is reported host by host below)
                log.warning("control.scope_split", scope=self.key, error=repr(error))
        # Host by host, so that one that can't be compiled keeps its last good form and doesn't keep the others from theirs.
        for part in _parts(changed, self._missed):
            self._update_part(world, part, changed.refs)

    def _update_part(self, world: World, part: ChangeSet, refs: frozenset[Ref]) -> None:
        [host] = part.services or part.endpoints
        assert self.outbound is not None  # noqa: S101 (for the type checker)
        try:
            self.outbound = self._compiler.update_outbound(world, self.key, self.outbound, part, self._cache)
        except Exception as error:  # noqa: BLE001 (as above)
            concerned = _refs_of(world, host, self.key.namespace)
            self._missed.add(host)
            self._fail(host, error, (concerned & refs) or concerned or refs)
        else:
            self._missed.discard(host)
            self.failures.pop(host, None)

    def update_inbound(self, world: World, placed: Placed, refs: frozenset[Ref]) -> bool:
        """The inbound part of one proxy; False when it is the same object as before."""
        before, subject = placed.inbound, str(placed.id)
        try:
            placed.inbound = self._compiler.compile_inbound(world, world.proxies[placed.id], before)
        except Exception as error:  # noqa: BLE001 (as above)
            placed.stale = True
            self._fail(subject, error, refs)
        else:
            placed.stale = False
            self.failures.pop(subject, None)
        return placed.inbound is not before

    def renew(self, placed: Placed) -> Snapshot | None:
        """The proxy's snapshot of the parts as they are now; None while one has never been compiled."""
        if self.outbound is not None and placed.inbound is not None:
            placed.snapshot = self._compiler.make_snapshot(self.outbound, placed.inbound)
        return placed.snapshot

    def _fail(self, subject: str, error: Exception, refs: frozenset[Ref]) -> None:
        message = f"{type(error).__name__}: {error}"[:500]
        self.failures[subject] = Failure(subject, message, refs)
        log.error("control.compile_failed", scope=self.key, subject=subject, refs=[str(ref) for ref in sorted(refs)], exc_info=error)


def _parts(changed: ChangeSet, missed: set[str]) -> Iterator[ChangeSet]:
    for host in sorted(changed.services | missed):
        yield ChangeSet(services=frozenset((host,)))
    for host in sorted(changed.endpoints - missed):
        yield ChangeSet(endpoints=frozenset((host,)))


def _refs_of(world: World, host: str, namespace: str) -> frozenset[Ref]:
    """What the host's part is made of."""
    service, rule = world.service_for(host, namespace), world.destination_rule(host, namespace)
    refs = [resource.ref for resource in (*world.virtual_services(host), rule) if resource is not None]
    return frozenset(refs if service is None else [*refs, service.owner])
