# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import resource
import signal
from pathlib import Path

import pytest

from meshwright.api.audit import AuditLog, Fact, Room
from meshwright.api.chain import Broken, Chain, older, verify
from meshwright.errors import Unavailable
from tests.feature.api.harness import TestClock
from tests.unit.failpoints import crash_at

SMALL = Room(file_bytes=1000, files=3)  # of about three lines each
ROOMY = Room()


def fact(n: int) -> Fact:
    return Fact(f"p{n}", "192.0.2.1", f"r{n}", "PUT /x", f"k{n}", "begun")


def fill(path: Path, count: int, room: Room = ROOMY) -> AuditLog:
    log = AuditLog(path, TestClock(), sync=lambda fd: None, room=room)
    for n in range(count):
        log.note(fact(n))
    return log


def test_it_goes_on_where_it_ended(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    fill(path, 3).close()
    log = fill(path, 2)
    assert verify(path)[:2] == (5, log.head)
    log.close()


def test_half_a_line_of_a_crash_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    fill(path, 3).close()
    with path.open("ab") as file:
        file.write(b'{"seq":4,"time":"2030')
    with pytest.raises(Broken):
        verify(path)
    log = fill(path, 1)
    assert verify(path)[:2] == (4, log.head)
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
    assert verify(tmp_path / "audit.log")[:2] == (50, log.head)
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
    assert verify(path)[:2] == (3, log.head)
    log.close()


def test_events_of_the_ca(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.log", TestClock())
    log.event({"action": "attest", "outcome": "refused", "reason": "TokenUsed", "node": "vm1", "proxy": "cart.shop", "source": "192.0.2.1"})
    log.event({"action": "renew", "outcome": "issued", "proxy": "cart.shop", "serial": "2a", "node": "vm1"})
    first, second = asyncio.run(log.after(0, 10))
    assert (first.principal, first.outcome, first.source, first.key) == ("node:vm1", "refused:TokenUsed", "192.0.2.1", "svids/cart.shop")
    assert (second.principal, second.outcome, second.detail["serial"]) == ("proxy:cart.shop", "issued", "2a")
    log.close()


def files(path: Path) -> list[Path]:
    return [*(one for _, one in older(path)), path]


def test_a_full_file_is_followed_by_another_and_the_oldest_goes(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    log = fill(path, 4, SMALL)
    assert verify(path) == Chain(4, log.head, 1, "2030-01-01T00:00:00Z", 2)
    log.close()
    log = fill(path, 46, SMALL)
    found = verify(path)
    assert (found.first + found.lines - 1, found.head, found.files) == (50, log.head, 3)
    assert found.first > 1
    assert len(list(tmp_path.iterdir())) == 3
    assert all(file.stat().st_size <= SMALL.file_bytes and file.stat().st_mode & 0o777 == 0o600 for file in files(path))
    log.close()


def test_pages_go_on_over_the_files(tmp_path: Path) -> None:
    log = fill(tmp_path / "audit.log", 30, Room(1000, 100))
    for after in range(31):
        found = [entry.seq for entry in asyncio.run(log.after(after, 7))]
        assert found == list(range(after + 1, min(after + 8, 31)))
    log.close()


def test_what_is_changed_left_out_or_exchanged_in_any_file_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    fill(path, 12, Room(1000, 100)).close()
    kept = {file: file.read_bytes() for file in files(path)}
    assert len(kept) >= 4
    ways = [(file, data.replace(b'"p', b'"q', 1)) for file, data in kept.items()]
    ways += [(file, data[data.index(b"\n") + 1 :]) for file, data in kept.items()]
    ways += [(file, b"") for file in files(path)[1:-1]]
    for file, forged in ways:
        file.write_bytes(forged)
        if file != path or forged:  # the last line of all is what its head is kept elsewhere for
            with pytest.raises(Broken):
                verify(path)
        file.write_bytes(kept[file])
    files(path)[1].unlink()
    with pytest.raises(Broken, match="does not follow"):
        verify(path)


def test_the_first_line_may_not_be_made_up(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    fill(path, 4, SMALL).close()
    oldest = files(path)[0]
    oldest.write_bytes(oldest.read_bytes().replace(b"0" * 64, b"1" * 64, 1))
    with pytest.raises(Broken):
        verify(path)


def test_a_crash_at_any_step_of_a_new_file_loses_nothing(tmp_path: Path) -> None:
    for step in range(1, 40):
        home = tmp_path / str(step)
        home.mkdir()
        path = home / "audit.log"
        log = fill(path, 9, SMALL)
        died = crash_at(step, home, lambda log=log: [log.note(fact(n)) for n in range(3)])  # type: ignore[misc]
        log.close()
        again = fill(path, 1, SMALL)
        found = verify(path)
        assert found.head == again.head
        assert found.first + found.lines - 1 in (10, 11, 12, 13)
        assert found.files <= SMALL.files + 1
        again.close()
        if not died:
            assert step > 2
            return
    pytest.fail("never got to the end")


def test_a_new_file_that_cant_be_made_refuses_the_line_and_the_old_one_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    failing: list[bool] = []

    def sync(fd: int) -> None:
        if failing:
            raise OSError(5, "Input/output error")

    log = AuditLog(path, TestClock(), sync=sync, room=SMALL)
    for n in range(3):
        log.note(fact(n))
    failing.append(True)
    with pytest.raises(Unavailable, match="audit can't be written"):
        log.note(fact(3))
    failing.clear()
    log.note(fact(4))
    assert verify(path)[:2] == (4, log.head)
    log.close()


def test_who_waits_for_a_file_that_was_followed_by_others_is_told_of_it(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.log", TestClock(), room=Room(400, 4))

    async def all_of_them() -> list[int]:
        return await asyncio.gather(*(log.append(fact(n)) for n in range(50)))

    assert sorted(asyncio.run(all_of_them())) == list(range(1, 51))
    assert verify(tmp_path / "audit.log").files == 4
    log.close()
