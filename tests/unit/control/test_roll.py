# SPDX-License-Identifier: Apache-2.0
"""Who is in which scope."""

from __future__ import annotations

from meshwright.control.roll import Roll
from meshwright.model.identity import ProxyId
from meshwright.model.proxy import Proxy, ProxySettings
from meshwright.translate.compile import ScopeKey, scope_key

SHOP, OTHER, FAR = ScopeKey("shop", "127.240"), ScopeKey("shop", "127.241"), ScopeKey("far", "127.240")


def _proxy(name: str, key: ScopeKey) -> Proxy:
    return Proxy(ProxyId(name, key.namespace), "vm", "default", (), ProxySettings(loopback=key.loopback))


def test_members_are_one_object_until_they_change() -> None:
    roll = Roll(scope_key)
    a, b = _proxy("a", SHOP), _proxy("b", SHOP)
    roll.put(a.id, a)
    first = roll.members(SHOP)
    roll.put(a.id, a)
    assert roll.members(SHOP) is first == {a.id}
    roll.put(b.id, b)
    assert roll.members(SHOP) == {a.id, b.id}
    roll.put(a.id, None)
    roll.put(a.id, None)
    assert roll.members(SHOP) == {b.id}
    assert first == {a.id}


def test_from_scope_to_scope() -> None:
    roll = Roll(scope_key)
    a = _proxy("a", SHOP)
    roll.put(a.id, a)
    assert roll.members(OTHER) == frozenset()
    roll.put(a.id, _proxy("a", OTHER))
    assert (roll.scope_of(a.id), roll.members(SHOP), roll.members(OTHER)) == (OTHER, frozenset(), {a.id})
    assert list(roll.scopes()) == [OTHER]


def test_by_namespace() -> None:
    roll = Roll(scope_key)
    proxies = [_proxy("a", SHOP), _proxy("b", OTHER), _proxy("c", FAR)]
    for proxy in proxies:
        roll.put(proxy.id, proxy)
    assert {id.name for id in roll.of_namespaces(frozenset(("shop",)), all=False)} == {"a", "b"}
    assert {id.name for id in roll.of_namespaces(frozenset(("root",)), all=True)} == {"a", "b", "c"}
