# SPDX-License-Identifier: Apache-2.0
"""Waiting without polling."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from meshwright.control.waiters import Waiters
from meshwright.errors import Limited
from tests.feature.control.clockwork import FakeTime, turns


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(10):
            await test()

    asyncio.run(main())


def test_woken_when_it_is_settled() -> None:
    async def test() -> None:
        time, waiters, settled = FakeTime(), Waiters(), []
        task = asyncio.create_task(waiters.until(lambda: bool(settled), 30, time))
        await turns()
        waiters.wake()  # something else was settled
        await turns()
        assert not task.done()
        settled.append(True)
        await turns()
        assert not task.done()  # nobody looks without being told
        waiters.wake()
        await task
        assert not [timer for timer in time._timers if not timer.cancelled]

    run(test)


def test_over_when_the_time_is() -> None:
    async def test() -> None:
        time, waiters = FakeTime(), Waiters()
        task = asyncio.create_task(waiters.until(lambda: False, 30, time))
        await time.advance(29.9)
        waiters.wake()
        await turns()
        assert not task.done()
        await time.advance(0.1)
        assert task.done()

    run(test)


@pytest.mark.parametrize(("settled", "timeout"), [(True, 30.0), (False, 0.0)])
def test_at_once(settled: bool, timeout: float) -> None:
    async def test() -> None:
        time = FakeTime()
        await Waiters().until(lambda: settled, timeout, time)
        assert time._timers == []

    run(test)


def test_not_more_than_the_limit() -> None:
    async def test() -> None:
        time, waiters = FakeTime(), Waiters(limit=2)
        tasks = [asyncio.create_task(waiters.until(lambda: False, 30, time)) for _ in range(2)]
        await turns()
        with pytest.raises(Limited):
            await waiters.until(lambda: False, 30, time)
        tasks[0].cancel()
        await asyncio.gather(tasks[0], return_exceptions=True)
        await waiters.until(lambda: True, 30, time)
        third = asyncio.create_task(waiters.until(lambda: False, 30, time))
        await time.advance(30)
        await asyncio.gather(tasks[1], third)

    run(test)


def test_what_settled_raises_reaches_who_waits() -> None:
    async def test() -> None:
        time, waiters, error = FakeTime(), Waiters(), []

        def settled() -> bool:
            if error:
                raise LookupError("forgotten meanwhile")
            return False

        task = asyncio.create_task(waiters.until(settled, 30, time))
        await turns()
        error.append(True)
        waiters.wake()
        with pytest.raises(LookupError):
            await task

    run(test)
