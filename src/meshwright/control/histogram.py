# SPDX-License-Identifier: Apache-2.0
"""Durations, counted in fixed buckets."""

from __future__ import annotations

from bisect import bisect_left

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Histogram:
    """Seconds."""

    def __init__(self) -> None:
        self.count = 0
        self.sum = 0.0
        self._counts = [0] * (len(BOUNDS) + 1)

    def add(self, seconds: float) -> None:
        self.count += 1
        self.sum += seconds
        self._counts[bisect_left(BOUNDS, seconds)] += 1

    def cumulative(self) -> dict[str, int]:
        """As Prometheus has it: how many took at most this long, by the bound as text; the last is `+Inf`."""
        total, found = 0, {}
        for bound, count in zip((*map(str, BOUNDS), "+Inf"), self._counts, strict=True):
            total += count
            found[bound] = total
        return found
