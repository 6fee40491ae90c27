# SPDX-License-Identifier: Apache-2.0
"""The audit: JSON lines, each holding the SHA-256 of the one before, in a file 0600. A write of the API begins with a durable line, or is
refused; its end is a second line."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from meshwright.api.auth import rfc3339
from meshwright.clock import Clock
from meshwright.errors import MeshwrightError, Unavailable

GENESIS = "0" * 64
_UNWRITABLE = "the audit can't be written, so nothing is: see the control plane's log and its disk"
MAX_LINE = 16 * 1024


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


class Entry(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One line of the file."""

    seq: int
    time: str
    principal: str
    source: str
    request_id: str
    route: str
    key: str
    before: str
    after: str
    revision: int
    outcome: str
    prev: str
    detail: dict[str, str] = {}


class Broken(MeshwrightError):
    """The chain doesn't hold; the message names the first bad line."""

    reason = "AuditBroken"


class AuditLog:
    """One appender, used in the event loop: lines are in the order of the calls; syncing to the disk is done in a thread."""

    def __init__(self, path: Path, clock: Clock, sync: Callable[[int], None] = os.fsync) -> None:
        """Opens or makes the file. Raises Unavailable when that can't be done, Broken when its last line is no entry."""
        self._path = path
        self._clock = clock
        self._sync = sync
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._size = _cut_torn_line(self._fd)
        except OSError as error:
            raise Unavailable(f"the audit {path} can't be opened: {error.strerror}") from error
        self._seq, self.head = _last(self._fd, self._size)

    async def append(self, fact: Fact, *, durable: bool = True) -> int:
        """Its sequence number. `durable`: on the disk before this returns, else with the next one that is. Raises Unavailable."""
        seq = self.note(fact)
        if durable:
            try:
                await asyncio.to_thread(self._sync, self._fd)
            except OSError as error:
                raise Unavailable(_UNWRITABLE) from error
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
            self._write(line + b"\n")
        except OSError as error:
            raise Unavailable(_UNWRITABLE) from error
        self._seq += 1
        self._size += len(line) + 1
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

    def _write(self, data: bytes) -> None:
        """All of the line or nothing of it."""
        try:
            if os.write(self._fd, data) != len(data):
                raise OSError(errno.ENOSPC, "no space left for the whole line")
        except OSError:
            try:
                os.ftruncate(self._fd, self._size)
            except OSError:
                pass  # the torn tail is cut when the file is opened next; until then `verify` shows it
            raise

    async def after(self, seq: int, limit: int) -> list[Entry]:
        """At most `limit` entries with a greater number, in order."""
        return await asyncio.to_thread(_read_after, self._path, seq, limit)

    def close(self) -> None:
        os.close(self._fd)


def verify(path: Path) -> tuple[int, str]:
    """(number of lines, head hash). Raises Broken at the first line that was changed, left out or put in."""
    head, count = GENESIS, 0
    with path.open("rb") as file:
        for line in file:
            count += 1
            try:
                entry = msgspec.json.decode(line, type=Entry)
            except msgspec.DecodeError as error:
                raise Broken(f"{path}: line {count} is not an entry") from error
            if entry.seq != count or entry.prev != head or not line.endswith(b"\n"):
                raise Broken(f"{path}: line {count} does not follow line {count - 1}")
            head = hashlib.sha256(line[:-1]).hexdigest()
    return count, head


def _cut_torn_line(fd: int) -> int:
    """A crash may leave half a line, which nobody was told is there."""
    size = os.fstat(fd).st_size
    tail = os.pread(fd, MAX_LINE, max(0, size - MAX_LINE))
    keep = size - (len(tail) - (tail.rfind(b"\n") + 1))
    if keep != size:
        os.ftruncate(fd, keep)
    return keep


def _last(fd: int, size: int) -> tuple[int, str]:
    if size == 0:
        return 0, GENESIS
    tail = os.pread(fd, MAX_LINE, max(0, size - MAX_LINE))
    line = tail[:-1].rpartition(b"\n")[2]
    try:
        return msgspec.json.decode(line, type=Entry).seq, hashlib.sha256(line).hexdigest()
    except msgspec.DecodeError as error:
        raise Broken("the last line of the audit is not an entry: move the file away, it can't be continued") from error


def _read_after(path: Path, seq: int, limit: int) -> list[Entry]:
    """Numbers grow along the file: its halves are halved until the place is near."""
    found: list[Entry] = []
    with path.open("rb") as file:
        low, high = 0, file.seek(0, os.SEEK_END)
        while high - low > 4 * MAX_LINE:
            middle = (low + high) // 2
            file.seek(middle)
            file.readline()
            line = file.readline()
            if line.endswith(b"\n") and msgspec.json.decode(line, type=Entry).seq <= seq:
                low = middle
            else:
                high = middle
        file.seek(low)
        if low:
            file.readline()
        for line in file:
            if not line.endswith(b"\n") or len(found) == limit:
                break
            entry = msgspec.json.decode(line, type=Entry)
            if entry.seq > seq:
                found.append(entry)
    return found
