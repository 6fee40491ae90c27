# SPDX-License-Identifier: Apache-2.0
"""When the identity is renewed: after half of its life (give or take a tenth, so that a fleet does not renew in step), again and again with
back-off until it works, with an alarm when a quarter is left."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import NamedTuple

from meshwright.agent import log
from meshwright.agent.backoff import Backoff, Uniform
from meshwright.agent.exits import OK, REFUSED
from meshwright.agent.state import Identity

ALARM_AT = 0.25
JITTER = 0.1
LONGEST_SLEEP = 60.0  # the wall clock may jump (suspend, NTP): look at it again


class World(NamedTuple):
    """Everything rotation needs of the world. `renew` runs the short-lived child and gives its exit status."""

    now: Callable[[], datetime]
    sleep: Callable[[float], Awaitable[None]]
    uniform: Uniform
    renew: Callable[[], Awaitable[int]]
    load: Callable[[], Identity | None]
    reachable: Callable[[], Awaitable[bool]]
    renewed: Callable[[Identity], None]


class Rotation:
    """`run` it for as long as the agent serves."""

    def __init__(self, world: World, identity: Identity, renew_at: float) -> None:
        self._world = world
        self._renew_at = renew_at
        self.identity = identity

    def due(self) -> datetime:
        """When to renew the identity at hand: different at every call."""
        begin, end = self.identity.life.not_before, self.identity.life.not_after
        share = self._renew_at * self._world.uniform(1 - JITTER, 1 + JITTER)
        return begin + (end - begin) * share

    async def run(self) -> str:
        """Ends when only a new attestation helps: `refused` or `expired`."""
        while True:
            await self._sleep_until(self.due())
            problem = await self._renew()
            if problem:
                return problem

    async def _sleep_until(self, moment: datetime) -> None:
        while (rest := (moment - self._world.now()).total_seconds()) > 0:
            await self._world.sleep(min(rest, LONGEST_SLEEP))

    async def _renew(self) -> str:
        """'' when there is a new identity."""
        life = self.identity.life
        seconds = (life.not_after - life.not_before) / timedelta(seconds=1)
        backoff = Backoff(self._world.uniform, base=min(1.0, seconds / 100), limit=min(60.0, seconds / 20))
        alarmed = False
        while True:
            code = await self._world.renew()
            identity = self._world.load() if code == OK else None
            if identity is not None and identity.life.not_after > life.not_after:
                self._take(identity)
                return ""
            if code == REFUSED:
                log.error("svid.refused", serial=life.serial)
                return "refused"
            left = life.left(self._world.now())
            if left <= 0 and await self._world.reachable():
                log.error("svid.expired", serial=life.serial, not_after=life.not_after.isoformat())
                return "expired"
            if left <= ALARM_AT and not alarmed:
                alarmed = True
                log.error("svid.expiring", serial=life.serial, not_after=life.not_after.isoformat(), life_left=round(left, 3))
            else:
                log.warning("svid.renewal_failed", status=code)
            await self._world.sleep(backoff.next())

    def _take(self, identity: Identity) -> None:
        self.identity = identity
        log.info("svid.renewed", serial=identity.life.serial, not_after=identity.life.not_after.isoformat())
        self._world.renewed(identity)
