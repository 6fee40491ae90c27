# SPDX-License-Identifier: Apache-2.0
"""What has been compiled before, bounded; shared by all scopes. It only ever saves work: with an empty one the bytes are the same."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Memo(Generic[K, V]):
    """Two generations of at most `limit` entries each: when the young one is full it becomes the old one, and what is asked for moves
    back. An entry that is in use stays, one that isn't goes after one or two generations."""

    __slots__ = ("_limit", "_old", "_young")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def get(self, key: K, make: Callable[[], V]) -> V:
        found = self._young.get(key)
        if found is None:
            found = self._old.get(key)
            if found is None:
                found = make()
            if len(self._young) >= self._limit:
                self._old, self._young = self._young, {}
            self._young[key] = found
        return found

    def __len__(self) -> int:
        return len(self._young) + len(self._old)


class Latest(Generic[K, V]):
    """The last value of each key, at most `limit` keys; the ones not used for longest go first."""

    __slots__ = ("_entries", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        found = self._entries.get(key)
        if found is not None:
            self._entries.move_to_end(key)
        return found

    def put(self, key: K, value: V) -> None:
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self._limit:
            self._entries.popitem(last=False)

    def __len__(self) -> int:
        return len(self._entries)


class CompileCache:
    """One a controller. `resources` bounds the entries (services times scopes, roughly) of each memo, `scopes` the scopes whose parts
    are kept so that a change costs what it touches."""

    def __init__(self, resources: int = 50_000, scopes: int = 2_000) -> None:
        self.clusters: Memo[Any, Any] = Memo(resources)
        self.hosts: Memo[Any, Any] = Memo(resources)
        self.listeners: Memo[Any, Any] = Memo(resources)
        self.assignments: Latest[Any, Any] = Latest(resources)
        self.scopes: Latest[Any, Any] = Latest(scopes)
        self.inbound: Memo[Any, Any] = Memo(resources)
