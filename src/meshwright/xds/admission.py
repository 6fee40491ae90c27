# SPDX-License-Identifier: Apache-2.0
"""Who may open a stream, how fast and how many at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from meshwright.clock import Clock
from meshwright.errors import Forbidden, Limited
from meshwright.model.identity import Holder, ProxyId

_SANS = "x509_subject_alternative_name"


def proven(auth_context: Mapping[str, Iterable[bytes]], trust_domain: str) -> Holder:
    """The identity in a client certificate that gRPC has verified. Raises Forbidden."""
    sans = [san.decode("ascii", "replace") for san in auth_context.get(_SANS, ())]
    uris = [text for text in sans if "://" in text]
    names = [text for text in sans if "://" not in text]
    try:
        return Holder.from_sans(uris, names, trust_domain)
    except ValueError as e:
        raise Forbidden("the client certificate is not that of a workload of this mesh") from e


class TokenBucket:
    """`rate` a second (0: no limit), up to `burst` at once."""

    def __init__(self, rate: float, burst: int, clock: Clock) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._tokens = float(burst)
        self._at = clock.monotonic()

    def reserve(self, patience: float) -> float:
        """Takes a token; how many seconds to wait until it is due. Raises Limited when that is more than `patience`; then none is taken."""
        if self._rate <= 0:
            return 0.0
        now = self._clock.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        wait = (1 - self._tokens) / self._rate
        if wait > patience:
            raise Limited("too many new streams at once; come back later")
        self._tokens -= 1
        return max(0.0, wait)


class Caps:
    """At most `limit` streams an identity."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: Counter[ProxyId] = Counter()

    def enter(self, proxy: ProxyId) -> None:
        """Raises Limited; who entered must leave."""
        if self._open[proxy] >= self._limit:
            raise Limited(f"{self._limit} streams of this proxy are open already")
        self._open[proxy] += 1

    def leave(self, proxy: ProxyId) -> None:
        self._open[proxy] -= 1
        if self._open[proxy] <= 0:
            del self._open[proxy]
