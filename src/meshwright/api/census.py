# SPDX-License-Identifier: Apache-2.0
"""How many resources each namespace has and how large they are, so that no editor of one fills the store for all. The only writer of
resources is this process, so what it remembers is true; where a write may or may not have been done, the store is counted again."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from meshwright.config import Limits
from meshwright.errors import Conflict, Full
from meshwright.store.base import Store

_PREFIX = "resources/"


class _Home:
    """One namespace's. `size` in bytes, as stored."""

    def __init__(self) -> None:
        self.count = 0
        self.size = 0

    def add(self, count: int, size: int) -> None:
        self.count += count
        self.size += size


class Census:
    def __init__(self, store: Store, limits: Limits) -> None:
        self._store = store
        self._limits = limits
        self._homes: defaultdict[str, _Home] | None = None
        self._counting = asyncio.Lock()

    @asynccontextmanager
    async def place(self, namespace: str, before: bytes | None, after: bytes) -> AsyncIterator[None]:
        """The place of a resource that is being stored (`before` None: made). Raises Full; what is there may always be changed, as long as
        it doesn't grow beyond the limit."""
        count, size = int(before is None), len(after) - len(before or b"")
        home = await self.check(namespace, before, after)
        home.add(count, size)
        try:
            yield
        except Conflict:
            home.add(-count, -size)
            raise
        except BaseException:
            self._homes = None  # nobody knows whether it was written
            raise

    async def check(self, namespace: str, before: bytes | None, after: bytes) -> _Home:
        """Raises Full."""
        homes = await self._counted()
        home, limits = homes[namespace], self._limits
        if before is None and home.count >= limits.resources_per_namespace:
            raise _full(f"the namespace {namespace!r} has {home.count} resources, its limit", "resources_per_namespace", limits)
        everywhere = sum(one.count for one in homes.values()) if before is None else 0
        if everywhere >= limits.resources:
            raise _full(f"the mesh has {everywhere} resources, its limit", "resources", limits)
        grown = len(after) - len(before or b"")
        if grown > 0 and home.size + grown > limits.bytes_per_namespace:
            sizes = f"are {home.size} bytes, with this they would be {home.size + grown}; its limit"
            raise _full(f"the resources of the namespace {namespace!r} {sizes}", "bytes_per_namespace", limits)
        return home

    def gone(self, namespace: str, value: bytes) -> None:
        """A resource was deleted."""
        if self._homes is not None:
            self._homes[namespace].add(-1, -len(value))

    async def _counted(self) -> defaultdict[str, _Home]:
        async with self._counting:
            if self._homes is None:
                records, _ = await self._store.list(_PREFIX)
                homes: defaultdict[str, _Home] = defaultdict(_Home)
                for record in records:
                    homes[record.key.split("/", 3)[2]].add(1, len(record.value))
                self._homes = homes
            return self._homes


def _full(what: str, limit: str, limits: Limits) -> Full:
    return Full(f"{what} is limits.{limit} = {getattr(limits, limit)} in the control plane's settings: delete some, or have it raised")
