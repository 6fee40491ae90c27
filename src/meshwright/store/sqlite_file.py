# SPDX-License-Identifier: Apache-2.0
"""The database file: who may read it, who owns it, whether it is whole, and which form it has. Everything here blocks."""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import stat
from pathlib import Path
from typing import NamedTuple

from meshwright.errors import ConfigError, MeshwrightError, Unavailable

SCHEMA_VERSION = 1
_APPLICATION_ID = 0x4D574753  # "MWGS"
_PAGE_SIZE = 4096
BUSY_SECONDS = 5.0

# One append-only log, in the order of rowid; the operations of one commit share a revision. A row without value is a deletion.
# `state` says which row is the current one of a key, `meta` what the log can't say once it is compacted.
_SCHEMA = (
    "CREATE TABLE log (id INTEGER PRIMARY KEY, revision INTEGER NOT NULL, created INTEGER NOT NULL, key TEXT NOT NULL, value BLOB)",
    "CREATE INDEX log_revision ON log (revision)",
    "CREATE TABLE state (key TEXT PRIMARY KEY, log_id INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    "INSERT INTO meta VALUES ('revision', 0), ('compacted', 0)",
)


class OpenFile(NamedTuple):
    """`writer` and `reader` are two connections to the same file, each for one thread at a time; `lock` is held as long as it is open."""

    path: Path
    lock: int
    writer: sqlite3.Connection
    reader: sqlite3.Connection

    def close(self) -> None:
        try:
            self.reader.close()
            self.writer.close()
        finally:
            os.close(self.lock)


def open_file(path: Path, max_bytes: int) -> OpenFile:
    """Raises ConfigError (wrong owner, modes or form), Unavailable (in use, damaged, disk full, read-only)."""
    try:
        _prepare_directory(path.parent)
        lock = _take_lock(path.with_name(path.name + ".lock"))
    except OSError as error:
        raise explain(error, path) from error
    opened: list[sqlite3.Connection] = []
    try:
        _prepare_file(path)
        writer = _connect(path, opened)
        _check_form(writer, path)
        _set_pragmas(writer, max_bytes)
        _check_integrity(writer, path)
        _create_schema(writer)
        reader = _connect(path, opened)
        reader.execute("PRAGMA query_only = ON")
        return OpenFile(path, lock, writer, reader)
    except BaseException as error:
        for connection in opened:
            connection.close()
        os.close(lock)
        if isinstance(error, sqlite3.Error | OSError):
            raise explain(error, path) from error
        raise


def explain(error: sqlite3.Error | OSError, path: Path) -> MeshwrightError:
    """What a person can do about it."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    number = error.errno if isinstance(error, OSError) else None
    if code == sqlite3.SQLITE_FULL or number in (errno.ENOSPC, errno.EDQUOT):
        return Unavailable(f"the store can't grow: the disk of {path} is full (or the store has reached its limit); nothing was written")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH) or number in (errno.EROFS, errno.EACCES, errno.EPERM):
        return Unavailable(f"{path} can't be written: read-only file system, or not this user's file; nothing was written")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Unavailable(f"{path} is locked by another process; nothing was written")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return Unavailable(f"{path} is damaged ({error}): stop the control plane and restore a backup")
    return Unavailable(f"the store at {path} failed: {error}")


def _prepare_directory(directory: Path) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = directory.stat()
    if found.st_uid != os.geteuid():
        raise ConfigError(f"{directory} belongs to uid {found.st_uid}, the control plane runs as uid {os.geteuid()}: chown it")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise ConfigError(f"others may look into {directory} (mode {stat.S_IMODE(found.st_mode):04o}): chmod 0700 {directory}")


def _take_lock(path: Path) -> int:
    """An flock that ends with the process, however it ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise Unavailable(f"{path.with_suffix('')} is in use: another control plane runs on this host") from error
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _prepare_file(path: Path) -> None:
    """Makes it before SQLite does, so that nobody else can ever read it (SQLite gives -wal and -shm the same mode)."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _connect(path: Path, opened: list[sqlite3.Connection]) -> sqlite3.Connection:
    """Autocommit: every transaction is begun by name. One thread at a time uses it, not always the one that made it."""
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    opened.append(connection)
    return connection


def _check_form(connection: sqlite3.Connection, path: Path) -> None:
    [application] = connection.execute("PRAGMA application_id").fetchone()
    [version] = connection.execute("PRAGMA user_version").fetchone()
    [tables] = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if tables == 0 and application == 0:
        return
    if application != _APPLICATION_ID:
        raise ConfigError(f"{path} is a database, but not the store of a control plane: name another file")
    if version != SCHEMA_VERSION:
        raise ConfigError(f"{path} has the form {version}, this version knows {SCHEMA_VERSION}: run the version that made it")


def _set_pragmas(connection: sqlite3.Connection, max_bytes: int) -> None:
    connection.execute(f"PRAGMA page_size = {_PAGE_SIZE}")
    [mode] = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise Unavailable(f"the file system does not allow SQLite's WAL (journal mode is {mode})")
    connection.execute("PRAGMA synchronous = FULL")  # an acknowledged commit outlives a power cut
    connection.execute(f"PRAGMA journal_size_limit = {64 << 20}")
    connection.execute(f"PRAGMA max_page_count = {max(max_bytes // _PAGE_SIZE, 16)}")


def _check_integrity(connection: sqlite3.Connection, path: Path) -> None:
    problems = [row[0] for row in connection.execute("PRAGMA integrity_check(3)")]
    if problems != ["ok"]:
        raise Unavailable(f"{path} is damaged ({'; '.join(problems)[:300]}): restore a backup")


def _create_schema(connection: sqlite3.Connection) -> None:
    [version] = connection.execute("PRAGMA user_version").fetchone()
    if version == SCHEMA_VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    for statement in _SCHEMA:
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute("COMMIT")
