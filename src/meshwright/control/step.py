# SPDX-License-Identifier: Apache-2.0
"""One step from one served World to the next: which revisions it holds, whom it concerns, how far it has come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from meshwright.control.times import Moment
from meshwright.model.identity import ProxyId
from meshwright.model.meta import Ref

MAX_REJECTIONS = 1_000


class Rejection(NamedTuple):
    """`proxy` is `control-plane` when the configuration could not be made. `narrowed`: only the revisions of the step that changed one of
    `refs` are to blame, else all."""

    proxy: str
    type: str
    name: str
    message: str
    refs: frozenset[Ref]
    narrowed: bool

    def to_json(self) -> dict[str, Any]:
        refs = [str(ref) for ref in sorted(self.refs)]
        return {"proxy": self.proxy, "type": self.type, "name": self.name, "message": self.message, "refs": refs}


class Step:
    """It ends with revision `last`. `revisions` says which resources each revision of it changed; None: it holds every revision from
    `first` on, nobody knows which did what (at the start, or after the store had to be listed again). `concerned` are disjoint sets of
    proxies, shared with other steps; None while it is being compiled. `waiting` counts connected proxies that have not ACKed it."""

    def __init__(self, last: int, started: Moment, revisions: Mapping[int, frozenset[Ref]] | None, first: int = 0) -> None:
        self.last = last
        self.started = started
        self.revisions = revisions
        self.first = min(revisions) if revisions else first
        self.refs: frozenset[Ref] = frozenset[Ref]().union(*revisions.values()) if revisions else frozenset()
        self.finished: Moment | None = None
        self.refused: Moment | None = None
        self.concerned: Sequence[frozenset[ProxyId]] | None = None
        self.waiting = 0
        self.rejections: dict[tuple[str, str, str], Rejection] = {}

    def holds(self, revision: int) -> bool:
        return self.first <= revision <= self.last if self.revisions is None else revision in self.revisions

    def concerns(self, proxy: ProxyId) -> bool:
        return self.concerned is not None and any(proxy in group for group in self.concerned)

    def proxies(self) -> Iterator[ProxyId]:
        for group in self.concerned or ():
            yield from group

    def reject(self, rejection: Rejection, now: Moment) -> None:
        if len(self.rejections) < MAX_REJECTIONS:
            self.rejections[rejection.proxy, rejection.type, rejection.name] = rejection
            self.refused = self.refused or now

    def rejections_of(self, revision: int) -> list[Rejection]:
        """Those that this revision is to blame for: one whose cause is known blames the revisions that changed it, others all."""
        refs = self.refs if self.revisions is None else self.revisions.get(revision, frozenset())
        return [
            rejection
            for _, rejection in sorted(self.rejections.items())
            if not rejection.narrowed or self.revisions is None or not rejection.refs.isdisjoint(refs)
        ]

    def state_of(self, revision: int) -> str:
        if self.rejections_of(revision):
            return "rejected"
        return "done" if self.finished is not None else "pending"
