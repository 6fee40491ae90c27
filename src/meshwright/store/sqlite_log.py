# SPDX-License-Identifier: Apache-2.0
"""The log as SQL: what one thread does with one connection. Blocking; the caller begins and ends transactions of writes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from meshwright.errors import Compacted, Conflict
from meshwright.store.base import Delete, Event, Put, Record
from meshwright.store.keys import after_prefix, conflict_message

COMPACT_ROWS = 2_000  # a step of compaction: a few milliseconds in which no commit can go on
_CURRENT = "SELECT log.key, log.value, log.revision, log.created FROM state JOIN log ON log.id = state.log_id"


def number(connection: sqlite3.Connection, name: str) -> int:
    [value] = connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return int(value)


def get(connection: sqlite3.Connection, key: str) -> Record | None:
    row = connection.execute(f"{_CURRENT} WHERE state.key = ?", (key,)).fetchone()
    return None if row is None else Record(*row)


def list_prefix(connection: sqlite3.Connection, prefix: str) -> tuple[list[Record], int]:
    """Records and revision of one moment."""
    where, bounds = _range("state.key", prefix)
    connection.execute("BEGIN")
    try:
        rows = connection.execute(f"{_CURRENT} WHERE {where} ORDER BY state.key", bounds).fetchall()
        return [Record(*row) for row in rows], number(connection, "revision")
    finally:
        connection.execute("COMMIT")


def commit(connection: sqlite3.Connection, operations: Iterable[Put | Delete], revision: int) -> list[Event]:
    """Writes them as `revision` within the transaction under way; nothing is written when it raises Conflict. What it returns is empty
    when nothing was to be done."""
    found: dict[str, Record] = {}
    operations = tuple(operations)
    for operation in operations:
        record = get(connection, operation.key)
        if record is not None:
            found[operation.key] = record
        at = 0 if record is None else record.revision
        if operation.expected is not None and operation.expected != at:
            raise Conflict(conflict_message(operation.key, operation.expected, at))
    events = []
    for operation in operations:
        old = found.get(operation.key)
        if isinstance(operation, Delete) and old is None:
            continue
        value = operation.value if isinstance(operation, Put) else None
        event = Event(operation.key, value, revision, revision if old is None else old.created)
        _append(connection, event)
        events.append(event)
    if events:
        connection.execute("UPDATE meta SET value = ? WHERE name = 'revision'", (revision,))
    return events


def _append(connection: sqlite3.Connection, event: Event) -> None:
    cursor = connection.execute(
        "INSERT INTO log (revision, created, key, value) VALUES (?, ?, ?, ?)", (event.revision, event.created, event.key, event.value)
    )
    if event.value is None:
        connection.execute("DELETE FROM state WHERE key = ?", (event.key,))
    else:
        connection.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (event.key, cursor.lastrowid))


def history(connection: sqlite3.Connection, prefix: str, span: tuple[int, int], rows: int) -> tuple[Sequence[Event], int]:
    """Events with after < revision <= last, (after, last) being `span`: about `rows` of the log, whole commits only; and the revision up
    to which this is all. Raises Compacted."""
    after, last = span
    connection.execute("BEGIN")
    try:
        oldest, newest = number(connection, "compacted"), number(connection, "revision")
        if after < oldest or after > newest:
            raise Compacted(f"revision {after} is not among those kept ({oldest} to {newest}): list again")
        row = connection.execute(
            "SELECT revision FROM log WHERE revision > ? AND revision <= ? ORDER BY revision LIMIT 1 OFFSET ?", (after, last, rows)
        ).fetchone()
        until = last if row is None else row[0]
        where, bounds = _range("key", prefix)
        found = connection.execute(
            f"SELECT key, value, revision, created FROM log WHERE revision > ? AND revision <= ? AND {where} ORDER BY id",  # noqa: S608
            (after, until, *bounds),
        ).fetchall()
        return [Event(*row) for row in found], until
    finally:
        connection.execute("COMMIT")


def compact(connection: sqlite3.Connection, revision: int) -> bool:
    """One step, within the transaction under way; True when there is more to do. Goes through rows that are not any key's current one."""
    target = min(revision, number(connection, "revision"))
    if target > number(connection, "compacted"):
        connection.execute("UPDATE meta SET value = ? WHERE name = 'compacted'", (target,))
    cursor = connection.execute(
        "DELETE FROM log WHERE id IN (SELECT id FROM log WHERE revision <= ?"
        " AND NOT EXISTS (SELECT 1 FROM state WHERE state.key = log.key AND state.log_id = log.id) LIMIT ?)",
        (target, COMPACT_ROWS),
    )
    return cursor.rowcount == COMPACT_ROWS


def _range(column: str, prefix: str) -> tuple[str, tuple[str, ...]]:
    if not prefix:
        return "TRUE", ()
    return f"{column} >= ? AND {column} < ?", (prefix, after_prefix(prefix))
