# SPDX-License-Identifier: Apache-2.0
"""Changes that wait for the end of their burst: due `quiet` seconds after the last, at most `longest` after the first."""

from __future__ import annotations

from typing import NamedTuple

from meshwright.control.intake import Taken
from meshwright.control.times import Moment
from meshwright.model.identity import ProxyId
from meshwright.model.meta import Ref
from meshwright.model.world import Change, ChangeSet


class HoldOff(NamedTuple):
    quiet: float = 0.05
    longest: float = 1.0


def union(one: ChangeSet, other: ChangeSet) -> ChangeSet:
    """What both touched. A host in `services` needn't be in `endpoints` too."""
    services = one.services | other.services
    return ChangeSet(
        services=services,
        endpoints=(one.endpoints | other.endpoints) - services,
        namespaces=one.namespaces | other.namespaces,
        proxies=one.proxies | other.proxies,
        refs=one.refs | other.refs,
    )


def is_urgent(changed: ChangeSet) -> bool:
    """Instances come and go: one ClusterLoadAssignment, and the inbound part of the workload itself. These are not held off."""
    return not (changed.services or changed.namespaces)


class Held:
    """What has been taken in and not been compiled yet. `revisions`: which resources each revision changed; `early`: changes that don't
    wait for the rest, `pushed`: the proxies that were given some of those; `relisted`: which revision did what is not known."""

    def __init__(self, started: Moment) -> None:
        self.started = started
        self.changed = ChangeSet()
        self.revisions: dict[int, frozenset[Ref]] = {}
        self.early: list[Change] = []
        self.pushed: set[ProxyId] = set()
        self.relisted = False
        self._latest = started.seconds

    def add(self, changed: ChangeSet, taken: Taken, now: float) -> None:
        self.changed = union(self.changed, changed)
        for revision, refs in taken.revisions.items():
            self.revisions[revision] = self.revisions.get(revision, frozenset()) | refs
        if is_urgent(changed):
            self.early += taken.changes
        else:
            self._latest = now

    def due(self, hold_off: HoldOff) -> float:
        """Monotonic seconds."""
        if is_urgent(self.changed):
            return self.started.seconds
        return min(self._latest + hold_off.quiet, self.started.seconds + hold_off.longest)
