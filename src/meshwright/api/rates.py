# SPDX-License-Identifier: Apache-2.0
"""Token buckets by caller; the number of callers remembered is bounded."""

from __future__ import annotations

from collections import OrderedDict

from meshwright.clock import Clock

MAX_CALLERS = 4096


class Buckets:
    """Each caller has `rate` a second and `burst` at once. The caller that was away longest is forgotten first: it starts full again,
    which is what its bucket would have come to anyway."""

    def __init__(self, clock: Clock, rate: float, burst: float) -> None:
        self._clock = clock
        self._rate = rate
        self._burst = max(burst, 1.0)
        self._callers: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str) -> float:
        """0.0 when there was one to take, else the seconds until there is."""
        now = self._clock.monotonic()
        level, then = self._callers.pop(caller, (self._burst, now))
        level = min(self._burst, level + (now - then) * self._rate)
        missing = 1.0 - level
        self._callers[caller] = (level if missing > 0 else level - 1.0, now)
        if len(self._callers) > MAX_CALLERS:
            self._callers.popitem(last=False)
        return missing / self._rate if missing > 0 else 0.0
