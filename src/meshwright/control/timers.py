# SPDX-License-Identifier: Apache-2.0
"""Timers as an argument: the event loop is one, tests move theirs by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol


class Handle(Protocol):
    def cancel(self) -> None: ...


class Timers(Protocol):
    """asyncio.AbstractEventLoop has it."""

    def call_later(self, delay: float, callback: Callable[[], object], /) -> Handle: ...


class Clockwork:
    """The running loop's timers, or those given."""

    def __init__(self, timers: Timers | None = None) -> None:
        self._timers = timers

    def call_later(self, delay: float, callback: Callable[[], object], /) -> Handle:
        timers: Timers = self._timers if self._timers is not None else asyncio.get_running_loop()
        return timers.call_later(delay, callback)

    async def sleep(self, seconds: float) -> None:
        over = asyncio.Event()
        handle = self.call_later(seconds, over.set)
        try:
            await over.wait()
        finally:
            handle.cancel()
