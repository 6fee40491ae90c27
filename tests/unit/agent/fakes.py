# SPDX-License-Identifier: Apache-2.0
"""Certificates and a world with a clock for tests of the agent."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from meshwright.agent.certificate import Life
from meshwright.agent.rotation import World
from meshwright.agent.state import Identity

START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def identity(serial: int, begin: datetime = START, life: timedelta = HOUR) -> Identity:
    return Identity(b"key", b"chain", b"bundle", Life(f"{serial:x}", begin, begin + life))


class FakeWorld:
    """Time goes on only by sleeping. `renew` answers what `plan` says for that attempt and moment."""

    def __init__(self, plan: Callable[[FakeWorld], int], *, at: float = 0.5, reachable: bool = True) -> None:
        self.time = START
        self.at = at  # where uniform lands between its bounds
        self.plan = plan
        self.up = reachable
        self.renewals: list[datetime] = []
        self.issued: list[Identity] = []
        self.given: list[Identity] = []

    def world(self) -> World:
        return World(self.now, self.sleep, self.uniform, self.renew, self.load, self.reachable, self.given.append)

    def now(self) -> datetime:
        return self.time

    async def sleep(self, seconds: float) -> None:
        assert 0 < seconds <= 60
        self.time += timedelta(seconds=seconds)

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * self.at

    async def renew(self) -> int:
        self.renewals.append(self.time)
        code = self.plan(self)
        if code == 0:
            self.issued.append(identity(100 + len(self.issued), self.time))
        return code

    def load(self) -> Identity | None:
        return self.issued[-1] if self.issued else None

    async def reachable(self) -> bool:
        return self.up
