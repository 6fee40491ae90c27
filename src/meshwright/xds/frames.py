# SPDX-License-Identifier: Apache-2.0
"""Responses as bytes, made once and shared. A Part is what differs between two resource sets for one set of subscribed names; all sessions
that make the same step share the Part and, when there is nothing else to send, the whole message with its nonce.

A DeltaDiscoveryResponse is a concatenation: system_version_info (field 1), type_url (4), nonce (5), then resources (2, ready in
XdsResource.frame) and removed_resources (6). Protobuf allows any order of fields; the small ones go first."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Iterable
from weakref import WeakValueDictionary

from meshwright.model.snapshot import ResourceSet, TypeUrl, XdsResource
from meshwright.model.wire import delimited

Layers = tuple[ResourceSet, ...]
DEFAULT_BUDGET = 48 * 1024 * 1024
_ENTRY_COST = 400
_ONCE = 4_096
_Key = tuple[int, int, int]


_TYPE_FIELD = {type: delimited(4, type.value) for type in TypeUrl}


class Names:
    """The names that a client subscribes to in one type; `wild`: all there are (and `names` on top, explicitly). Interned (Frames.names):
    sessions with the same subscription share one object, and `key` stands for it in memos."""

    __slots__ = ("__weakref__", "key", "names", "wild")

    def __init__(self, key: int, names: frozenset[str], wild: bool) -> None:
        self.key = key
        self.names = names
        self.wild = wild

    def __contains__(self, name: str) -> bool:
        return self.wild or name in self.names

    def __bool__(self) -> bool:
        return self.wild or bool(self.names)


class Part:
    """What to send so that a client that has one set gets another: `upserts`, in order of name; `removed`: what it has too much."""

    __slots__ = ("_added", "_data", "_head", "_names", "nonce", "removed", "upserts")

    def __init__(self, upserts: tuple[XdsResource, ...], removed: frozenset[str], added: frozenset[str] | None, nonce: str) -> None:
        self.upserts = upserts
        self.removed = removed
        self.nonce = nonce
        self._added = added
        self._names: frozenset[str] | None = None
        self._data: bytes | None = None
        self._head = 0

    @property
    def added(self) -> frozenset[str]:
        """Names of upserts that were not there before."""
        return self.names if self._added is None else self._added

    @property
    def names(self) -> frozenset[str]:
        """Of the upserts."""
        if self._names is None:
            self._names = frozenset(r.name for r in self.upserts)
        return self._names

    def message(self, type: TypeUrl, revision: int) -> bytes:
        """The whole response; `revision` (for people who read Envoy's config dump) is that of the first caller."""
        if self._data is None:
            head = header(type, self.nonce, revision)
            self._head = len(head)
            self._data = b"".join((head, *(r.frame for r in self.upserts)))
        return self._data

    def frames(self) -> Iterable[bytes | memoryview]:
        """The resources only, for a message that has more than this part."""
        return (r.frame for r in self.upserts) if self._data is None else (memoryview(self._data)[self._head :],)

    def weight(self) -> int:
        """About how many bytes this keeps alive: the message, and as much again twice over in resources that only it may still hold."""
        return _ENTRY_COST + 3 * sum(len(r.frame) for r in self.upserts)


def header(type: TypeUrl, nonce: str, revision: int) -> bytes:
    return b"".join((delimited(1, str(revision)), _TYPE_FIELD[type], delimited(5, nonce)))


def removals(names: Iterable[str]) -> bytes:
    return b"".join(delimited(6, name) for name in names)


class Frames:
    """The memo: Parts by (set before, set after, names), least recently used first out, bounded by `budget` bytes. What is asked for the
    first time is not kept yet: much of it is a workload's own, and nobody will ask again. One for all sessions of a server; used in one
    thread."""

    def __init__(self, budget: int = DEFAULT_BUDGET) -> None:
        self._budget = budget
        self._size = 0
        self._parts: OrderedDict[_Key, tuple[Part, int]] = OrderedDict()
        self._once: OrderedDict[_Key, None] = OrderedDict()
        self._names: WeakValueDictionary[frozenset[str], Names] = WeakValueDictionary()
        self._wild_names: WeakValueDictionary[frozenset[str], Names] = WeakValueDictionary()
        self._keys = itertools.count(1)
        self._nonces = itertools.count(1)
        self.wild = self.names(frozenset(), wild=True)
        self.none = self.names(frozenset())

    def names(self, names: frozenset[str], *, wild: bool = False) -> Names:
        """The one object for this subscription."""
        table = self._wild_names if wild else self._names
        found = table.get(names)
        if found is None:
            found = table[names] = Names(next(self._keys), names, wild)
        return found

    def nonce(self) -> str:
        """Unlike any other that this server gives; a Part's goes to many streams, but is pending only once on each."""
        return f"{next(self._nonces):x}"

    def part(self, before: ResourceSet | None, after: ResourceSet | None, names: Names) -> Part:
        """What differs, as far as `names` goes. Neighbours cost what changed, others what there is, and only the first two callers pay."""
        key = (before.key if before is not None else 0, after.key if after is not None else 0, names.key)
        found = self._parts.get(key)
        if found is not None:
            self._parts.move_to_end(key)
            return found[0]
        part = Part(*_difference(before, after, names), self.nonce())
        if key in self._once:
            del self._once[key]
            self._remember(key, part)
        else:
            self._once[key] = None
            if len(self._once) > _ONCE:
                self._once.popitem(last=False)
        return part

    def steps(self, before: Layers, after: Layers, names: Names) -> list[Part]:
        """The parts between two tuples of layers, without the empty ones."""
        if before == after:
            return []
        pairs = itertools.zip_longest(before, after)
        parts = (self.part(old, new, names) for old, new in pairs if old is not new)
        return [part for part in parts if part.upserts or part.removed]

    def everything(self, layers: Layers, names: Names) -> list[Part]:
        """The parts for a client that has nothing of `names`, without the empty ones."""
        parts = (self.part(None, layer, names) for layer in layers)
        return [part for part in parts if part.upserts]

    def single(self, upserts: Iterable[XdsResource]) -> Part:
        """A part for one session out of the ordinary: not kept."""
        return Part(tuple(upserts), frozenset(), None, self.nonce())

    def message(self, type: TypeUrl, parts: list[Part], removed: Iterable[str], revision: int) -> tuple[str, bytes]:
        """(nonce, response). One part alone is the shared message."""
        gone = removals(removed)
        if len(parts) == 1 and not gone:
            return parts[0].nonce, parts[0].message(type, revision)
        nonce = self.nonce()
        frames = itertools.chain.from_iterable(part.frames() for part in parts)
        return nonce, b"".join((header(type, nonce, revision), *frames, gone))

    def _remember(self, key: _Key, part: Part) -> None:
        weight = part.weight()
        self._parts[key] = (part, weight)
        self._size += weight
        while self._size > self._budget and len(self._parts) > 1:
            _, (_, freed) = self._parts.popitem(last=False)
            self._size -= freed


def _difference(
    before: ResourceSet | None, after: ResourceSet | None, names: Names
) -> tuple[tuple[XdsResource, ...], frozenset[str], frozenset[str] | None]:
    """(upserts, removed, added); added None: all of the upserts."""
    new = after.resources if after is not None else {}
    if before is None:
        wanted = new.keys() if names.wild else names.names & new.keys()
        return tuple(new[name] for name in sorted(wanted)), frozenset(), None
    old = before.resources
    touched = after.changed if after is not None and after.parent_key == before.key else new.keys() | old.keys()
    if not names.wild:
        touched = touched & names.names
    upserts, removed, added = [], [], []
    for name in sorted(touched):
        mine, theirs = new.get(name), old.get(name)
        if mine is None:
            if theirs is not None:
                removed.append(name)
        elif theirs is None:
            upserts.append(mine)
            added.append(name)
        elif mine is not theirs and mine.version != theirs.version:
            upserts.append(mine)
    return tuple(upserts), frozenset(removed), frozenset(added)
