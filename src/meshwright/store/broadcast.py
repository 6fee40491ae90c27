# SPDX-License-Identifier: Apache-2.0
"""Committed events, pushed to those who watch. Lives in one event loop; the two stores share it.

Overflow policy: a watcher that falls more than `limit` events behind is dropped: its queue is freed at once and its next step raises
Compacted, so that it lists again. Writers never wait for watchers.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager

from meshwright.errors import Compacted, MeshwrightError, Unavailable
from meshwright.store.base import Event

DEFAULT_LIMIT = 10_000


class Subscription:
    """One watcher's queue. `start` is the revision after which events are pushed to it."""

    def __init__(self, prefix: str, start: int, limit: int) -> None:
        self.start = start
        self._prefix = prefix
        self._limit = limit
        self._queue: deque[Event] = deque()
        self._ended: MeshwrightError | None = None
        self._wake = asyncio.Event()

    def push(self, events: Sequence[Event]) -> None:
        if self._ended is not None:
            return
        mine = [event for event in events if event.key.startswith(self._prefix)]
        if not mine:
            return
        if len(self._queue) + len(mine) > self._limit:
            self.end(Compacted(f"this watch fell more than {self._limit} events behind: list again"))
            return
        self._queue.extend(mine)
        self._wake.set()

    def end(self, error: MeshwrightError) -> None:
        self._queue.clear()
        self._ended = error
        self._wake.set()

    async def events(self, after: int) -> AsyncIterator[Event]:
        """Those with a revision above `after`. Goes to sleep only when the queue is empty, so all events of a commit come in one go."""
        while True:
            while self._queue:
                event = self._queue.popleft()
                if event.revision > after:
                    yield event
            if self._ended is not None:
                raise self._ended
            self._wake.clear()
            await self._wake.wait()


class Broadcast:
    """`revision` is the last one that was published."""

    def __init__(self, revision: int, limit: int = DEFAULT_LIMIT) -> None:
        self.revision = revision
        self._limit = limit
        self._subscriptions: set[Subscription] = set()
        self._closed = False

    @contextmanager
    def subscribe(self, prefix: str) -> Iterator[Subscription]:
        if self._closed:
            raise Unavailable("the store is closed")
        subscription = Subscription(prefix, self.revision, self._limit)
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    def publish(self, events: Sequence[Event], revision: int) -> None:
        """`events` of one or more whole commits in order of revision; `revision` that of the last."""
        self.revision = revision
        for subscription in self._subscriptions:
            subscription.push(events)

    def close(self) -> None:
        self._closed = True
        for subscription in self._subscriptions:
            subscription.end(Unavailable("the store is closed"))
