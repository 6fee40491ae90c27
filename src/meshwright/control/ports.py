# SPDX-License-Identifier: Apache-2.0
"""What the controller and the discovery server want of each other. The controller implements Fleet and Attachment, the runner of a
stream (xds.server) implements Sink. All calls are made in the event loop, none of them blocks, none of them may raise unless it says so."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from meshwright.model.identity import ProxyId, SpiffeId
from meshwright.model.snapshot import Snapshot, TypeUrl


class PeerIdentity(NamedTuple):
    """Who is at the other end, proven by its certificate. `address`: as gRPC names it. `envoy_version`: as the proxy says
    ('' unknown). `node`: the host that the certificate was issued for ('' only where there are no certificates: loopback, in tests)."""

    proxy: ProxyId
    spiffe: SpiffeId
    address: str
    envoy_version: str
    node: str = ""


class Refusal(NamedTuple):
    """One resource that Envoy did not take. `version` is the refused XdsResource.version, `message` Envoy's words (at most 2,000
    characters), `revision` that of the snapshot it was sent for. It stands for as long as the proxy's snapshot has `name` in `version`:
    that content is not sent again to this proxy; other content of that name clears it. `name` '' when Envoy refused a response without
    it being possible to find out which resource was meant."""

    type: TypeUrl
    name: str
    version: str
    message: str
    revision: int


class Sink(Protocol):
    """One stream, as the controller sees it."""

    def offer(self, snapshot: Snapshot, revision: int) -> None:
        """The newest configuration; what was offered before and not sent yet is skipped. Called again with a snapshot that is the same
        (Snapshot.same) and a newer revision, it costs next to nothing and leads to `acked` of that revision."""
        ...

    def cut(self, reason: str) -> None:
        """Ends the stream (proxy banned, removed). `reason` is one word for the log and the status message."""
        ...


class Attachment(Protocol):
    """One stream, as the server reports on it. After `detach` neither side calls the other."""

    def acked(self, revision: int) -> None:
        """Everything of the snapshot offered with this revision has been ACKed, except refusals that stand (each was reported by
        `rejected` before). Types that the client never subscribed to don't count. Revisions only grow; skipped ones are not reported."""
        ...

    def rejected(self, refusal: Refusal) -> None: ...

    def detach(self) -> None: ...


class Fleet(Protocol):
    """The controller. Implemented by control.controller.Controller."""

    def ready(self) -> bool:
        """False until the first World is complete: no stream is accepted before (it would take configuration away)."""
        ...

    def admit(self, peer: PeerIdentity) -> None:
        """Raises Forbidden for a proxy that is not enrolled, is banned, or whose SPIFFE ID is not the enrolled one."""
        ...

    def attach(self, peer: PeerIdentity, sink: Sink) -> Attachment:
        """A stream that was admitted begins; `sink.offer` is called before this returns or soon after. Raises Forbidden as `admit`."""
        ...
