# SPDX-License-Identifier: Apache-2.0
"""How often one source may try: a token bucket for each, in a bounded table."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from typing import NamedTuple

from meshwright.clock import Clock
from meshwright.errors import Limited

MAX_SOURCES = 8192


def network_of(address: str) -> str:
    """As what an address counts: an IPv6 host has a whole /64 to itself, so one of its addresses says nothing."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    return str(parsed.ipv4_mapped or ipaddress.IPv6Network((int(parsed) >> 64 << 64, 64)))


class Rate(NamedTuple):
    """`per_second` in the long run, `burst` at once."""

    per_second: float = 1.0
    burst: int = 10


class SourceLimit:
    """Past MAX_SOURCES the source that was quiet for longest is forgotten: it most likely has its full burst again anyway."""

    def __init__(self, clock: Clock, rate: Rate, *, max_sources: int = MAX_SOURCES) -> None:
        self._clock = clock
        self._rate = rate
        self._max = max_sources
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # source -> (tokens, at)

    def take(self, source: str) -> None:
        """Raises Limited."""
        now, source = self._clock.monotonic(), network_of(source)
        tokens, at = self._buckets.pop(source, (float(self._rate.burst), now))
        tokens = min(float(self._rate.burst), tokens + (now - at) * self._rate.per_second)
        allowed = tokens >= 1
        self._buckets[source] = (tokens - 1 if allowed else tokens, now)
        if len(self._buckets) > self._max:
            self._buckets.popitem(last=False)
        if not allowed:
            raise Limited("too many attempts from this address: wait and try again")
