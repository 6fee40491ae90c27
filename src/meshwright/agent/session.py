# SPDX-License-Identifier: Apache-2.0
"""One Envoy's configuration stream as the agent sees it, without I/O: who is subscribed to what, what Envoy holds, and which of its
answers belong to which stream of the control plane. Envoy's stream outlives the control plane's: after a break the next one is opened with
what Envoy has, so that nothing is sent twice.

Between them messages go one to one. Only nonces change: Envoy sees `EPOCH.NONCE` (EPOCH counts the control plane's streams), or `cache.N`
for what was served while the control plane was away; answers to those and to earlier epochs stay here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from meshwright.agent import wire

WILDCARD = "*"
NAMES = "type.googleapis.com/meshwright.v1.Names"
NAMES_RESOURCE = "names"
_WILD_WHEN_EMPTY = frozenset(
    {
        "type.googleapis.com/envoy.config.listener.v3.Listener",
        "type.googleapis.com/envoy.config.cluster.v3.Cluster",
    }
)
MAX_PENDING = 256


class Kept(NamedTuple):
    """A resource that Envoy accepted, ready to be sent again."""

    version: str
    frame: bytes


class Cache:
    """What was accepted last, by type and name; outlives Envoy's streams. In memory for now; a subclass that writes through to disk in
    `accept` and reads in `__init__` is all that keeping it over restarts of the agent takes."""

    def __init__(self) -> None:
        self._types: dict[str, dict[str, Kept]] = {}

    def accept(self, type_url: str, resources: Mapping[str, Kept], removed: tuple[str, ...]) -> None:
        known = self._types.setdefault(type_url, {})
        known.update(resources)
        for name in removed:
            known.pop(name, None)

    def get(self, type_url: str) -> Mapping[str, Kept] | None:
        """None while nothing of this type was ever accepted."""
        return self._types.get(type_url)


@dataclass
class _Pending:
    """A response that Envoy has not answered yet."""

    type_url: str
    epoch: int  # 0: from the cache
    upstream_nonce: str
    resources: Mapping[str, Kept]
    removed: tuple[str, ...]


@dataclass
class _Subscription:
    names: set[str] = field(default_factory=set)
    wildcard: bool = False
    held: dict[str, str] = field(default_factory=dict)  # name -> version that Envoy has
    served: set[str] = field(default_factory=set)  # names given from the cache; not given again, Envoy may have refused them
    told_empty: bool = False

    def wants(self, name: str) -> bool:
        return self.wildcard or name in self.names


class Session:
    """One stream of one Envoy. Not safe for use by several tasks without awaiting in between: no method does I/O."""

    def __init__(self, cache: Cache, names_version: str = "") -> None:
        self._cache = cache
        self._subscriptions: dict[str, _Subscription] = {}  # in Envoy's order, which is make-before-break
        self._pending: dict[str, _Pending] = {}
        self._node: wire.Node | None = None
        self._epoch = 0
        self._served = 0
        self.connected = False
        self.names_version = names_version

    # from Envoy

    def from_envoy(self, request: wire.Request) -> bytes | None:
        """Takes note of a request; the bytes to forward to the control plane, None when there is nothing to say to it (it is away, or the
        request answers something that it never sent)."""
        if request.node is not None:
            self._node = request.node
        first = request.type_url not in self._subscriptions
        subscription = self._subscriptions.setdefault(request.type_url, _Subscription())
        self._change(subscription, request)
        if first:
            subscription.held.update(request.versions)
            if not request.subscribe and request.type_url in _WILD_WHEN_EMPTY:
                subscription.wildcard = True
        nonce = self._answered(request)
        if not self.connected:
            return None
        if not first and not nonce and not request.subscribe and not request.unsubscribe:
            return None
        error = request.error if nonce else None
        versions = request.versions if first else {}
        return wire.encode_request(wire.Request(request.type_url, None, request.subscribe, request.unsubscribe, versions, nonce, error))

    def _change(self, subscription: _Subscription, request: wire.Request) -> None:
        for name in request.subscribe:
            if name == WILDCARD:
                subscription.wildcard = True
            else:
                subscription.names.add(name)
                subscription.held.pop(name, None)  # who asks for it wants it sent, even if it had it once
                subscription.served.discard(name)
        for name in request.unsubscribe:
            if name == WILDCARD:
                subscription.wildcard = False
            else:
                subscription.names.discard(name)
        if request.unsubscribe:
            for name in [n for n in subscription.held if not subscription.wants(n)]:
                del subscription.held[name]

    def _answered(self, request: wire.Request) -> str:
        """Books an ACK or NACK; the control plane's nonce if it is one of the stream that is open now."""
        pending = self._pending.pop(request.nonce, None) if request.nonce else None
        if pending is None:
            return ""
        if request.error is None:
            self._accepted(pending)
        return pending.upstream_nonce if pending.epoch == self._epoch and self.connected else ""

    def _accepted(self, pending: _Pending) -> None:
        subscription = self._subscriptions.setdefault(pending.type_url, _Subscription())
        for name, kept in pending.resources.items():
            if subscription.wants(name):
                subscription.held[name] = kept.version
        for name in pending.removed:
            subscription.held.pop(name, None)
        if pending.epoch:
            self._cache.accept(pending.type_url, pending.resources, pending.removed)

    # to and from the control plane

    @property
    def started(self) -> bool:
        """Whether Envoy has said who it is, without which no stream can be opened."""
        return self._node is not None

    def open(self) -> Iterator[bytes]:
        """The first requests of a new stream to the control plane: what Envoy is subscribed to and has, and the names for ourselves."""
        self._epoch += 1
        self.connected = True
        node = self._node
        for type_url, subscription in self._subscriptions.items():
            names = self._first_names(type_url, subscription)
            if names is None:
                continue
            yield wire.encode_request(wire.Request(type_url, node, names, versions=dict(subscription.held)))
            node = None
        versions = {NAMES_RESOURCE: self.names_version} if self.names_version else {}
        yield wire.encode_request(wire.Request(NAMES, node, (NAMES_RESOURCE,), versions=versions))

    @staticmethod
    def _first_names(type_url: str, subscription: _Subscription) -> tuple[str, ...] | None:
        """None: nothing is subscribed; saying so with an empty list would mean everything."""
        names = sorted(subscription.names)
        if subscription.wildcard:
            return (WILDCARD, *names) if names or type_url not in _WILD_WHEN_EMPTY else ()
        return tuple(names) or None

    def close(self) -> None:
        """The control plane's stream is over; Envoy is not told."""
        self.connected = False

    def from_upstream(self, raw: bytes, response: wire.Response) -> bytes:
        """What to send to Envoy."""
        nonce = f"{self._epoch}.{response.nonce}"
        resources = {r.name: Kept(r.version, r.frame) for r in response.resources}
        self._remember(nonce, _Pending(response.type_url, self._epoch, response.nonce, resources, response.removed))
        return wire.with_nonce(raw, nonce)

    def acknowledge_names(self, response: wire.Response, error: str = "") -> bytes:
        """Our own answer to names (code 3: INVALID_ARGUMENT)."""
        detail = wire.status(3, error) if error else None
        return wire.encode_request(wire.Request(NAMES, nonce=response.nonce, error=detail))

    # while the control plane is away

    def from_cache(self) -> Iterator[bytes]:
        """Responses with everything that Envoy is subscribed to, has not and that was accepted earlier."""
        for type_url, subscription in self._subscriptions.items():
            known = self._cache.get(type_url)
            if known is None:
                continue
            have = subscription.held.keys() | subscription.served
            missing = {name: kept for name, kept in known.items() if name not in have and subscription.wants(name)}
            # An empty set is worth saying once: Envoy waits for the first answer of a type.
            empty = subscription.wildcard and not known and not have and not subscription.told_empty
            if missing or empty:
                self._served += 1
                subscription.served |= missing.keys()
                subscription.told_empty = True
                nonce = f"cache.{self._served}"
                self._remember(nonce, _Pending(type_url, 0, "", missing, ()))
                yield wire.encode_response(type_url, nonce, [kept.frame for kept in missing.values()])

    def _remember(self, nonce: str, pending: _Pending) -> None:
        """Past the limit the oldest is forgotten: Envoy is then taken to hold what it held before, and may be sent it again."""
        if len(self._pending) >= MAX_PENDING:
            del self._pending[next(iter(self._pending))]
        self._pending[nonce] = pending
