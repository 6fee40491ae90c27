# SPDX-License-Identifier: Apache-2.0
"""A persistent map: immutable to its readers, and a change costs what it touches, not what there is.

Keys are spread over buckets of about 16; a successor copies the row of buckets and only those buckets that change. Iteration is in
sorted order, so that nothing made from it depends on history or on Python's hash seed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

_SMALLEST = 8
_FULL = 32


class Shards(Mapping[K, V]):
    """The map. Keys of one map must be comparable with each other."""

    __slots__ = ("_buckets", "_count", "_sorted")

    def __init__(self, buckets: tuple[dict[K, V], ...] = ({},) * _SMALLEST, count: int = 0) -> None:
        self._buckets = buckets
        self._count = count
        self._sorted: tuple[K, ...] | None = None

    @classmethod
    def of(cls, items: Iterable[tuple[K, V]]) -> Shards[K, V]:
        draft = Draft(Shards[K, V]())
        for key, value in items:
            draft[key] = value
        return draft.done()

    def __getitem__(self, key: K) -> V:
        buckets = self._buckets
        return buckets[hash(key) & (len(buckets) - 1)][key]

    def get(self, key: K, default: Any = None) -> Any:
        buckets = self._buckets
        return buckets[hash(key) & (len(buckets) - 1)].get(key, default)

    def __contains__(self, key: object) -> bool:
        buckets = self._buckets
        return key in buckets[hash(key) & (len(buckets) - 1)]

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[K]:
        if self._sorted is None:
            self._sorted = tuple(sorted(key for bucket in self._buckets for key in bucket))  # type: ignore[type-var]
        return iter(self._sorted)

    def unsorted(self) -> Iterator[tuple[K, V]]:
        """All items, in no order: for what does not depend on it."""
        for bucket in self._buckets:
            yield from bucket.items()

    def __repr__(self) -> str:
        return f"Shards({dict(self)!r})"


class Draft(Generic[K, V]):
    """A successor in the making; `done` gives the map (the old one itself when nothing was changed)."""

    __slots__ = ("_base", "_buckets", "_count", "_own")

    def __init__(self, base: Shards[K, V]) -> None:
        self._base = base
        self._buckets: list[dict[K, V]] | None = None
        self._own: set[int] = set()
        self._count = len(base)

    def __len__(self) -> int:
        return self._count

    def get(self, key: K, default: Any = None) -> Any:
        if self._buckets is None:
            return self._base.get(key, default)
        return self._buckets[hash(key) & (len(self._buckets) - 1)].get(key, default)

    def __contains__(self, key: K) -> bool:
        if self._buckets is None:
            return key in self._base
        return key in self._buckets[hash(key) & (len(self._buckets) - 1)]

    def __setitem__(self, key: K, value: V) -> None:
        bucket = self._bucket(key)
        if key not in bucket:
            self._count += 1
        bucket[key] = value
        if self._buckets is not None and self._count > len(self._buckets) * _FULL:
            self._respread(len(self._buckets) * 4)

    def pop(self, key: K) -> None:
        """Without error when it is not there."""
        if key in self:
            del self._bucket(key)[key]
            self._count -= 1

    def put(self, key: K, value: V | None) -> None:
        """Set, or remove when there is no value."""
        if value is None:
            self.pop(key)
        else:
            self[key] = value

    def _bucket(self, key: K) -> dict[K, V]:
        if self._buckets is None:
            self._buckets = list(self._base._buckets)
        index = hash(key) & (len(self._buckets) - 1)
        if index not in self._own:
            self._buckets[index] = dict(self._buckets[index])
            self._own.add(index)
        return self._buckets[index]

    def _respread(self, size: int) -> None:
        buckets: list[dict[K, V]] = [{} for _ in range(size)]
        for bucket in self._buckets or ():
            for key, value in bucket.items():
                buckets[hash(key) & (size - 1)][key] = value
        self._buckets = buckets
        self._own = set(range(size))

    def done(self) -> Shards[K, V]:
        if self._buckets is None:
            return self._base
        made = Shards(tuple(self._buckets), self._count)
        self._buckets = None
        self._base = made
        self._own = set()
        return made
