# SPDX-License-Identifier: Apache-2.0
"""The stores under test, by name; and small steps that every test makes with them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

from meshwright.store.base import Event, Store
from meshwright.store.memory import MemoryStore
from meshwright.store.sqlite import SqliteStore

STORES = ("memory", "sqlite")
DEADLINE = 20.0  # of a step that can't be waiting for anything but a slow machine


@asynccontextmanager
async def opened(name: str, directory: Path, **options: Any) -> AsyncIterator[Store]:
    store = MemoryStore(**options) if name == "memory" else await SqliteStore.open(directory / "db" / "store.db", **options)
    try:
        yield store
    finally:
        await store.close()


def run(name: str, directory: Path, test: Callable[[Any], Awaitable[None]], **options: Any) -> None:
    """Runs `test(store)` in a loop of its own."""

    async def main() -> None:
        async with asyncio.timeout(DEADLINE), opened(name, directory, **options) as store:
            await test(store)

    asyncio.run(main())


async def take(events: AsyncIterator[Event], count: int) -> list[Event]:
    return [await anext(events) for _ in range(count)]


async def replay(store: Store, prefix: str, after: int, until: int) -> list[Event]:
    """All events up to and including revision `until`, which must be one with an event below the prefix."""
    found = []
    async with aclosing(store.watch(prefix, after)) as events:  # type: ignore[type-var]
        async for event in events:
            found.append(event)
            if event.revision >= until:
                break
    return found
