# SPDX-License-Identifier: Apache-2.0
"""What the store says, as changes of the World; and the facts that stand beside it. No I/O.

A document that can't be read any more (it was stored by another version) is skipped, whatever was known of it before stays; the resource
gets a condition that says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
import structlog

from meshwright.errors import MeshwrightError
from meshwright.model.decode import load
from meshwright.model.meta import Ref, Resource
from meshwright.model.proxy import Node
from meshwright.model.world import Change
from meshwright.store.base import Event, Record

log = structlog.get_logger(__name__)
_SVID_FACTS = ("serial", "notBefore", "notAfter", "count")
_UNREADABLE = (msgspec.MsgspecError, MeshwrightError, ValueError, KeyError, TypeError, AttributeError, RecursionError)


class Taken(NamedTuple):
    """`revisions`: which resources each revision changed (an entry for every revision that has a change)."""

    changes: list[Change]
    revisions: dict[int, frozenset[Ref]]


class Intake:
    """Remembers which keys it has seen, so that a new list of the store becomes the events that were missed."""

    def __init__(self) -> None:
        self.unreadable: dict[Ref, str] = {}
        self._svids: dict[str, dict[str, Any]] = {}
        self._known: dict[str, int] = {}

    def svid(self, proxy: str) -> dict[str, Any] | None:
        """`{"serial", "notBefore", "notAfter", "count"}` of the last one issued."""
        return self._svids.get(proxy)

    def missed(self, records: Sequence[Record], revision: int) -> list[Event]:
        """The events that lead from what is known to this list, in order of revision."""
        there = {record.key for record in records}
        events = [Event(*record) for record in records if self._known.get(record.key) != record.revision]
        events += [Event(key, None, revision, 0) for key in self._known if key not in there]
        return sorted(events, key=lambda event: event.revision)

    def take(self, events: Iterable[Event]) -> Taken:
        changes: list[Change] = []
        revisions: dict[int, frozenset[Ref]] = {}
        for event in events:
            space, _, rest = event.key.partition("/")
            if space not in ("resources", "nodes", "svids"):
                continue
            self._note(event)
            if space == "svids":
                self._take_svid(rest, event.value)
                continue
            change = self._resource(rest, event) if space == "resources" else self._node(rest, event)
            if change is not None:
                changes.append(change)
                refs = frozenset((change.ref,)) if change.ref is not None else frozenset[Ref]()
                revisions[event.revision] = revisions.get(event.revision, frozenset()) | refs
        return Taken(changes, revisions)

    def _note(self, event: Event) -> None:
        if event.value is None:
            self._known.pop(event.key, None)
        else:
            self._known[event.key] = event.revision

    def _take_svid(self, proxy: str, value: bytes | None) -> None:
        if value is None:
            self._svids.pop(proxy, None)
            return
        try:
            facts = msgspec.json.decode(value, type=dict[str, Any])
        except _UNREADABLE as error:
            log.warning("control.svid_unreadable", proxy=proxy, error=str(error))
            return
        self._svids[proxy] = {fact: facts[fact] for fact in _SVID_FACTS if fact in facts}

    def _resource(self, path: str, event: Event) -> Change | None:
        parts = path.split("/")
        if len(parts) != 3:
            log.warning("control.key_unknown", key=event.key)
            return None
        ref = Ref(*parts)
        if event.value is None:
            self.unreadable.pop(ref, None)
            return Change(ref=ref)
        try:
            resource = _read(ref, event.value)
        except _UNREADABLE as error:
            self.unreadable[ref] = f"{type(error).__name__}: {error}"[:500]
            log.warning("control.document_unreadable", ref=str(ref), revision=event.revision, error=str(error)[:500])
            return None
        self.unreadable.pop(ref, None)
        return Change(ref=ref, resource=resource)

    def _node(self, name: str, event: Event) -> Change | None:
        if event.value is None:
            return Change(node_name=name)
        try:
            node = msgspec.json.decode(event.value, type=Node)
            if node.name != name:
                raise ValueError(f"the record of {name} is about {node.name}")
        except _UNREADABLE as error:
            log.warning("control.node_unreadable", node=name, revision=event.revision, error=str(error)[:500])
            return None
        return Change(node_name=name, node=node)


def _read(ref: Ref, value: bytes) -> Resource:
    resource = load(msgspec.json.decode(value, type=dict[str, Any]))
    if resource.ref != ref:
        raise ValueError(f"the record of {ref} is about {resource.ref}")
    return resource
