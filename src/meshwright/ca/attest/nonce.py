# SPDX-License-Identifier: Apache-2.0
"""Nonces: what makes a proof fresh. Each is for one node, for one use, for a minute, and kept in memory only."""

from __future__ import annotations

import base64
from collections import OrderedDict

from meshwright.ca.attest.refusal import Refused
from meshwright.ca.authority import Random
from meshwright.clock import Clock
from meshwright.errors import Limited

TTL_SECONDS = 60
MAX_NONCES = 16384


class Nonces:
    """A bounded table. When it is full of live nonces new ones are refused (Limited): pushing old ones out would let anybody who can
    ask end the attestations of others."""

    def __init__(self, clock: Clock, random: Random, *, limit: int = MAX_NONCES) -> None:
        self._clock = clock
        self._random = random
        self._limit = limit
        self._live: OrderedDict[str, tuple[str, float]] = OrderedDict()  # in order of expiry, since all live equally long

    def issue(self, node: str) -> str:
        """32 random bytes in base64url without padding. The node need not exist: whoever asks learns nothing from the answer."""
        self._expire()
        if len(self._live) >= self._limit:
            raise Limited("too many attestations at once: try again in a minute")
        nonce = base64.urlsafe_b64encode(self._random(32)).rstrip(b"=").decode()
        self._live[nonce] = (node, self._clock.monotonic() + TTL_SECONDS)
        return nonce

    def use(self, nonce: str, node: str) -> None:
        """Spends it, also when it turns out to be another node's. Raises Refused."""
        self._expire()
        found = self._live.pop(nonce, None)
        if found is None:
            raise Refused("NonceUnknown")
        if found[0] != node:
            raise Refused("NonceOfOtherNode")

    def _expire(self) -> None:
        now = self._clock.monotonic()
        while self._live:
            nonce, (_, expires) = next(iter(self._live.items()))
            if expires > now:
                return
            del self._live[nonce]
