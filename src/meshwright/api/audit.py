# SPDX-License-Identifier: Apache-2.0
"""The audit: JSON lines, each holding the SHA-256 of the one before, in files 0600 of bounded size and number (chain). A write of the API
begins with a durable line, or is refused; its end is a second line."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from meshwright.api import chain
from meshwright.api.auth import rfc3339
from meshwright.api.chain import MAX_LINE, Entry
from meshwright.clock import Clock
from meshwright.errors import Unavailable

_UNWRITABLE = "the audit can't be written, so nothing is: see the control plane's log and its disk"


class Fact(NamedTuple):
    """What happened. `outcome`: begun | stored | deleted | failed:REASON | issued | refused:REASON. `before`, `after`: digests of the
    content ('' absent). `revision` 0: none yet."""

    principal: str
    source: str
    request_id: str
    route: str
    key: str
    outcome: str
    before: str = ""
    after: str = ""
    revision: int = 0
    detail: tuple[tuple[str, str], ...] = ()


class Room(NamedTuple):
    """How much of the disk the audit may take: so many files of about so many bytes; the oldest is removed for a new one."""

    file_bytes: int = 64 * 1024 * 1024
    files: int = 8


class _File:
    """The file that is written, or one before it for which somebody still waits. `first` is the number of its first line (0: none)."""

    def __init__(self, path: Path) -> None:
        """Opens or makes it. Raises OSError."""
        self.fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.size = _cut_torn_line(self.fd)
        self.first = 0
        self.waiting = 0
        self.done = False

    def finish(self) -> None:
        """Nothing is written to it any more: it is closed when nobody waits for it."""
        self.done = True
        self.left()

    def left(self) -> None:
        if self.done and not self.waiting:
            self.done = False
            os.close(self.fd)


class AuditLog:
    """One appender, used in the event loop: lines are in the order of the calls; syncing to the disk is done in a thread."""

    def __init__(self, path: Path, clock: Clock, sync: Callable[[int], None] = os.fsync, room: Room = Room()) -> None:  # noqa: B008 (immutable)
        """Opens or makes the file. Raises Unavailable when that can't be done, Broken when its last line is no entry."""
        self._path = path
        self._clock = clock
        self._sync = sync
        self._room = room
        try:
            self._file = _File(path)
            self._seq, self.head = chain.last(path)
            self._file.first = chain.first(path)
        except OSError as error:
            raise Unavailable(f"the audit {path} can't be opened: {error.strerror}") from error

    async def append(self, fact: Fact, *, durable: bool = True) -> int:
        """Its sequence number. `durable`: on the disk before this returns, else with the next one that is. Raises Unavailable."""
        seq = self.note(fact)
        if durable:
            file = self._file
            file.waiting += 1
            try:
                await asyncio.to_thread(self._sync, file.fd)
            except OSError as error:
                raise Unavailable(_UNWRITABLE) from error
            finally:
                file.waiting -= 1
                file.left()
        return seq

    def note(self, fact: Fact) -> int:
        """As `append`, handed to the kernel at once (microseconds) but not waited for until it is on the disk."""
        entry = Entry(
            seq=self._seq + 1,
            time=rfc3339(self._clock.now()),
            principal=fact.principal,
            source=fact.source,
            request_id=fact.request_id,
            route=fact.route,
            key=fact.key,
            before=fact.before,
            after=fact.after,
            revision=fact.revision,
            outcome=fact.outcome,
            detail=dict(fact.detail),
            prev=self.head,
        )
        line = msgspec.json.encode(entry)
        try:
            self._turn(len(line) + 1)
            self._write(line + b"\n")
        except OSError as error:
            raise Unavailable(_UNWRITABLE) from error
        self._seq += 1
        self._file.size += len(line) + 1
        self._file.first = self._file.first or self._seq
        self.head = hashlib.sha256(line).hexdigest()
        return self._seq

    def event(self, event: Mapping[str, object]) -> None:
        """An event of the certificate authority (`action`, `outcome`, and what is known of node, proxy, source, reason ...) as a line.
        Raises Unavailable."""
        known = {key: str(value)[:512] for key, value in event.items() if value not in (None, "")}
        node, proxy, reason = known.get("node", ""), known.get("proxy", ""), known.pop("reason", "")
        action, outcome = known.pop("action", "event"), known.pop("outcome", "")
        self.note(
            Fact(
                principal=f"proxy:{proxy}" if action == "renew" else f"node:{node}",
                source=known.pop("source", ""),
                request_id="",
                route=action,
                key=f"svids/{proxy}" if proxy else "",
                outcome=f"{outcome}:{reason}" if reason else outcome,
                detail=tuple(sorted(known.items())),
            )
        )

    def _turn(self, size: int) -> None:
        """Begins a new file when this one is full. A crash between renaming and the first line leaves an empty file or none: the next
        start goes on from the file before. Raises OSError; then the old file is gone on with."""
        full = self._file
        if not full.first or full.size + size <= self._room.file_bytes:
            return
        self._sync(full.fd)
        kept = chain.older_name(self._path, full.first)
        self._path.rename(kept)
        try:
            self._file = _File(self._path)
        except OSError:
            kept.rename(self._path)
            raise
        full.finish()
        self._forget()

    def _forget(self) -> None:
        """Removes the oldest files, and makes what was renamed last a crash."""
        earlier = chain.older(self._path)
        for _, file in earlier[: max(0, len(earlier) + 1 - self._room.files)]:
            file.unlink()
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._sync(directory)
        finally:
            os.close(directory)

    def _write(self, data: bytes) -> None:
        """All of the line or nothing of it."""
        try:
            if os.write(self._file.fd, data) != len(data):
                raise OSError(errno.ENOSPC, "no space left for the whole line")
        except OSError:
            try:
                os.ftruncate(self._file.fd, self._file.size)
            except OSError:
                pass  # the torn tail is cut when the file is opened next; until then `verify` shows it
            raise

    async def after(self, seq: int, limit: int) -> list[Entry]:
        """At most `limit` entries with a greater number, in order."""
        return await asyncio.to_thread(chain.read_after, self._path, seq, limit)

    def close(self) -> None:
        self._file.finish()


def _cut_torn_line(fd: int) -> int:
    """A crash may leave half a line, which nobody was told is there."""
    size = os.fstat(fd).st_size
    tail = os.pread(fd, MAX_LINE, max(0, size - MAX_LINE))
    keep = size - (len(tail) - (tail.rfind(b"\n") + 1))
    if keep != size:
        os.ftruncate(fd, keep)
    return keep
