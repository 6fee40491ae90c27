# SPDX-License-Identifier: Apache-2.0
"""What is true of a resource now: what the model found (Accepted, ResolvedRefs), and whether the proxies run it (Programmed)."""

from __future__ import annotations

from collections.abc import Iterable

from meshwright.clock import Clock
from meshwright.control.distributor import Distributor
from meshwright.control.intake import Intake
from meshwright.control.rollout import Ledger
from meshwright.control.times import rfc3339
from meshwright.model.checks import world_checks
from meshwright.model.meta import Condition, Ref
from meshwright.model.world import World

MAX_MESSAGE = 1_000


class Conditions:
    """Remembers since when each condition has had its status."""

    def __init__(self, clock: Clock, intake: Intake, ledger: Ledger, distributor: Distributor) -> None:
        self._clock = clock
        self._intake = intake
        self._ledger = ledger
        self._distributor = distributor
        self._since: dict[Ref, dict[str, tuple[str, str]]] = {}

    def of(self, ref: Ref, world: World, waiting: frozenset[Ref]) -> tuple[Condition, ...]:
        """`waiting`: resources whose last change is not served yet. Empty for a resource that is not there."""
        resource = world.resource(ref)
        unreadable = self._intake.unreadable.get(ref)
        if resource is None and unreadable is None:
            return ()
        generation = resource.metadata.generation if resource is not None else 0
        found: list[Condition] = []
        if unreadable is not None:
            found.append(
                Condition("Accepted", "False", "Unreadable", f"stored by another version, not in force: {unreadable}"[:MAX_MESSAGE])
            )
        elif resource is not None:
            found += world_checks(world, resource)
        if resource is not None:
            found.append(self._programmed(ref, waiting))
        return tuple(self._dated(ref, condition, generation) for condition in found)

    def forget(self, refs: Iterable[Ref]) -> None:
        """Resources that are gone."""
        for ref in refs:
            self._since.pop(ref, None)

    def _programmed(self, ref: Ref, waiting: frozenset[Ref]) -> Condition:
        for scope, failure in self._distributor.failures():
            if ref in failure.refs:
                words = f"{failure.subject} can't be compiled for the proxies of {scope.namespace}: {failure.message}"
                return Condition("Programmed", "False", "CompileError", words[:MAX_MESSAGE])
        blamed = self._ledger.blamed(ref)
        if blamed:
            proxy, standing = blamed[0]
            refusal = standing.refusal
            kind = refusal.type.value.rpartition(".")[2]
            more = f" (and {len(blamed) - 1} more refusals)" if len(blamed) > 1 else ""
            words = f"proxy {proxy} refused {kind} {refusal.name}: {refusal.message}"
            return Condition("Programmed", "False", "RefusedByProxy", words[: MAX_MESSAGE - len(more)] + more)
        step = self._ledger.last_step(ref)
        if ref in waiting or (step is not None and step.concerned is None):
            return Condition("Programmed", "Unknown", "Pending", "not yet offered to the proxies")
        if step is not None and step.finished is None:
            return Condition("Programmed", "Unknown", "Pending", f"{step.waiting} connected proxies have not confirmed it yet")
        return Condition("Programmed", "True", "Programmed")

    def _dated(self, ref: Ref, condition: Condition, generation: int) -> Condition:
        kept = self._since.setdefault(ref, {})
        status, since = kept.get(condition.type, ("", ""))
        if status != condition.status:
            since = rfc3339(self._clock.now())
            kept[condition.type] = (condition.status, since)
        return Condition(condition.type, condition.status, condition.reason, condition.message, generation, since)
