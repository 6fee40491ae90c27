# SPDX-License-Identifier: Apache-2.0
"""What the controller wants of translate; the module translate.compile has it, tests bring their own."""

from __future__ import annotations

from typing import Protocol

from meshwright.model.proxy import Proxy
from meshwright.model.snapshot import Snapshot
from meshwright.model.world import ChangeSet, World
from meshwright.translate.compile import CompileCache, Inbound, Outbound, ScopeKey


class Compiler(Protocol):
    def scope_key(self, proxy: Proxy) -> ScopeKey: ...

    def compile_outbound(self, world: World, key: ScopeKey, cache: CompileCache) -> Outbound: ...

    def update_outbound(self, world: World, key: ScopeKey, previous: Outbound, changed: ChangeSet, cache: CompileCache) -> Outbound: ...

    def compile_inbound(self, world: World, proxy: Proxy, previous: Inbound | None) -> Inbound: ...

    def make_snapshot(self, outbound: Outbound, inbound: Inbound) -> Snapshot: ...
