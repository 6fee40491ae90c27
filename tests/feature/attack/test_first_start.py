# SPDX-License-Identifier: Apache-2.0
"""The first administrator's token, when the first start is cut short: nobody is locked out, and nothing stays that is no token."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from meshwright.api.auth import Authenticator
from meshwright.app import admin_token
from meshwright.clock import SystemClock
from meshwright.store.base import Delete, Put
from meshwright.store.memory import MemoryStore


class Killed(BaseException):
    """As kill -9: nothing catches it."""


class Dying(MemoryStore):
    """Dies around its next commit. `after`: the commit is done."""

    def __init__(self) -> None:
        super().__init__()
        self.after: bool | None = None

    async def commit(self, operations: Sequence[Put | Delete]) -> int:
        if self.after is False:
            raise Killed
        revision = await super().commit(operations)
        if self.after is True:
            raise Killed
        return revision


@pytest.mark.parametrize("after", [False, True])
def test_a_start_cut_short_around_the_commit(tmp_path: Path, after: bool) -> None:
    async def walk() -> None:
        store, clock = Dying(), SystemClock()
        store.after = after
        with pytest.raises(Killed):
            await admin_token(store, clock, tmp_path)
        store.after = None
        await admin_token(store, clock, tmp_path)
        token = (tmp_path / "admin.token").read_text().strip()
        principal = await Authenticator(store, clock).principal(f"Bearer {token}")
        assert principal.name == "admin"
        assert [path.name for path in tmp_path.iterdir()] == ["admin.token"]
        assert (tmp_path / "admin.token").stat().st_mode & 0o777 == 0o600
        records, _ = await store.list("tokens/")
        assert len(records) == 1

    asyncio.run(walk())


def test_a_token_that_was_taken_back_does_not_come_back(tmp_path: Path) -> None:
    async def walk() -> None:
        store, clock = MemoryStore(), SystemClock()
        await admin_token(store, clock, tmp_path)
        (record,), _ = await store.list("tokens/")
        await store.commit([Delete(record.key)])
        await admin_token(store, clock, tmp_path)
        assert (await store.list("tokens/"))[0] == []

    asyncio.run(walk())
