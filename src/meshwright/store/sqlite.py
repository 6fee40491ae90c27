# SPDX-License-Identifier: Apache-2.0
"""The store on SQLite: one process owns the file, one thread writes it, one reads it, watchers are fed from memory.

Commits that wait while the disk syncs are taken together into one transaction (one fsync for many), each with a revision of its own.
Overflow policy of the writer's queue: a commit beyond `MAX_WAITING` is refused with Unavailable at once, nothing is written.
A commit whose caller was cancelled may or may not have been written, as with any store at the other end of a wire.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

from meshwright.errors import Conflict, MeshwrightError, Unavailable
from meshwright.store import sqlite_log
from meshwright.store.base import Delete, Event, Put, Record
from meshwright.store.broadcast import DEFAULT_LIMIT, Broadcast
from meshwright.store.keys import check_key, check_operations, check_prefix
from meshwright.store.sqlite_file import OpenFile, explain, open_file

MAX_WAITING = 2_000
_GROUP = 200  # commits in one transaction
_HISTORY_ROWS = 1_000  # rows of the log that a watcher reads at a time
_T = TypeVar("_T")


class _Job(NamedTuple):
    """A commit, or (`compact` set) one step of compaction. `done` belongs to the event loop."""

    done: asyncio.Future[int]
    operations: tuple[Put | Delete, ...] = ()
    compact: int | None = None


class _Outcome(NamedTuple):
    job: _Job
    result: int | MeshwrightError
    events: list[Event]


class SqliteStore:
    """Implements store.base.Store; made by `open`, in the event loop that it is used in."""

    def __init__(self, opened: OpenFile, watch_limit: int) -> None:
        self._file = opened
        self._loop = asyncio.get_running_loop()
        self._revision = sqlite_log.number(opened.writer, "revision")  # the writer thread's
        self._broadcast = Broadcast(self._revision, watch_limit)
        self._jobs: queue.Queue[_Job | None] = queue.Queue(MAX_WAITING)
        self._readers = ThreadPoolExecutor(1, thread_name_prefix="store-read")
        self._closed = False
        self._writer = threading.Thread(target=self._write_forever, name="store-write", daemon=True)
        self._writer.start()

    @classmethod
    async def open(cls, path: Path, *, max_bytes: int = 4 << 30, watch_limit: int = DEFAULT_LIMIT) -> SqliteStore:
        """Makes the file (0600) and its directory (0700) where they are missing. `max_bytes` bounds the file, `watch_limit` the events
        that a watcher may be behind. Raises ConfigError (wrong owner, modes or form of the file), Unavailable (in use by another
        process, damaged, disk full, read-only)."""
        return cls(await asyncio.to_thread(open_file, path, max_bytes), watch_limit)

    async def get(self, key: str) -> Record | None:
        check_key(key)
        return await self._read(partial(sqlite_log.get, key=key))

    async def list(self, prefix: str) -> tuple[list[Record], int]:
        check_prefix(prefix)
        return await self._read(partial(sqlite_log.list_prefix, prefix=prefix))

    async def commit(self, operations: Sequence[Put | Delete]) -> int:
        checked = check_operations(operations)
        return await self._enqueue(_Job(self._loop.create_future(), checked))

    async def compact(self, revision: int) -> None:
        """In steps, so that commits go on in between."""
        while await self._enqueue(_Job(self._loop.create_future(), compact=revision)):
            pass

    async def watch(self, prefix: str, after: int) -> AsyncIterator[Event]:
        """What was committed before this moment comes from the file, the rest is pushed."""
        check_prefix(prefix)
        with self._broadcast.subscribe(prefix) as subscription:
            position, last = after, max(subscription.start, after)
            while True:
                page = partial(sqlite_log.history, prefix=prefix, span=(position, last), rows=_HISTORY_ROWS)
                events, position = await self._read(page)
                for event in events:
                    yield event
                if position >= last:
                    break
            async for event in subscription.events(last):
                yield event

    async def close(self) -> None:
        """Ends the watches, lets commits that were begun finish, closes the file."""
        if self._closed:
            return
        self._closed = True
        self._broadcast.close()
        await asyncio.to_thread(self._jobs.put, None)
        await asyncio.to_thread(self._writer.join)
        await asyncio.to_thread(self._readers.shutdown)
        await asyncio.to_thread(self._file.close)

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable("the store is closed")

    async def _read(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        self._check_open()
        try:
            return await self._loop.run_in_executor(self._readers, work, self._file.reader)
        except sqlite3.Error as error:
            raise explain(error, self._file.path) from error

    async def _enqueue(self, job: _Job) -> int:
        self._check_open()
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            raise Unavailable(f"{MAX_WAITING} commits are waiting for the disk; nothing was written: try again") from None
        return await job.done

    # -- the writer's thread ---------------------------------------

    def _write_forever(self) -> None:
        """Ends at the None in the queue, after everything before it."""
        ended = False
        while not ended:
            group = [self._jobs.get()]
            while len(group) < _GROUP and group[-1] is not None:
                try:
                    group.append(self._jobs.get_nowait())
                except queue.Empty:
                    break
            ended = group[-1] is None
            jobs = [job for job in group if job is not None]
            if jobs:
                outcomes = self._write_group(jobs)
                self._loop.call_soon_threadsafe(self._publish, outcomes, self._revision)

    def _write_group(self, jobs: Sequence[_Job]) -> Sequence[_Outcome]:
        """All of them in one transaction. When it fails as a whole, so do all, even those that had found a conflict (they may have found
        it in what was not written)."""
        writer = self._file.writer
        revision = self._revision
        outcomes = []
        try:
            if writer.in_transaction:  # a rollback that failed
                writer.execute("ROLLBACK")
            writer.execute("BEGIN IMMEDIATE")
            for job in jobs:
                outcome = self._write_one(job, revision)
                outcomes.append(outcome)
                revision += 1 if outcome.events else 0
            writer.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 (whatever it is: a dead writer would leave every commit waiting for ever)
            with suppress(sqlite3.Error):
                writer.execute("ROLLBACK")
            return [_Outcome(job, self._explain(error), []) for job in jobs]
        self._revision = revision
        return outcomes

    def _explain(self, error: Exception) -> MeshwrightError:
        if isinstance(error, sqlite3.Error):
            return explain(error, self._file.path)
        return Unavailable(f"the store at {self._file.path} failed: {error!r}")

    def _write_one(self, job: _Job, revision: int) -> _Outcome:
        writer = self._file.writer
        if job.compact is not None:
            return _Outcome(job, int(sqlite_log.compact(writer, job.compact)), [])
        try:
            events = sqlite_log.commit(writer, job.operations, revision + 1)
        except Conflict as error:
            return _Outcome(job, error, [])
        return _Outcome(job, revision + 1 if events else revision, events)

    # -- back in the loop ---------------------------------------

    def _publish(self, outcomes: Sequence[_Outcome], revision: int) -> None:
        """First the watchers, then those who wait for their commit: whoever was told of a commit finds it published."""
        events = [event for outcome in outcomes for event in outcome.events]
        if events:
            self._broadcast.publish(events, revision)
        for job, result, _ in outcomes:
            if job.done.done():
                continue
            if isinstance(result, MeshwrightError):
                job.done.set_exception(result)
            else:
                job.done.set_result(result)
