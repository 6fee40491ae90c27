# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import json
import logging
from datetime import timedelta

import pytest

from meshwright.agent.backoff import Backoff
from meshwright.agent.exits import AWAY, OK, REFUSED
from meshwright.agent.rotation import Rotation

from .fakes import HOUR, START, FakeWorld, identity


def run(fake: FakeWorld, renew_at: float = 0.5) -> str:
    return asyncio.run(Rotation(fake.world(), identity(1), renew_at).run())


@pytest.mark.parametrize(("at", "minutes"), [(0.0, 27), (0.5, 30), (1.0, 33)])
def test_renewal_at_half_life_give_or_take_a_tenth(at: float, minutes: int) -> None:
    fake = FakeWorld(lambda w: OK if len(w.renewals) <= 3 else REFUSED, at=at)
    assert run(fake) == "refused"
    gaps = [b - a for a, b in zip([START, *fake.renewals], fake.renewals, strict=False)]
    assert all(abs(gap - timedelta(minutes=minutes)) < timedelta(seconds=1) for gap in gaps)
    assert [i.life.serial for i in fake.given] == ["64", "65", "66"]


def test_an_identity_past_its_time_is_renewed_at_once() -> None:
    fake = FakeWorld(lambda w: OK if len(w.renewals) == 1 else REFUSED)
    fake.time = START + 0.6 * HOUR
    assert run(fake) == "refused"
    assert fake.renewals[0] == START + 0.6 * HOUR


def test_away_for_a_while_is_retried_until_it_works() -> None:
    back = START + 0.9 * HOUR
    fake = FakeWorld(lambda w: AWAY if w.time < back else OK if not w.issued else REFUSED)
    assert run(fake) == "refused"
    tries = [t for t in fake.renewals if t < back]
    assert 20 < len(tries) < 120, "with back-off, but often enough"
    assert fake.issued[0].life.not_before - back < timedelta(minutes=1)


def test_an_alarm_when_a_quarter_is_left(caplog: pytest.LogCaptureFixture) -> None:
    fake = FakeWorld(lambda w: AWAY)
    with caplog.at_level(logging.INFO, "meshwright.agent"):
        assert run(fake) == "expired"
    alarms = [r for r in caplog.records if r.message == "svid.expiring"]
    assert len(alarms) == 1 and alarms[0].levelname == "ERROR"
    assert 0.2 < alarms[0].facts["life_left"] <= 0.25  # type: ignore[attr-defined]


def test_expired_with_the_control_plane_away_goes_on_trying() -> None:
    def plan(world: FakeWorld) -> int:
        world.up = world.time > START + 3 * HOUR
        return AWAY

    fake = FakeWorld(plan, reachable=False)
    assert run(fake) == "expired"
    assert fake.time > START + 3 * HOUR


def test_a_child_that_says_well_done_without_a_new_identity_is_not_believed() -> None:
    fake = FakeWorld(lambda w: OK if w.time > START + 0.8 * HOUR else AWAY)
    fake.load = lambda: identity(1)  # type: ignore[method-assign]
    assert run(fake) == "expired"
    assert fake.given == []


def test_backoff_grows_has_a_limit_and_a_jitter() -> None:
    highest = Backoff(lambda low, high: high, base=0.5, limit=30)
    lowest = Backoff(lambda low, high: low, base=0.5, limit=30)
    assert [highest.next() for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert [lowest.next() for _ in range(3)] == [0.25, 0.25, 0.25]
    highest.reset()
    assert highest.next() == 0.5
    for _ in range(2000):
        assert highest.next() <= 30


def test_logs_are_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    from meshwright.agent import log

    log.configure()
    log.warning("upstream.away", reason='said "no"\n')
    logging.getLogger().handlers.clear()
    line = json.loads(capsys.readouterr().err)
    assert {k: line[k] for k in ("level", "event", "reason")} == {"level": "warning", "event": "upstream.away", "reason": 'said "no"\n'}
