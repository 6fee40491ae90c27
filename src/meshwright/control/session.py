# SPDX-License-Identifier: Apache-2.0
"""What the ledger knows of one stream, and of the proxy whose streams they are."""

from __future__ import annotations

from collections import deque
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from meshwright.control.ports import PeerIdentity, Refusal
from meshwright.model.identity import ProxyId
from meshwright.model.meta import Ref
from meshwright.model.snapshot import Snapshot, TypeUrl

if TYPE_CHECKING:
    from meshwright.control.step import Step

Subject = tuple[TypeUrl, str]  # what a refusal is about: type and name


class Standing(NamedTuple):
    """A refusal that stands. `good`: the last revision that the proxy ran before this name was refused (0 unknown); `blame`: the resources
    that caused it; `narrowed`: they are only those that changed since `good`, not all that the refused content was made of.
    `stale`: the revision with which other content of this name was offered."""

    refusal: Refusal
    good: int
    blame: frozenset[Ref]
    narrowed: bool
    since: datetime
    stale: int | None = None


class Session:
    """One stream. `offered` and `acked` are revisions; `snapshot` is the one that was offered last."""

    def __init__(self, peer: PeerIdentity, since: datetime, inherited: dict[Subject, Standing]) -> None:
        self.peer = peer
        self.since = since
        self.open = True
        self.snapshot: Snapshot | None = None
        self.offered = 0
        self.offered_at = 0.0
        self.acked = 0
        self.standing: dict[Subject, Standing] = {}
        self.inherited = inherited  # the refusals of the stream before, until this one has ACKed something

    @property
    def id(self) -> ProxyId:
        return self.peer.proxy

    @property
    def synced(self) -> bool:
        return self.snapshot is not None and self.acked >= self.offered

    def mark_stale(self, snapshot: Snapshot, revision: int) -> None:
        """For each refusal: does this snapshot still have the refused content?"""
        for subject, standing in self.standing.items():
            if _has_refused(snapshot, self.snapshot, standing.refusal):
                stale = None if subject[1] else standing.stale
            else:
                stale = revision if standing.stale is None else standing.stale
            if stale != standing.stale:
                self.standing[subject] = standing._replace(stale=stale)


def _has_refused(snapshot: Snapshot, before: Snapshot | None, refusal: Refusal) -> bool:
    if refusal.name:
        found = snapshot.get(refusal.type, refusal.name)
        return found is not None and found.version == refusal.version
    if before is None:
        return True
    mine, theirs = snapshot.layers.get(refusal.type, ()), before.layers.get(refusal.type, ())
    return len(mine) == len(theirs) and all(a is b for a, b in zip(mine, theirs, strict=True))


class ProxyState:
    """One enrolled proxy. `acked_before` is the newest revision that any stream of it ever ACKed; `behind` are the unfinished steps that
    concern it and that it has not ACKed, oldest first."""

    __slots__ = ("acked_before", "behind", "left", "sessions")

    def __init__(self) -> None:
        self.sessions: list[Session] = []
        self.acked_before = 0
        self.behind: deque[Step] = deque()
        self.left: dict[Subject, Standing] = {}

    @property
    def connected(self) -> bool:
        return bool(self.sessions)

    @property
    def acked(self) -> int:
        """What all its streams have ACKed."""
        return min((session.acked for session in self.sessions), default=0)

    @property
    def synced(self) -> bool:
        """Every stream has ACKed what it was offered last."""
        return all(session.synced for session in self.sessions)
