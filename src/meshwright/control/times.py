# SPDX-License-Identifier: Apache-2.0
"""Moments, and times as the API writes them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple


class Moment(NamedTuple):
    """One instant on both clocks: `wall` for people, `seconds` (monotonic) for durations."""

    wall: datetime
    seconds: float


def rfc3339(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds: `2026-01-31T12:00:00.250Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
