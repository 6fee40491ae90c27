# SPDX-License-Identifier: Apache-2.0
"""What every store must do, whatever it is made of."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest

from meshwright.errors import Compacted, Conflict, Unavailable
from meshwright.store.base import Delete, Event, Put, Record, Store
from tests.unit.store.stores import STORES, replay, run, take

pytestmark = pytest.mark.parametrize("name", STORES)


def test_a_new_store_is_empty_at_revision_zero(name: str, tmp_path: Path) -> None:
    async def test(store: Store) -> None:
        assert await store.list("") == ([], 0)
        assert await store.get("a") is None

    run(name, tmp_path, test)


def test_every_commit_has_the_next_revision(name: str, tmp_path: Path) -> None:
    async def test(store: Store) -> None:
        assert await store.commit([Put("a", b"1")]) == 1
        assert await store.commit([Put("b", b"2")]) == 2
        assert await store.commit([Put("a", b"3")]) == 3
        assert await store.get("a") == Record("a", b"3", revision=3, created=1)
        assert await store.get("b") == Record("b", b"2", revision=2, created=2)

    run(name, tmp_path, test)


def test_the_operations_of_a_commit_share_its_revision(name: str, tmp_path: Path) -> None:
    async def test(store: Store) -> None:
        await store.commit([Put("gone", b"")])
        assert await store.commit([Put("b", b"2"), Put("a", b"1"), Delete("gone")]) == 2
        assert await store.list("") == ([Record("a", b"1", 2, 2), Record("b", b"2", 2, 2)], 2)
        assert {event.revision for event in await take(store.watch("", 1), 3)} == {2}

    run(name, tmp_path, test)


def test_a_put_of_the_same_value_is_a_write(name: str, tmp_path: Path) -> None:
    async def test(store: Store) -> None:
        await store.commit([Put("a", b"1")])
        assert await store.commit([Put("a", b"1")]) == 2

    run(name, tmp_path, test)


@pytest.mark.parametrize("value", [b"", b"\x00\xff", b"x" * 300_000])
def test_values_are_bytes(name: str, tmp_path: Path, value: bytes) -> None:
    async def test(store: Store) -> None:
        await store.commit([Put("a", value)])
        record = await store.get("a")
        assert record is not None and record.value == value

    run(name, tmp_path, test)


@pytest.mark.parametrize(
    ("operation", "wins"),
    [
        (Put("there", b"2", None), True),
        (Put("there", b"2", 1), True),
        (Put("there", b"2", 0), False),
        (Put("there", b"2", 7), False),
        (Put("absent", b"2", None), True),
        (Put("absent", b"2", 0), True),
        (Put("absent", b"2", 1), False),
        (Delete("there", None), True),
        (Delete("there", 1), True),
        (Delete("there", 0), False),
        (Delete("there", 7), False),
        (Delete("absent", 1), False),
    ],
)
def test_compare_and_swap(name: str, tmp_path: Path, operation: Put | Delete, wins: bool) -> None:
    async def test(store: Store) -> None:
        await store.commit([Put("there", b"1")])
        if wins:
            assert await store.commit([operation]) == 2
        else:
            with pytest.raises(Conflict):
                await store.commit([operation])
            assert await store.list("") == ([Record("there", b"1", 1, 1)], 1)

    run(name, tmp_path, test)


def test_a_commit_is_all_or_nothing(name: str, tmp_path: Path) -> None:
    async def test(store: Store) -> None:
        await store.commit([Put("a", b"1")])
        with pytest.raises(Conflict, match="b is not there"):
            await store.commit([Put("a", b"2"), Delete("a2"), Put("b", b"2", expected=9)])
        assert await store.list("") == ([Record("a", b"1", 1, 1)], 1)
        assert await store.commit([Put("c", b"3")]) == 2
        assert [event.key for event in await take(store.watch("", 0), 2)] == ["a", "c"]

    run(name, tmp_path, test)


@pytest.mark.parametrize("operations", [[], [Delete("absent")], [Delete("absent", 0), Delete("absent2")]])
def test_what_changes_nothing_is_no_write(name: str, tmp_path: Path, operations: list[Put | Delete]) -> None:
    async def test(store: Store) -> None:
        await store.commit([Put("a", b"1")])
        assert await store.commit(operations) == 1
        assert await store.commit([Put("b", b"2")]) == 2
        assert [event.key for event in await take(store.watch("", 0), 2)] == ["a", "b"]

    run(name, tmp_path, test)


def test_a_key_that_comes_back_is_created_anew(name: str, tmp_path: Path) -> None:
    async def test(store: Store) -> None:
        await store.commit([Put("a", b"1")])
        await store.commit([Put("a", b"2")])
        await store.commit([Delete("a")])
        assert await store.get("a") is None
        await store.commit([Put("a", b"4", expected=0)])
        assert await store.get("a") == Record("a", b"4", revision=4, created=4)
        assert await take(store.watch("a", 0), 4) == [
            Event("a", b"1", 1, 1),
            Event("a", b"2", 2, 1),
            Event("a", None, 3, 1),
            Event("a", b"4", 4, 4),
        ]

    run(name, tmp_path, test)


def test_list_is_sorted_and_stays_below_the_prefix(name: str, tmp_path: Path) -> None:
    async def test(store: Store) -> None:
        for key in ("p/b", "p/a", "p0", "p", "p/a.b", "o/z", "p/a/c"):
            await store.commit([Put(key, b"")])
        records, revision = await store.list("p/")
        assert [record.key for record in records] == ["p/a", "p/a.b", "p/a/c", "p/b"]
        assert revision == 7
        assert await store.list("p/z") == ([], 7)

    run(name, tmp_path, test)


@pytest.mark.parametrize("key", ["", "/a", "a/", "ä", "a\x00", "a\n", "x" * 2000])
def test_a_bad_key_is_a_mistake(name: str, tmp_path: Path, key: str) -> None:
    async def test(store: Store) -> None:
        for attempt in (store.commit([Put(key, b"")]), store.commit([Delete(key)]), store.get(key)):
            with pytest.raises(ValueError, match=r"no key|no prefix"):
                await attempt

    run(name, tmp_path, test)


def test_two_operations_on_one_key_are_a_mistake(name: str, tmp_path: Path) -> None:
    async def test(store: Store) -> None:
        with pytest.raises(ValueError, match="one key"):
            await store.commit([Put("a", b""), Delete("a")])

    run(name, tmp_path, test)


def test_a_watch_goes_on_where_the_list_ended(name: str, tmp_path: Path) -> None:
    async def test(store: Store) -> None:
        await store.commit([Put("p/a", b"1"), Put("q/a", b"1")])
        _, revision = await store.list("p/")
        async with aclosing(store.watch("p/", revision)) as events:  # type: ignore[type-var]
            waiting = asyncio.ensure_future(anext(events))
            await asyncio.sleep(0)
            await store.commit([Put("q/b", b"2")])
            await store.commit([Put("p/b", b"3")])
            assert await waiting == Event("p/b", b"3", 3, 3)

    run(name, tmp_path, test)


def test_a_watch_resumes_after_any_revision(name: str, tmp_path: Path) -> None:
    async def test(store: Store) -> None:
        for number in range(1, 21):
            await store.commit([Put(f"k{number % 3}", b"%d" % number)])
        whole = await replay(store, "", 0, 20)
        assert [event.revision for event in whole] == list(range(1, 21))
        for after in range(20):
            assert await replay(store, "", after, 20) == whole[after:]

    run(name, tmp_path, test)


def test_all_events_of_a_commit_come_without_a_pause(name: str, tmp_path: Path) -> None:
    """A reader that takes until it would have to wait has whole commits: the controller relies on it."""

    async def test(store: Store) -> None:
        seen: list[int] = []

        async def read() -> None:
            async for event in store.watch("", 0):
                seen.append(event.revision)

        reader = asyncio.create_task(read())
        for _ in range(50):
            await store.commit([Put(f"k{n}", b"") for n in range(7)])
            await asyncio.sleep(0)
            assert len(seen) % 7 == 0
        while len(seen) < 350:
            await asyncio.sleep(0)
            assert len(seen) % 7 == 0
        reader.cancel()

    run(name, tmp_path, test)


def test_watchers_see_the_same_story_under_concurrent_writers(name: str, tmp_path: Path) -> None:
    """No gap, no duplicate, no other order, whenever the watch began; and the story ends in what the list says."""
    writers, each = 8, 25

    async def write(store: Store, writer: int) -> None:
        for number in range(each):
            key = f"w/{(writer + number) % 11}"
            await store.commit([Put(key, b"%d.%d" % (writer, number)), Put(f"own/{writer}/{number}", b"")])
            if number % 5 == 4:
                await store.commit([Delete(f"own/{writer}/{number}")])

    async def test(store: Store) -> None:
        end = writers * each + writers * (each // 5)
        watchers = [asyncio.create_task(replay(store, "", 0, end))]
        async with asyncio.TaskGroup() as group:
            for writer in range(writers):
                group.create_task(write(store, writer))
            for _ in range(10):
                await store.commit([Delete("absent")])
                _, revision = await store.list("")
                watchers.append(asyncio.create_task(replay(store, "", min(revision, end - 1), end)))
        whole = await watchers[0]
        assert sorted({event.revision for event in whole}) == list(range(1, end + 1))
        assert [event.revision for event in whole] == sorted(event.revision for event in whole)
        assert len({(event.key, event.revision) for event in whole}) == len(whole)
        for watcher in watchers[1:]:
            later = await watcher
            assert later == whole[len(whole) - len(later) :]
            missed = whole[: len(whole) - len(later)]
            assert not missed or missed[-1].revision < later[0].revision
        assert _outcome(whole) == (await store.list(""))[0]

    run(name, tmp_path, test)


def _outcome(events: list[Event]) -> list[Record]:
    records: dict[str, Record] = {}
    for key, value, revision, created in events:
        if value is None:
            assert records.pop(key).created == created
        else:
            records[key] = Record(key, value, revision, created)
    return sorted(records.values())


def test_one_of_many_wins_a_race(name: str, tmp_path: Path) -> None:
    async def test(store: Store) -> None:
        attempts = [store.commit([Put("lock", b"%d" % n, expected=0)]) for n in range(20)]
        results = await asyncio.gather(*attempts, return_exceptions=True)
        assert sum(isinstance(result, int) for result in results) == 1
        assert sum(isinstance(result, Conflict) for result in results) == 19
        assert (await store.list(""))[1] == 1

    run(name, tmp_path, test)


def test_no_increment_is_lost(name: str, tmp_path: Path) -> None:
    async def add(store: Store) -> None:
        while True:
            record = await store.get("n")
            assert record is not None
            try:
                await store.commit([Put("n", b"%d" % (int(record.value) + 1), expected=record.revision)])
            except Conflict:
                continue
            return

    async def test(store: Store) -> None:
        await store.commit([Put("n", b"0")])
        await asyncio.gather(*(add(store) for _ in range(25)))
        record = await store.get("n")
        assert record is not None and (record.value, record.revision) == (b"25", 26)

    run(name, tmp_path, test)


def test_compaction_keeps_what_is_and_forgets_how_it_became(name: str, tmp_path: Path) -> None:
    async def test(store: Store) -> None:
        await store.commit([Put("old", b"1")])
        for number in range(2, 8):
            await store.commit([Put("a", b"%d" % number)])
        await store.commit([Delete("a")])
        before = await store.list("")
        await store.compact(6)
        assert await store.list("") == before
        for after in range(6):
            with pytest.raises(Compacted):
                await anext(store.watch("", after))
        assert [event.revision for event in await replay(store, "", 6, 8)] == [7, 8]
        assert await store.commit([Put("b", b"")]) == 9

    run(name, tmp_path, test)


def test_compaction_never_goes_back_nor_beyond_the_end(name: str, tmp_path: Path) -> None:
    async def test(store: Store) -> None:
        for number in range(5):
            await store.commit([Put("a", b"%d" % number)])
        await store.compact(4)
        await store.compact(2)
        with pytest.raises(Compacted):
            await anext(store.watch("", 3))
        await store.compact(1_000_000)
        assert await store.commit([Put("a", b"")]) == 6
        assert [event.revision for event in await take(store.watch("", 5), 1)] == [6]

    run(name, tmp_path, test)


def test_a_watch_from_a_revision_that_never_was_must_list_again(name: str, tmp_path: Path) -> None:
    """It comes from another life of the store (a backup was restored): waiting would be waiting for ever."""

    async def test(store: Store) -> None:
        await store.commit([Put("a", b"")])
        with pytest.raises(Compacted):
            await anext(store.watch("", 2))

    run(name, tmp_path, test)


def test_a_watcher_that_is_too_slow_must_list_again(name: str, tmp_path: Path) -> None:
    async def test(store: Store) -> None:
        slow, quick = store.watch("", 0), store.watch("", 0)
        first = asyncio.ensure_future(anext(slow))
        await asyncio.sleep(0)
        await store.commit([Put("a", b"0")])
        assert (await first).revision == 1
        for number in range(1, 12):
            await store.commit([Put("a", b"%d" % number)])
            assert (await anext(quick)).revision == number
        with pytest.raises(Compacted, match="behind"):
            await take(slow, 11)
        assert (await take(quick, 1))[0].revision == 12

    run(name, tmp_path, test, watch_limit=10)


def test_other_prefixes_do_not_make_a_watcher_slow(name: str, tmp_path: Path) -> None:
    async def test(store: Store) -> None:
        events = store.watch("p/", 0)
        first = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        await store.commit([Put("p/a", b"")])
        await first
        for _ in range(30):
            await store.commit([Put("q/a", b"")])
        await store.commit([Put("p/b", b"")])
        assert (await anext(events)).key == "p/b"

    run(name, tmp_path, test, watch_limit=10)


def test_a_cancelled_watch_leaves_nothing_behind(name: str, tmp_path: Path) -> None:
    async def test(store: Store) -> None:
        async def read() -> None:
            async for _ in store.watch("", 0):
                pass

        reader = asyncio.create_task(read())
        await store.commit([Put("a", b"")])
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        for _ in range(15):  # beyond the limit: nobody is behind
            await store.commit([Put("a", b"")])
        assert (await store.list(""))[1] == 16

    run(name, tmp_path, test, watch_limit=10)


def test_a_closed_store_says_so(name: str, tmp_path: Path) -> None:
    async def test(store: Store) -> None:
        await store.commit([Put("a", b"")])
        events = store.watch("", 1)
        waiting = asyncio.ensure_future(anext(events))
        await store.list("")
        await asyncio.sleep(0)
        await store.close()
        await store.close()
        with pytest.raises(Unavailable):
            await waiting
        for attempt in (store.get("a"), store.list(""), store.commit([Put("a", b"")]), anext(store.watch("", 0)), store.compact(1)):
            with pytest.raises(Unavailable):
                await attempt

    run(name, tmp_path, test)
