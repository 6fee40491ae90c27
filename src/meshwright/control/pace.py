# SPDX-License-Identifier: Apache-2.0
"""Long work in bounded slices, so that streams are served meanwhile."""

from __future__ import annotations

import asyncio

from meshwright.clock import Clock


class Pace:
    """`await pace.pause()` between two pieces: it lets the event loop turn when the slice (seconds) is used up, and says whether it did."""

    def __init__(self, clock: Clock, slice: float = 0.01) -> None:
        self._clock = clock
        self._slice = slice
        self._began = clock.monotonic()

    async def pause(self) -> bool:
        if self._clock.monotonic() - self._began < self._slice:
            return False
        await asyncio.sleep(0)
        self._began = self._clock.monotonic()
        return True
