# SPDX-License-Identifier: Apache-2.0
"""Time as an argument: everything that needs it takes a Clock, so that tests can move it."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import Protocol


class Clock(Protocol):
    """`now` is the wall clock in UTC (certificates, audit), `monotonic` seconds from an arbitrary start (durations)."""

    def now(self) -> datetime: ...

    def monotonic(self) -> float: ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(timezone.utc)

    def monotonic(self) -> float:
        return time.monotonic()
