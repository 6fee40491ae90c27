# SPDX-License-Identifier: Apache-2.0
"""What only the store on SQLite promises: files, locks, forms, a full disk, one fsync for many."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from meshwright.errors import Compacted, ConfigError, Unavailable
from meshwright.store import sqlite_log
from meshwright.store.base import Delete, Put
from meshwright.store.sqlite import MAX_WAITING, SqliteStore
from meshwright.store.sqlite_file import explain, open_file
from tests.unit.store.stores import DEADLINE, replay


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), DEADLINE))


def test_what_was_written_is_there_at_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "store.db"

    async def first() -> None:
        store = await SqliteStore.open(path)
        await store.commit([Put("a", b"1"), Put("b", b"1")])
        await store.commit([Delete("b")])
        await store.compact(1)
        await store.close()

    async def second() -> None:
        store = await SqliteStore.open(path)
        records, revision = await store.list("")
        assert [(r.key, r.value) for r in records] == [("a", b"1")]
        assert revision == 2
        with pytest.raises(Compacted):
            await anext(store.watch("", 0))
        assert [event.key for event in await replay(store, "", 1, 2)] == ["b"]
        await store.close()

    run(first)
    run(second)


def test_nobody_else_can_read_it(tmp_path: Path) -> None:
    async def test() -> None:
        store = await SqliteStore.open(tmp_path / "data" / "store.db")
        await store.commit([Put("a", b"secret")])
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "data").iterdir()}
        assert modes == dict.fromkeys(("store.db", "store.db-wal", "store.db-shm", "store.db.lock"), 0o600)
        assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
        await store.close()

    run(test)


def test_a_directory_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    directory.mkdir()
    directory.chmod(0o750)

    async def test() -> None:
        with pytest.raises(ConfigError, match="chmod 0700"):
            await SqliteStore.open(directory / "store.db")

    run(test)
    assert list(directory.iterdir()) == []


def test_a_file_with_a_wide_mode_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.touch(0o644)

    async def test() -> None:
        await (await SqliteStore.open(path)).close()

    run(test)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_one_owner_at_a_time(tmp_path: Path) -> None:
    async def test() -> None:
        path = tmp_path / "store.db"
        store = await SqliteStore.open(path)
        with pytest.raises(Unavailable, match="in use"):
            await SqliteStore.open(path)
        assert await store.commit([Put("a", b"")]) == 1
        await store.close()
        await (await SqliteStore.open(path)).close()

    run(test)


def test_a_link_in_place_of_the_file_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    target.write_bytes(b"precious")
    (tmp_path / "store.db").symlink_to(target)

    async def test() -> None:
        with pytest.raises(Unavailable):
            await SqliteStore.open(tmp_path / "store.db")

    run(test)
    assert target.read_bytes() == b"precious"


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"no database at all, but long enough to look like a header of one" * 100)

    async def test() -> None:
        with pytest.raises(Unavailable, match="restore a backup"):
            await SqliteStore.open(path)

    run(test)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.db"

    async def fill() -> None:
        store = await SqliteStore.open(path)
        for number in range(50):
            await store.commit([Put(f"k{number}", bytes([number]) * 3000)])
        await store.close()

    async def test() -> None:
        with pytest.raises(Unavailable, match="damaged"):
            await SqliteStore.open(path)

    run(fill)
    content = bytearray(path.read_bytes())
    assert len(content) > 100_000
    content[8192:40_000] = b"\xa5" * (40_000 - 8192)
    path.write_bytes(content)
    run(test)


@pytest.mark.parametrize(
    ("statements", "message"),
    [
        (("CREATE TABLE other (a)",), "name another file"),
        (("PRAGMA application_id = 7",), "name another file"),
        (("PRAGMA application_id = 0x4D574753", "PRAGMA user_version = 2", "CREATE TABLE log (a)"), "form 2"),
    ],
)
def test_the_file_of_another_program_or_version_is_refused(tmp_path: Path, statements: tuple[str, ...], message: str) -> None:
    path = tmp_path / "store.db"
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.close()
    before = path.read_bytes()

    async def test() -> None:
        with pytest.raises(ConfigError, match=message):
            await SqliteStore.open(path)

    run(test)
    assert path.read_bytes() == before


def test_a_full_disk_refuses_the_commit_and_nothing_else(tmp_path: Path) -> None:
    async def test() -> None:
        store = await SqliteStore.open(tmp_path / "store.db", max_bytes=200_000)
        written = 0
        with pytest.raises(Unavailable, match="full"):
            for number in range(1000):
                await store.commit([Put("big", b"x" * 5_000), Put(f"n{number}", b"")])
                written += 1
        assert written > 5
        records, revision = await store.list("n")
        assert (len(records), revision) == (written, written)
        watched = await replay(store, "n", 0, written)
        assert [event.revision for event in watched] == list(range(1, written + 1))
        await store.compact(revision)  # old values make room
        assert await store.commit([Put("after", b"x" * 5_000)]) == written + 1
        await store.close()

    run(test)


def test_a_group_that_fails_fails_whole(tmp_path: Path) -> None:
    async def test() -> None:
        store = await SqliteStore.open(tmp_path / "store.db", max_bytes=200_000)
        small = [store.commit([Put(f"k{number}", b"", expected=0)]) for number in range(20)]
        results = await asyncio.gather(*small, store.commit([Put("big", b"x" * 400_000)]), return_exceptions=True)
        assert isinstance(results[-1], Unavailable)
        records, revision = await store.list("")
        assert len(records) == revision == sum(isinstance(result, int) for result in results)
        assert {record.key for record in records} == {f"k{n}" for n in range(20) if isinstance(results[n], int)}
        await store.close()

    run(test)


def test_commits_that_wait_share_one_transaction(tmp_path: Path) -> None:
    """Seen in the file: each transaction that was begun leaves one commit mark in the WAL."""

    async def test() -> None:
        store = await SqliteStore.open(tmp_path / "store.db")
        before = _transactions(tmp_path / "store.db-wal")
        revisions = await asyncio.gather(*(store.commit([Put(f"k{number}", b"")]) for number in range(300)))
        assert revisions == list(range(1, 301))
        assert 1 <= _transactions(tmp_path / "store.db-wal") - before < 100
        await store.close()

    run(test)


def _transactions(wal: Path) -> int:
    """Frames with a database size in their header are the last of a transaction."""
    content = wal.read_bytes()
    page = int.from_bytes(content[8:12], "big")
    return sum(content[at + 4 : at + 8] != b"\0\0\0\0" for at in range(32, len(content), page + 24))


def test_too_many_waiting_commits_are_refused(tmp_path: Path) -> None:
    async def test() -> None:
        store = await SqliteStore.open(tmp_path / "store.db")
        attempts = [store.commit([Put("a", b"%d" % number)]) for number in range(MAX_WAITING * 2)]
        results = await asyncio.gather(*attempts, return_exceptions=True)
        refused = [result for result in results if isinstance(result, Unavailable)]
        assert len(refused) > 0
        assert (await store.list(""))[1] == len(results) - len(refused) >= MAX_WAITING
        await store.close()

    run(test)


def test_compaction_goes_in_steps_with_commits_in_between(tmp_path: Path) -> None:
    async def test() -> None:
        store = await SqliteStore.open(tmp_path / "store.db")
        rows = sqlite_log.COMPACT_ROWS * 2 + 100
        for start in range(0, rows, 100):
            await asyncio.gather(*(store.commit([Put("a", b"%d" % number)]) for number in range(start, start + 100)))
        compaction = asyncio.create_task(store.compact(rows))
        assert await store.commit([Put("b", b"")]) == rows + 1
        await compaction
        await store.close()
        left = sqlite3.connect(tmp_path / "store.db")
        assert left.execute("SELECT key FROM log ORDER BY id").fetchall() == [("a",), ("b",)]
        left.close()

    run(test)


def test_a_long_history_is_read_in_whole_commits(tmp_path: Path) -> None:
    async def test() -> None:
        store = await SqliteStore.open(tmp_path / "store.db")
        for _ in range(40):
            await store.commit([Put(f"k{number}", b"") for number in range(130)])
        events = store.watch("", 0)
        assert [(await anext(events)).revision for _ in range(5200)] == [n for n in range(1, 41) for _ in range(130)]
        await store.close()

    run(test)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left on device"), "full"),
        (OSError(30, "Read-only file system"), "read-only"),
        (OSError(13, "Permission denied"), "not this user's"),
        (OSError(5, "Input/output error"), "failed"),
    ],
)
def test_errors_of_the_system_say_what_to_do(error: OSError, words: str) -> None:
    found = explain(error, Path("/x/store.db"))
    assert isinstance(found, Unavailable)
    assert words in found.message and "/x/store.db" in found.message


def test_a_read_only_database_says_so(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    sqlite3.connect(path).close()
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    with pytest.raises(sqlite3.OperationalError) as caught:
        connection.execute("CREATE TABLE a (b)")
    connection.close()
    assert "read-only" in explain(caught.value, path).message


def test_a_database_that_another_process_locks_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    holder, other = sqlite3.connect(path, isolation_level=None), sqlite3.connect(path, timeout=0, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(sqlite3.OperationalError) as caught:
        other.execute("BEGIN IMMEDIATE")
    holder.close()
    other.close()
    assert "locked by another process" in explain(caught.value, path).message


def test_the_writer_waits_for_the_disk(tmp_path: Path) -> None:
    """FULL (2): an acknowledged commit outlives a power cut; NORMAL (1) would lose the last ones."""
    opened = open_file(tmp_path / "store.db", 1 << 20)
    assert opened.writer.execute("PRAGMA synchronous").fetchone() == (2,)
    assert opened.writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        opened.reader.execute("DELETE FROM log")
    opened.close()
