# SPDX-License-Identifier: Apache-2.0
"""The store in memory: for tests, and what the conformance suite compares SQLite with. Nothing survives the process."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import AsyncIterator, Sequence

from meshwright.errors import Compacted, Conflict, Unavailable
from meshwright.store.base import Delete, Event, Put, Record
from meshwright.store.broadcast import DEFAULT_LIMIT, Broadcast
from meshwright.store.keys import check_key, check_operations, check_prefix, conflict_message


class MemoryStore:
    """Implements store.base.Store. `watch_limit`: how many events a watcher may be behind."""

    def __init__(self, *, watch_limit: int = DEFAULT_LIMIT) -> None:
        self._records: dict[str, Record] = {}
        self._log: list[Event] = []
        self._compacted = 0
        self._closed = False
        self._broadcast = Broadcast(0, watch_limit)

    async def get(self, key: str) -> Record | None:
        self._check_open()
        return self._records.get(check_key(key))

    async def list(self, prefix: str) -> tuple[list[Record], int]:
        self._check_open()
        check_prefix(prefix)
        found = [record for key, record in self._records.items() if key.startswith(prefix)]
        return sorted(found), self._broadcast.revision

    async def commit(self, operations: Sequence[Put | Delete]) -> int:
        self._check_open()
        checked = check_operations(operations)
        for operation in checked:
            found = self._records[operation.key].revision if operation.key in self._records else 0
            if operation.expected is not None and operation.expected != found:
                raise Conflict(conflict_message(operation.key, operation.expected, found))
        revision = self._broadcast.revision + 1
        events = [event for operation in checked if (event := self._apply(operation, revision)) is not None]
        if not events:
            return revision - 1
        self._log.extend(events)
        self._broadcast.publish(events, revision)
        return revision

    def _apply(self, operation: Put | Delete, revision: int) -> Event | None:
        key = operation.key
        old = self._records.get(key)
        if isinstance(operation, Put):
            created = old.created if old is not None else revision
            self._records[key] = Record(key, operation.value, revision, created)
            return Event(key, operation.value, revision, created)
        if old is None:
            return None
        del self._records[key]
        return Event(key, None, revision, old.created)

    async def watch(self, prefix: str, after: int) -> AsyncIterator[Event]:
        self._check_open()
        check_prefix(prefix)
        with self._broadcast.subscribe(prefix) as subscription:
            if after < self._compacted or after > self._broadcast.revision:
                raise Compacted(f"revision {after} is not among those kept ({self._compacted} to {self._broadcast.revision}): list again")
            first = bisect_right(self._log, after, key=lambda event: event.revision)
            for event in self._log[first:]:
                if event.key.startswith(prefix):
                    yield event
            async for event in subscription.events(after):
                yield event

    async def compact(self, revision: int) -> None:
        self._check_open()
        self._compacted = max(self._compacted, min(revision, self._broadcast.revision))
        del self._log[: bisect_right(self._log, self._compacted, key=lambda event: event.revision)]

    async def close(self) -> None:
        self._closed = True
        self._broadcast.close()

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable("the store is closed")
