# SPDX-License-Identifier: Apache-2.0
"""The audit as it lies on the disk: `audit.log`, which is written, and the files before it, `audit.log.N`, N being the number of their
first line. Each line holds the SHA-256 of the one before, the first line of a file that of the last line of the file before."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from meshwright.errors import MeshwrightError

GENESIS = "0" * 64
MAX_LINE = 16 * 1024
_NUMBER = re.compile(r"[0-9]{16}")
_ATTEMPTS = 10
T = TypeVar("T")


class Entry(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One line."""

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


class Chain(NamedTuple):
    """What was verified: so many `lines` in so many `files`, from line number `first`, written at `since` (0 and '' when there is none).
    `head` is the hash of the last."""

    lines: int
    head: str
    first: int
    since: str
    files: int


class Broken(MeshwrightError):
    """The chain doesn't hold; the message names the first bad line."""

    reason = "AuditBroken"


def older_name(path: Path, first: int) -> Path:
    """What a file is called when the next one has begun."""
    return path.with_name(f"{path.name}.{first:016}")


def older(path: Path) -> list[tuple[int, Path]]:
    """(number of the first line, file) of the files before `path`, in order."""
    numbers = ((one, one.name.removeprefix(f"{path.name}.")) for one in path.parent.glob(f"{path.name}.*"))
    return sorted((int(number), one) for one, number in numbers if _NUMBER.fullmatch(number))


def verify(path: Path) -> Chain:
    """Raises Broken at the first line that was changed, left out or put in; FileNotFoundError when there is no audit. Lines before the
    oldest file that is kept are not missed: `first` says where the chain begins."""
    return _steady(path, lambda: _verify(path))


def read_after(path: Path, seq: int, limit: int) -> list[Entry]:
    """At most `limit` entries with a greater number, in order."""
    return _steady(path, lambda: _read_after(path, seq, limit))


def last(path: Path) -> tuple[int, str]:
    """(number, hash) of the last line of all. Raises Broken when it is no entry. A crash can leave the newest file without any."""
    for file in (path, *(one for _, one in reversed(older(path)))):
        with file.open("rb") as opened:
            size = opened.seek(0, os.SEEK_END)
            if size:
                opened.seek(max(0, size - MAX_LINE))
                return _last(opened.read(MAX_LINE), file)
    return 0, GENESIS


def first(path: Path) -> int:
    """The number of the first line of a file, 0 when it has none. Raises Broken."""
    with path.open("rb") as file:
        line = file.readline(MAX_LINE)
    return _entry(line, f"{path}: line 1").seq if line else 0


def _steady(path: Path, read: Callable[[], T]) -> T:
    """What was read while no file was renamed or taken away: the control plane writes on meanwhile."""
    for _ in range(_ATTEMPTS):
        before = older(path)
        try:
            found = read()
        except (Broken, FileNotFoundError):
            if older(path) == before:
                raise
        else:
            if older(path) == before:
                return found
    return read()


def _verify(path: Path) -> Chain:
    earlier = older(path)
    seq, head, begin = 0, GENESIS, Entry(0, "", "", "", "", "", "", "", "", 0, "", GENESIS)
    for number, file in [*earlier, (0, path)]:
        for count, line in enumerate(_lines(file), 1):
            place = f"{file}: line {count}"
            entry = _entry(line, place)
            if not begin.seq:
                begin = entry
                seq, head = (entry.seq - 1, entry.prev) if earlier else (0, GENESIS)
            if entry.seq != seq + 1 or entry.prev != head or (count == 1 and number and entry.seq != number):
                raise Broken(f"{place} does not follow {f'line {count - 1}' if count > 1 else 'the file before'}")
            seq, head = entry.seq, hashlib.sha256(line[:-1]).hexdigest()
    if begin.seq == 1 and begin.prev != GENESIS:
        raise Broken(f"{earlier[0][1]}: line 1 is not the first of an audit")
    return Chain(seq - begin.seq + 1 if begin.seq else 0, head, begin.seq, begin.time, len(earlier) + 1)


def _lines(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        yield from opened


def _entry(line: bytes, place: str) -> Entry:
    try:
        entry = msgspec.json.decode(line, type=Entry)
    except msgspec.DecodeError as error:
        raise Broken(f"{place} is not an entry") from error
    if not line.endswith(b"\n"):
        raise Broken(f"{place} is not whole")
    return entry


def _last(tail: bytes, file: Path) -> tuple[int, str]:
    line = tail[:-1].rpartition(b"\n")[2]
    try:
        return msgspec.json.decode(line, type=Entry).seq, hashlib.sha256(line).hexdigest()
    except msgspec.DecodeError as error:
        raise Broken(f"the last line of the audit {file} is not an entry: move the file away, it can't be continued") from error


def _read_after(path: Path, seq: int, limit: int) -> list[Entry]:
    files = older(path)
    begun = max([0, *(i for i, (number, _) in enumerate(files) if number <= seq + 1)])
    found: list[Entry] = []
    for file in (*(one for _, one in files[begun:]), path):
        if len(found) < limit:
            found += _read_file(file, seq, limit - len(found))
    return found


def _read_file(path: Path, seq: int, limit: int) -> list[Entry]:
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
