# SPDX-License-Identifier: Apache-2.0
"""When a burst is over."""

from __future__ import annotations

import pytest

from meshwright.control.holdoff import Held, HoldOff, is_urgent, union
from meshwright.control.intake import Taken
from meshwright.control.times import Moment
from meshwright.model.identity import ProxyId
from meshwright.model.meta import Ref
from meshwright.model.world import Change, ChangeSet
from tests.feature.control.clockwork import START

RULE, INSTANCE = ChangeSet(services=frozenset("a")), ChangeSet(endpoints=frozenset("b"))
REF = Ref("VirtualService", "shop", "a")


def held(*steps: tuple[float, ChangeSet]) -> Held:
    made = Held(Moment(START, steps[0][0]))
    for at, changed in steps:
        made.add(changed, Taken([Change(ref=REF)], {int(at * 10): frozenset((REF,))}), at)
    return made


@pytest.mark.parametrize(
    ("steps", "due"),
    [
        ([(1.0, RULE)], 1.05),
        ([(1.0, RULE), (1.04, RULE)], 1.09),
        ([(1.0, RULE), (1.04, INSTANCE)], 1.05),
        ([(1.0, INSTANCE), (1.04, RULE)], 1.09),
        ([(1.0, RULE), (1.5, RULE), (1.99, RULE)], 2.0),
        ([(1.0, INSTANCE)], 1.0),
        ([(1.0, INSTANCE), (1.04, INSTANCE)], 1.0),
        ([(1.0, ChangeSet(namespaces=frozenset("x")))], 1.05),
        ([(1.0, ChangeSet(proxies=frozenset((ProxyId("a", "b"),))))], 1.0),
        ([(1.0, ChangeSet())], 1.0),
    ],
)
def test_due(steps: list[tuple[float, ChangeSet]], due: float) -> None:
    assert held(*steps).due(HoldOff(0.05, 1.0)) == pytest.approx(due)


def test_only_what_needs_not_wait_is_early() -> None:
    assert held((1.0, RULE)).early == []
    assert held((1.0, RULE), (1.1, INSTANCE)).early == [Change(ref=REF)]


def test_each_revision_keeps_its_resources() -> None:
    assert held((1.0, RULE), (1.1, INSTANCE)).revisions == {10: frozenset((REF,)), 11: frozenset((REF,))}


def test_union() -> None:
    one = ChangeSet(frozenset("a"), frozenset("bc"), frozenset("x"), frozenset(), frozenset((REF,)))
    other = ChangeSet(frozenset("b"), frozenset("d"), frozenset("y"), frozenset((ProxyId("p", "n"),)), frozenset())
    made = union(one, other)
    assert made == ChangeSet(frozenset("ab"), frozenset("cd"), frozenset("xy"), frozenset((ProxyId("p", "n"),)), frozenset((REF,)))
    assert not is_urgent(made)
