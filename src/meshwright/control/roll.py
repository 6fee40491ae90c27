# SPDX-License-Identifier: Apache-2.0
"""The roll of enrolled proxies by scope: who shares an outbound part, connected or not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from meshwright.model.identity import ProxyId
from meshwright.model.proxy import Proxy
from meshwright.translate.compile import ScopeKey


class Roll:
    """A scope's members are one frozenset for as long as they stay the same, so that steps can share it."""

    def __init__(self, scope_key: Callable[[Proxy], ScopeKey]) -> None:
        self._scope_key = scope_key
        self._members: dict[ScopeKey, set[ProxyId]] = {}
        self._frozen: dict[ScopeKey, frozenset[ProxyId]] = {}
        self._scope_of: dict[ProxyId, ScopeKey] = {}

    def put(self, id: ProxyId, proxy: Proxy | None) -> None:
        """None: no longer enrolled (or banned)."""
        old, new = self._scope_of.get(id), self._scope_key(proxy) if proxy is not None else None
        if old == new:
            return
        if old is not None:
            del self._scope_of[id]
            self._frozen.pop(old, None)
            self._members[old].discard(id)
            if not self._members[old]:
                del self._members[old]
        if new is not None:
            self._scope_of[id] = new
            self._frozen.pop(new, None)
            self._members.setdefault(new, set()).add(id)

    def scope_of(self, id: ProxyId) -> ScopeKey | None:
        return self._scope_of.get(id)

    def members(self, key: ScopeKey) -> frozenset[ProxyId]:
        found = self._frozen.get(key)
        if found is None:
            found = self._frozen[key] = frozenset(self._members.get(key, ()))
        return found

    def scopes(self) -> Iterable[ScopeKey]:
        return self._members.keys()

    def of_namespaces(self, namespaces: frozenset[str], *, all: bool) -> Iterator[ProxyId]:
        for key in list(self._members):
            if all or key.namespace in namespaces:
                yield from self.members(key)
