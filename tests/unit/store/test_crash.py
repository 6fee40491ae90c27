# SPDX-License-Identifier: Apache-2.0
"""kill -9 in the midst of writing: what was acknowledged is there, what is there is whole."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from meshwright.store.base import Record
from meshwright.store.sqlite import SqliteStore

WRITER = """
import asyncio, os, sys
from pathlib import Path
from meshwright.store.base import Delete, Put
from meshwright.store.sqlite import SqliteStore

async def write(store, writer, number):
    while True:
        number += 1
        value = b"%d" % number * (number % 50 + 1)
        revision = await store.commit([Put(f"a/{writer}", value), Put(f"b/{writer}", value), Put(f"n/{writer}/{number}", b"")])
        os.write(1, b"%d %d %d\\n" % (writer, number, revision))
        if number % 7 == 0:
            await store.compact(revision - 50)

async def main():
    store = await SqliteStore.open(Path(sys.argv[1]))
    first = int(sys.argv[2])
    os.write(1, b"ready\\n")
    await asyncio.gather(*(write(store, writer, first) for writer in range(4)))

asyncio.run(main())
"""


def _write_and_kill(path: Path, first: int, acknowledged: int) -> list[tuple[int, int, int]]:
    """(writer, number, revision) of every commit that was acknowledged before the kill took effect."""
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(first)], stdout=subprocess.PIPE, env={"PYTHONPATH": "src"})
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    lines = [process.stdout.readline() for _ in range(acknowledged)]
    process.send_signal(signal.SIGKILL)
    lines += process.stdout.read().splitlines(keepends=True)
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL
    whole = [line.split() for line in lines if line.endswith(b"\n")]
    return [(int(writer), int(number), int(revision)) for writer, number, revision in whole]


async def _read(path: Path) -> tuple[dict[str, Record], int]:
    store = await SqliteStore.open(path)
    records, revision = await store.list("")
    await store.close()
    return {record.key: record for record in records}, revision


@pytest.mark.parametrize("lane", [0, 1])
def test_every_acknowledged_commit_survives(tmp_path: Path, lane: int) -> None:
    """Ten times on one file, each time after another number of commits; then the same on another."""
    path = tmp_path / "store.db"
    seen: list[tuple[int, int, int]] = []
    for life in range(10):
        acknowledged = _write_and_kill(path, 10_000 * life, 1 + 7 * life + 3 * lane)
        assert len(acknowledged) >= 1
        seen += acknowledged
        records, revision = asyncio.run(_read(path))
        assert revision >= max(r for _, _, r in seen)
        for writer, number, at in seen:
            assert records[f"n/{writer}/{number}"].revision == at
        for writer in range(4):  # the two halves of a commit are both there or both not
            one, other = records.get(f"a/{writer}"), records.get(f"b/{writer}")
            assert (one is None and other is None) or (one is not None and other is not None and one[1:3] == other[1:3])
    assert len({at for _, _, at in seen}) == len(seen)
