# SPDX-License-Identifier: Apache-2.0
"""How long to wait before the next attempt: exponential with full jitter, so that a fleet that lost its
control plane does not return in step."""

from __future__ import annotations

from collections.abc import Callable

Uniform = Callable[[float, float], float]
"""`uniform(a, b)` gives a number between the two (random.uniform)."""


class Backoff:
    """Waits between `base / 2` and `base * 2**attempt` seconds, never longer than `limit`."""

    def __init__(self, uniform: Uniform, *, base: float = 0.5, limit: float = 30.0) -> None:
        self._uniform = uniform
        self._base = base
        self._limit = limit
        self._attempt = 0

    def next(self) -> float:
        ceiling = min(self._limit, self._base * 2 ** min(self._attempt, 30))
        self._attempt += 1
        return self._uniform(min(self._base / 2, ceiling), ceiling)

    def reset(self) -> None:
        self._attempt = 0
