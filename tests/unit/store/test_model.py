# SPDX-License-Identifier: Apache-2.0
"""Any history of operations: the store says what a few lines of plain Python say."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from meshwright.errors import Compacted, Conflict
from meshwright.store.base import Delete, Event, Put, Record, Store
from meshwright.store.memory import MemoryStore
from meshwright.store.sqlite import SqliteStore
from tests.unit.store.stores import replay

KEYS = ("a/1", "a/2", "a/2x", "b/1", "c")
operations = st.lists(
    st.tuples(st.sampled_from(KEYS), st.none() | st.binary(max_size=3), st.sampled_from(("any", "absent", "right", "wrong"))),
    max_size=4,
    unique_by=lambda item: item[0],
)


class StoreMachine(RuleBasedStateMachine):
    """The model: `current`, and `log` with the revision up to which it is forgotten."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.current: dict[str, Record] = {}
        self.log: list[Event] = []
        self.revision = 0
        self.compacted = 0
        self.store: Store = self.runner.run(self.make())

    async def make(self) -> Store:
        return MemoryStore()

    def _operation(self, key: str, value: bytes | None, expects: str) -> Put | Delete:
        at = self.current[key].revision if key in self.current else 0
        expected = {"any": None, "absent": 0, "right": at, "wrong": at + 1}[expects]
        return Delete(key, expected) if value is None else Put(key, value, expected)

    @rule(wanted=operations)
    def commit(self, wanted: list[tuple[str, bytes | None, str]]) -> None:
        made = [self._operation(*item) for item in wanted]
        at = {key: record.revision for key, record in self.current.items()}
        if any(o.expected is not None and o.expected != at.get(o.key, 0) for o in made):
            with pytest.raises(Conflict):
                self.runner.run(self.store.commit(made))
            return
        events = [self._apply(o) for o in made if isinstance(o, Put) or o.key in self.current]
        self.revision += 1 if events else 0
        self.log.extend(events)
        assert self.runner.run(self.store.commit(made)) == self.revision

    def _apply(self, operation: Put | Delete) -> Event:
        key, revision = operation.key, self.revision + 1
        if isinstance(operation, Delete):
            return Event(key, None, revision, self.current.pop(key).created)
        created = self.current[key].created if key in self.current else revision
        self.current[key] = Record(key, operation.value, revision, created)
        return Event(key, operation.value, revision, created)

    @rule(back=st.integers(0, 6))
    def compact(self, back: int) -> None:
        self.compacted = max(self.compacted, self.revision - back)
        self.runner.run(self.store.compact(self.revision - back))

    @rule(prefix=st.sampled_from(("", "a/", "a/2", "z")))
    def list_prefix(self, prefix: str) -> None:
        expected = sorted(record for key, record in self.current.items() if key.startswith(prefix))
        assert self.runner.run(self.store.list(prefix)) == (expected, self.revision)

    @rule(prefix=st.sampled_from(("", "a/", "b")), back=st.integers(0, 8))
    def watch(self, prefix: str, back: int) -> None:
        after = max(self.revision - back, 0)
        expected = [event for event in self.log if event.key.startswith(prefix) and event.revision > after]
        if after < self.compacted:
            with pytest.raises(Compacted):
                self.runner.run(replay(self.store, prefix, after, 1))
        elif expected:
            assert self.runner.run(replay(self.store, prefix, after, expected[-1].revision)) == expected[: self._through(expected)]

    @staticmethod
    def _through(expected: list[Event]) -> int:
        """replay stops at the first event of the last revision."""
        return next(n for n, event in enumerate(expected) if event.revision == expected[-1].revision) + 1

    @invariant()
    def keys_are_as_the_model_says(self) -> None:
        for key in KEYS:
            assert self.runner.run(self.store.get(key)) == self.current.get(key)

    def teardown(self) -> None:
        self.runner.run(self.store.close())
        self.runner.close()


class SqliteMachine(StoreMachine):
    """The same, with the file closed and opened again now and then."""

    async def make(self) -> Store:
        self.directory = Path(tempfile.mkdtemp())
        return await SqliteStore.open(self.directory / "store.db")

    @rule()
    def reopen(self) -> None:
        self.runner.run(self.store.close())
        self.store = self.runner.run(SqliteStore.open(self.directory / "store.db"))

    def teardown(self) -> None:
        super().teardown()
        shutil.rmtree(self.directory)


_quiet = {"derandomize": True, "deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
StoreMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=25, **_quiet)
SqliteMachine.TestCase.settings = settings(max_examples=8, stateful_step_count=20, **_quiet)
TestMemory = StoreMachine.TestCase
TestSqlite = SqliteMachine.TestCase
