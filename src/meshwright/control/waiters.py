# SPDX-License-Identifier: Apache-2.0
"""Those who wait for something to be settled: woken when it may be, never polling. Overflow policy: beyond `limit` they are refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from meshwright.control.timers import Timers
from meshwright.errors import Limited

MAX_WAITERS = 1_000


class Waiters:
    def __init__(self, limit: int = MAX_WAITERS) -> None:
        self._limit = limit
        self._asleep: set[asyncio.Future[None]] = set()

    def wake(self) -> None:
        for future in self._asleep:
            if not future.done():
                future.set_result(None)

    async def until(self, settled: Callable[[], bool], timeout: float, timers: Timers) -> None:
        """Returns when `settled()` is true, at the latest after `timeout` seconds. Raises Limited when too many wait already."""
        if settled() or timeout <= 0:
            return
        if len(self._asleep) >= self._limit:
            raise Limited(f"{self._limit} callers are waiting already: ask again later")
        loop = asyncio.get_running_loop()
        late = asyncio.Event()
        future: asyncio.Future[None] = loop.create_future()

        def expire() -> None:
            late.set()
            if not future.done():
                future.set_result(None)

        handle = timers.call_later(timeout, expire)
        try:
            while not settled() and not late.is_set():
                future = loop.create_future()
                self._asleep.add(future)
                try:
                    await future
                finally:
                    self._asleep.discard(future)
        finally:
            handle.cancel()
