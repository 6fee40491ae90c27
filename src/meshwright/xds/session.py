# SPDX-License-Identifier: Apache-2.0
"""One proxy on one stream: its subscriptions and the order in which a change goes out. Sans-IO.

Make before break: clusters and endpoints first (an updated cluster warms until it is told its endpoints again: Envoy waits 15 s for
them, and its answers about clusters wait as long); when the client has ACKed the clusters, subscribed to the endpoints of the new ones and
ACKed these too (at most PATIENCE seconds), listeners and routes; when those are ACKed, what is not needed any more is removed, users
(listeners, routes) before the used (clusters, endpoints). Endpoints alone never wait."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from meshwright.control.ports import Refusal
from meshwright.model.snapshot import Snapshot, TypeUrl
from meshwright.xds.frames import Frames, Part
from meshwright.xds.request import Request
from meshwright.xds.subscription import ACK_PATIENCE, Refused, Subscription

PATIENCE = 5.0
SUBSCRIBE_PATIENCE = 2.0
_USERS = (TypeUrl.LISTENER, TypeUrl.ROUTE)
_USED = (TypeUrl.CLUSTER, TypeUrl.ENDPOINT)


class Effects(NamedTuple):
    """What is to be done now: messages to write in this order, refusals and (0: none) an ACKed revision to report; `wake`: call `tick`
    at this time if nothing happens before."""

    writes: tuple[bytes, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    acked: int = 0
    wake: float | None = None


class Session:
    """`now` everywhere: monotonic seconds."""

    __slots__ = (
        "_acked",
        "_blocked",
        "_frames",
        "_fresh",
        "_gaps",
        "_quiet",
        "_revision",
        "_snapshot",
        "_subscriptions",
        "_wake",
        "_warming",
        "_writes",
    )

    def __init__(self, frames: Frames, snapshot: Snapshot, revision: int) -> None:
        self._frames = frames
        self._snapshot = snapshot
        self._revision = revision
        self._acked = 0
        self._subscriptions: dict[TypeUrl, Subscription] = {}
        self._fresh: frozenset[str] = frozenset()
        self._warming: frozenset[str] = frozenset()
        self._blocked: float | None = None
        self._quiet = 0.0
        self._gaps: dict[TypeUrl, int] = {}
        self._writes: list[bytes] = []
        self._wake: float | None = None

    def request(self, request: Request, now: float) -> Effects:
        """One message of the client. Raises Broken."""
        subscription = self._subscriptions.get(request.type)
        target = self._snapshot.layers.get(request.type, ())
        refused: list[Refused] = []
        if subscription is None:
            if request.nonce and not request.subscribe:
                return Effects(wake=self._wake)  # an answer to nothing
            subscription = Subscription(request.type, self._frames)
            subscription.start(request.subscribe, request.versions, target)
            self._subscriptions[request.type] = subscription
            self._quiet = now
        else:
            if request.nonce:
                refused = subscription.acknowledge(request.nonce, request.error)
            if request.subscribe or request.unsubscribe:
                subscription.subscribe(request.subscribe, request.unsubscribe, target)
                self._quiet = now
        return self._advance(now, tuple(_refusal(request.type, r) for r in refused))

    def offer(self, snapshot: Snapshot, revision: int, now: float) -> Effects:
        """The newest configuration; takes the place of what was not sent yet. Raises Broken."""
        self._snapshot = snapshot
        self._revision = revision
        return self._advance(now)

    def tick(self, now: float) -> Effects:
        """Time has passed. Raises Broken."""
        return self._advance(now)

    def _advance(self, now: float, refusals: tuple[Refusal, ...] = ()) -> Effects:
        self._wake = None
        self._push(TypeUrl.CLUSTER, now)
        self._warm()
        self._push(TypeUrl.ENDPOINT, now)
        self._push(TypeUrl.NAMES, now)
        if self._may_use(now):
            for type in _USERS:
                self._push(type, now)
        self._break(now)
        acked = self._newly_acked(now)
        writes = tuple(self._writes)
        self._writes.clear()
        return Effects(writes, refusals, acked, self._wake)

    def _push(self, type: TypeUrl, now: float) -> None:
        subscription = self._subscriptions.get(type)
        if subscription is None:
            return
        target = self._snapshot.layers.get(type, ())
        if subscription.current(target):
            return
        if not subscription.ready(now):
            self._wake_at(subscription.pending[-1].sent_at + ACK_PATIENCE)
            return
        message, parts = subscription.push(target, self._revision, now)
        if message is not None:
            self._write(message, now)
        if type is TypeUrl.CLUSTER and parts:
            self._expect_endpoints(parts)

    def _expect_endpoints(self, parts: list[Part]) -> None:
        for part in parts:
            self._fresh = part.added | self._fresh if self._fresh else part.added
            self._warming = part.names | self._warming if self._warming else part.names

    def _warm(self) -> None:
        """Endpoints of the clusters that were just sent, as far as the client subscribed to them before (the others it will ask for)."""
        endpoints = self._subscriptions.get(TypeUrl.ENDPOINT)
        if endpoints is not None and self._warming:
            layers = self._snapshot.layers.get(TypeUrl.ENDPOINT, ())
            known = self._warming & endpoints.names.names
            self._warming = frozenset()
            endpoints.owe(frozenset(n for n in known if any(n in layer.resources for layer in layers)))

    def _may_use(self, now: float) -> bool:
        """May listeners and routes go out? Bounded: what never comes must not hold the rest for ever."""
        layers = self._snapshot.layers
        users = [s for t in _USERS if (s := self._subscriptions.get(t)) is not None]
        if all(s.current(layers.get(s.type, ())) for s in users):
            return True
        if self._made():
            self._blocked = None
            return True
        if self._blocked is None:
            self._blocked = now
        if now - self._blocked >= PATIENCE:
            self._blocked = None
            self._fresh = frozenset()
            return True
        self._wake_at(self._blocked + PATIENCE)
        return False

    def _made(self) -> bool:
        """What the new listeners and routes may refer to is there and works."""
        clusters = self._subscriptions.get(TypeUrl.CLUSTER)
        if clusters is None:
            return True
        if clusters.pending or not clusters.current(self._snapshot.layers.get(TypeUrl.CLUSTER, ())):
            return False
        if not self._fresh:
            return True
        endpoints = self._subscriptions.get(TypeUrl.ENDPOINT)
        subscribed = endpoints.names if endpoints is not None else self._frames.none
        refused = clusters.rare.refused if clusters.rare is not None else {}
        awaited = self._snapshot.layers.get(TypeUrl.ENDPOINT, ())
        unasked = frozenset() if subscribed.wild or self._fresh <= subscribed.names else self._fresh - subscribed.names
        missing = frozenset(n for n in unasked if n not in refused and any(n in layer.resources for layer in awaited))
        self._fresh = missing
        return not missing and (endpoints is None or not endpoints.answering())

    def _break(self, now: float) -> None:
        """Removals, once nobody needs what goes: users first, then what they used. While a listener or route is refused, the last good
        one may still need its clusters."""
        subscriptions = self._subscriptions
        if not any(s.doomed for s in subscriptions.values()):
            return
        names = subscriptions.get(TypeUrl.NAMES)
        if names is not None and self._idle((TypeUrl.NAMES,)):
            self._remove(names, now)
        if not self._idle(_USERS):
            return
        users = [s for t in _USERS if (s := subscriptions.get(t)) is not None]
        for user in users:
            self._remove(user, now)
        for type in _USED:
            used = subscriptions.get(type)
            if not self._idle(_USERS) or not self._idle(_USED) or any(s.refuses() for s in users):
                return
            if used is not None:
                self._remove(used, now)

    def _remove(self, subscription: Subscription, now: float) -> None:
        if subscription.doomed:
            message = subscription.remove(self._snapshot.layers.get(subscription.type, ()), self._revision, now)
            if message is not None:
                self._write(message, now)

    def _idle(self, types: Iterable[TypeUrl]) -> bool:
        """Everything of these types is sent and ACKed."""
        for type in types:
            s = self._subscriptions.get(type)
            if s is not None and (s.pending or not s.current(self._snapshot.layers.get(type, ()))):
                return False
        return True

    def _newly_acked(self, now: float) -> int:
        if self._revision <= self._acked or not self._subscriptions or not self._idle(self._subscriptions):
            return 0
        held = any(s.refuses() for t in _USERS if (s := self._subscriptions.get(t)) is not None)
        for s in self._subscriptions.values():
            if s.doomed and not (held and s.type in _USED):
                return 0
        if self._expects_subscriptions(now):
            return 0
        self._acked = self._revision
        return self._acked

    def _expects_subscriptions(self, now: float) -> bool:
        """Envoy ACKs clusters before it asks for their endpoints, and listeners before their routes: an ACK without those says little.
        Waits for them a little while, once for each gap."""
        gaps = self._missing()
        if all(gap <= self._gaps.get(type, 0) for type, gap in gaps.items()):
            return False
        if now - self._quiet < SUBSCRIBE_PATIENCE:
            self._wake_at(self._quiet + SUBSCRIBE_PATIENCE)
            return True
        self._gaps = gaps
        return False

    def _missing(self) -> dict[TypeUrl, int]:
        """How many more resources there are than were asked for."""
        found = self._subscriptions
        gaps = {}
        for first, then in ((TypeUrl.CLUSTER, TypeUrl.ENDPOINT), (TypeUrl.CLUSTER, TypeUrl.LISTENER), (TypeUrl.LISTENER, TypeUrl.ROUTE)):
            if first in found:
                subscription = found.get(then)
                there = sum(len(layer.resources) for layer in self._snapshot.layers.get(then, ()))
                asked = 0 if subscription is None else there if subscription.names.wild else len(subscription.names.names)
                if there > asked:
                    gaps[then] = there - asked
        return gaps

    def _write(self, message: bytes, now: float) -> None:
        self._writes.append(message)
        self._quiet = now

    def _wake_at(self, when: float) -> None:
        if self._wake is None or when < self._wake:
            self._wake = when


def _refusal(type: TypeUrl, refused: Refused) -> Refusal:
    resource = refused.resource
    return Refusal(type, resource.name if resource else "", resource.version if resource else "", refused.message, refused.revision)
