# SPDX-License-Identifier: Apache-2.0
"""Time that stands still until a test moves it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

START = datetime(2030, 1, 1, tzinfo=UTC)


class _Handle:
    def __init__(self, due: float, callback: Callable[[], object]) -> None:
        self.due = due
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class FakeTime:
    """Clock and Timers in one. `tick`: seconds that pass whenever somebody looks at the clock (so that slices of work come to an end)."""

    def __init__(self, tick: float = 0.0) -> None:
        self._now = 0.0
        self._tick = tick
        self._timers: list[_Handle] = []

    def now(self) -> datetime:
        return START + timedelta(seconds=self._now)

    def monotonic(self) -> float:
        self._now += self._tick
        return self._now

    def call_later(self, delay: float, callback: Callable[[], object], /) -> _Handle:
        handle = _Handle(self._now + delay, callback)
        self._timers.append(handle)
        return handle

    async def advance(self, seconds: float) -> None:
        """Fires what becomes due, in order, and lets everything that follows happen."""
        end = self._now + seconds
        await turns()
        while due := [timer for timer in self._timers if not timer.cancelled and timer.due <= end + 1e-9]:
            timer = min(due, key=lambda handle: handle.due)
            self._timers.remove(timer)
            self._now = max(self._now, timer.due)
            timer.callback()
            await turns()
        self._timers = [timer for timer in self._timers if not timer.cancelled]
        self._now = max(self._now, end)
        await turns()


async def turns(count: int = 30) -> None:
    """Lets the loop turn: with the store in memory and no real timers, what can happen has happened after a few."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool], limit: int = 20_000) -> None:
    for _ in range(limit):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came")
