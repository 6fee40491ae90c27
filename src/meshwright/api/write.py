# SPDX-License-Identifier: Apache-2.0
"""A write to the store with its two lines in the audit: `begun`, durable, before it; how it ended after it."""

from __future__ import annotations

import hashlib

import structlog

from meshwright.api.audit import Fact
from meshwright.api.call import Call
from meshwright.errors import MeshwrightError, Unavailable
from meshwright.store.base import Delete, Put, Record

log = structlog.get_logger()


def digest(value: bytes | None) -> str:
    return hashlib.sha256(value).hexdigest() if value is not None else ""


def fact(call: Call, key: str, outcome: str) -> Fact:
    return Fact(call.principal.name, call.source, call.request_id, f"{call.rule.method} {call.rule.path}", key, outcome)


async def commit(call: Call, operation: Put | Delete, before: Record | None, shown_key: str = "") -> int:
    """The new revision. Raises Unavailable when the audit can't be written (then nothing was stored), else what the store raises.
    `shown_key`: what the audit names instead of the key."""
    after = operation.value if isinstance(operation, Put) else None
    begun = fact(call, shown_key or operation.key, "begun")._replace(before=digest(before.value if before else None), after=digest(after))
    await call.parts.audit.append(begun)
    try:
        revision = await call.parts.store.commit([operation])
    except MeshwrightError as error:
        await _end(call, begun._replace(outcome=f"failed:{error.reason}"))
        raise
    await _end(call, begun._replace(outcome="stored" if after is not None else "deleted", revision=revision))
    return revision


async def _end(call: Call, end: Fact) -> None:
    """Not durable by itself: the next line is, and `begun` is there already. If it can't be written, the next write is refused."""
    try:
        await call.parts.audit.append(end, durable=False)
    except Unavailable:
        log.error("audit.unwritable", request_id=call.request_id, outcome=end.outcome)
