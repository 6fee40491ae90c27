# SPDX-License-Identifier: Apache-2.0
"""What the API needs of the parts behind it. Implemented by control.controller, ca.server and ca.authority; joined in app."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from meshwright.model.identity import ProxyId
from meshwright.model.meta import Condition, Ref
from meshwright.model.snapshot import Snapshot
from meshwright.model.world import World


class Controller(Protocol):
    """The owner of the World. Nothing but `wait` blocks; all is called in the event loop."""

    @property
    def world(self) -> World: ...

    @property
    def revision(self) -> int:
        """The revision of the World that is being served."""
        ...

    def conditions(self, ref: Ref) -> tuple[Condition, ...]:
        """What is true of this resource now (Accepted, ResolvedRefs, Programmed)."""
        ...

    async def wait(self, revision: int, timeout: float) -> Mapping[str, Any]:
        """The rollout, as soon as it isn't pending or after `timeout` seconds. Raises Compacted for a revision that is forgotten."""
        ...

    def rollout(self, revision: int) -> Mapping[str, Any]:
        """The rollout as `GET /mesh/v1/rollouts/{revision}` answers it. Raises Compacted."""
        ...

    def proxies(self) -> list[dict[str, Any]]: ...

    def proxy(self, id: ProxyId) -> dict[str, Any] | None: ...

    def snapshot(self, id: ProxyId) -> Snapshot | None: ...

    def ready(self) -> bool: ...

    def stats(self) -> Mapping[str, Any]:
        """Numbers by name (`_total` at the end: a counter); a mapping instead of a number is one number a label value."""
        ...


class Attestation(Protocol):
    """The issuer of first identities. Errors are MeshwrightErrors; whatever is wrong with a proof is Unauthenticated without detail."""

    async def nonce(self, node: str) -> Mapping[str, Any]: ...

    async def attest(self, request: Mapping[str, Any], source: str) -> Mapping[str, Any]:
        """Writes its own lines to the audit (AuditLog.event)."""
        ...


class Authority(Protocol):
    """What everybody may know of the CA. `bundle` is PEM, `serial` the active root's in hex."""

    @property
    def trust_domain(self) -> str: ...

    @property
    def bundle(self) -> bytes: ...

    @property
    def serial(self) -> str: ...

    @property
    def not_after(self) -> datetime: ...
