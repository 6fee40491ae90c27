# SPDX-License-Identifier: Apache-2.0
"""The load generator must see what fails: all figures of "no failed request" rest on it."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable, Callable

from playbooks.files.shop.app import load

Answerer = Callable[[int, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bool]]
GOOD = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 17\r\n\r\n{"version": "v1"}'
LIMITS = {"seconds": 30.0, "until_eof": False, "rate": 500.0}


async def run(answerer: Answerer, *, count: int = 40, fresh: float = 0.0) -> tuple[load.Load, int]:
    """The finished load, and how many connections the server saw. `answerer` gets the number of the request; False ends the connection."""
    requests = connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests, connections
        connections += 1
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                requests += 1
                if not await answerer(requests, reader, writer):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        made = load.Load(f"http://127.0.0.1:{port}/")
        await load.generate(made, argparse.Namespace(count=count, fresh=fresh, **LIMITS))
    return made, connections


async def good(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    writer.write(GOOD)
    await writer.drain()
    return True


def test_good_answers() -> None:
    made, connections = asyncio.run(run(good, fresh=0.25))
    outcome = made.outcome(1.0)
    assert (outcome["requests"], outcome["failed"], outcome["versions"]) == (40, 0, {"v1": 40})
    assert connections >= 10  # a quarter on connections of their own


def test_kept_connections_are_used_again() -> None:
    _, connections = asyncio.run(run(good))
    assert connections < 40


def test_another_status_is_a_failure() -> None:
    async def sometimes(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        writer.write(GOOD if number % 4 else GOOD.replace(b"200 OK", b"503 No"))
        await writer.drain()
        return True

    made, _ = asyncio.run(run(sometimes))
    assert dict(made.failures) == {"status 503": 10} and made.versions["v1"] == 30


def test_a_connection_that_ends_in_the_middle_is_a_failure() -> None:
    async def half(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        writer.write(GOOD if number != 5 else GOOD[:-3])
        await writer.drain()
        return number != 5

    made, _ = asyncio.run(run(half))
    assert made.requests == 40 and sum(made.failures.values()) == 1 and "IncompleteReadError" in next(iter(made.failures))


def test_nobody_there_is_a_failure() -> None:
    async def gone() -> load.Load:
        async with await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
        made = load.Load(f"http://127.0.0.1:{port}/")
        await load.generate(made, argparse.Namespace(count=5, fresh=0.0, **LIMITS))
        return made

    made = asyncio.run(gone())
    assert made.outcome(1.0)["failed"] == 5 and not made.versions
