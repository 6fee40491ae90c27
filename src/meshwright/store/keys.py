# SPDX-License-Identifier: Apache-2.0
"""What a key may be, and what a commit may hold: the same for every store. Keys come from code (names were checked long before), so a bad
one is a mistake of ours and raises ValueError."""

from __future__ import annotations

from collections.abc import Sequence

from meshwright.store.base import Delete, Put

MAX_KEY = 1024
MAX_OPERATIONS = 10_000


def check_prefix(prefix: str) -> str:
    """ASCII only, so that order is the same in Python, SQLite and etcd, and every prefix has a next one."""
    if len(prefix) > MAX_KEY or not prefix.isascii() or not prefix.isprintable() or prefix.startswith("/"):
        raise ValueError(f"{prefix[:MAX_KEY]!r} is no prefix of keys")
    return prefix


def check_key(key: str) -> str:
    if not key or key.endswith("/"):
        raise ValueError(f"{key[:MAX_KEY]!r} is no key")
    return check_prefix(key)


def check_operations(operations: Sequence[Put | Delete]) -> tuple[Put | Delete, ...]:
    """At most one operation a key: the order within a commit means nothing, as in etcd."""
    checked = tuple(operations)
    if len(checked) > MAX_OPERATIONS:
        raise ValueError(f"{len(checked)} operations in one commit: at most {MAX_OPERATIONS}")
    if len({check_key(operation.key) for operation in checked}) != len(checked):
        raise ValueError("two operations on one key in one commit")
    return checked


def after_prefix(prefix: str) -> str:
    """The least string that is greater than every string with this prefix ('' for the empty prefix: no bound)."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1) if prefix else ""


def conflict_message(key: str, expected: int, found: int) -> str:
    if expected == 0:
        return f"{key} is there already (revision {found})"
    if found == 0:
        return f"{key} is not there any more (expected revision {expected})"
    return f"{key} is at revision {found}, not at {expected}: read it again"
