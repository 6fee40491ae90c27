# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import resource
import signal
from pathlib import Path

import pytest

from meshwright.api.audit import AuditLog, Broken, Fact, verify
from meshwright.errors import Unavailable
from tests.feature.api.harness import TestClock


def fact(n: int) -> Fact:
    return Fact(f"p{n}", "192.0.2.1", f"r{n}", "PUT /x", f"k{n}", "begun")


def fill(path: Path, count: int) -> AuditLog:
    log = AuditLog(path, TestClock(), sync=lambda fd: None)
    for n in range(count):
        log.note(fact(n))
    return log


def test_it_goes_on_where_it_ended(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    fill(path, 3).close()
    log = fill(path, 2)
    assert verify(path) == (5, log.head)
    log.close()


def test_half_a_line_of_a_crash_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    fill(path, 3).close()
    with path.open("ab") as file:
        file.write(b'{"seq":4,"time":"2030')
    with pytest.raises(Broken):
        verify(path)
    log = fill(path, 1)
    assert verify(path) == (4, log.head)
    log.close()


def test_a_file_that_is_no_audit_is_not_continued(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    path.write_text("hello\n")
    with pytest.raises(Broken, match="move the file away"):
        fill(path, 0)
    with pytest.raises(Unavailable):
        fill(tmp_path / "no-directory" / "audit.log", 0)


def test_pages_of_a_long_file(tmp_path: Path) -> None:
    log = fill(tmp_path / "audit.log", 3000)
    for after in (0, 1, 499, 1500, 2998, 2999, 3000, 10**9):
        found = [entry.seq for entry in asyncio.run(log.after(after, 10))]
        assert found == list(range(after + 1, min(after + 11, 3001)))
    log.close()


def test_durable_means_synced(tmp_path: Path) -> None:
    synced: list[int] = []
    log = AuditLog(tmp_path / "audit.log", TestClock(), sync=synced.append)
    asyncio.run(log.append(fact(1)))
    assert len(synced) == 1
    asyncio.run(log.append(fact(2), durable=False))
    assert len(synced) == 1
    log.close()


def test_many_at_once_keep_the_chain(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.log", TestClock())

    async def all_of_them() -> list[int]:
        return await asyncio.gather(*(log.append(fact(n)) for n in range(50)))

    assert sorted(asyncio.run(all_of_them())) == list(range(1, 51))
    assert verify(tmp_path / "audit.log") == (50, log.head)
    log.close()


def test_a_disk_that_is_full_leaves_no_half_line(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    log = fill(path, 2)
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 20, hard))
    try:
        with pytest.raises(Unavailable, match="audit can't be written"):
            log.note(fact(3))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)
    assert path.read_bytes() == before
    log.note(fact(3))
    assert verify(path) == (3, log.head)
    log.close()


def test_events_of_the_ca(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.log", TestClock())
    log.event({"action": "attest", "outcome": "refused", "reason": "TokenUsed", "node": "vm1", "proxy": "cart.shop", "source": "192.0.2.1"})
    log.event({"action": "renew", "outcome": "issued", "proxy": "cart.shop", "serial": "2a", "node": "vm1"})
    first, second = asyncio.run(log.after(0, 10))
    assert (first.principal, first.outcome, first.source, first.key) == ("node:vm1", "refused:TokenUsed", "192.0.2.1", "svids/cart.shop")
    assert (second.principal, second.outcome, second.detail["serial"]) == ("proxy:cart.shop", "issued", "2a")
    log.close()
