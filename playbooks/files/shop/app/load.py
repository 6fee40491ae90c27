# SPDX-License-Identifier: Apache-2.0
"""load.py URL [--rate N] [--count N | --seconds S | --until-eof] [--fresh SHARE]: sends GET requests at a fixed rate, whatever the
answers do (so that a slow server is seen as such), a share of them on new connections, the others on connections that are kept. No
retries: whatever is not a whole answer with status 200 within five seconds is a failure. Writes `started` after the first good answer (and
gives up when there is none within 15 seconds), and at the end one line of JSON: {"requests", "failed", "failures": {kind: n}, "versions":
{version: n}, "seconds", "rate", "p50_ms", "p99_ms", "max_ms", "late_ms"}."""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import os
import sys
import time
from typing import NamedTuple
from urllib.parse import urlsplit

DEADLINE_SECONDS = 5.0
FIRST_ANSWER_SECONDS = 15.0
MAX_IN_FLIGHT = 512


class Stream(NamedTuple):
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class Load:
    """One run against one URL."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        envoy, _colon, port = os.environ.get("SHOP_ENVOY", "").rpartition(":")  # where the mesh's names can't be looked up
        self.host, self.port = (envoy, int(port)) if envoy else (parts.hostname or "", parts.port or 80)
        self.path = parts.path or "/"
        self.authority = parts.netloc
        self.idle: list[Stream] = []
        self.failures: collections.Counter[str] = collections.Counter()
        self.versions: collections.Counter[str] = collections.Counter()
        self.milliseconds: list[float] = []
        self.late = 0.0
        self.requests = 0

    async def one(self, *, fresh: bool) -> None:
        """One request; never raises but for cancellation."""
        self.requests += 1
        begun = time.monotonic()
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                status, body = await self._request(fresh)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
            self.failures[f"{type(error).__name__}: {error}"[:80]] += 1
            return
        finally:
            self.milliseconds.append((time.monotonic() - begun) * 1000)
        if status != 200:
            self.failures[f"status {status}"] += 1
            return
        if not self.versions:
            print("started", flush=True)
        self.versions[str(json.loads(body).get("version"))] += 1

    async def _request(self, fresh: bool) -> tuple[int, bytes]:
        stream = self.idle.pop() if self.idle and not fresh else Stream(*await asyncio.open_connection(self.host, self.port))
        keep = False
        try:
            close = "connection: close\r\n" if fresh else ""
            stream.writer.write(f"GET {self.path} HTTP/1.1\r\nhost: {self.authority}\r\n{close}\r\n".encode())
            await stream.writer.drain()
            head = (await stream.reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
            headers = dict(line.split(": ", 1) for line in head[1:] if ": " in line)
            body = await stream.reader.readexactly(int(headers["content-length"]))
            keep = not fresh and headers.get("connection") != "close"
            return int(head[0].split()[1]), body
        except KeyError as error:
            raise ValueError(f"no {error} in the answer") from None
        finally:
            if keep:
                self.idle.append(stream)
            else:
                stream.writer.close()

    def outcome(self, seconds: float) -> dict[str, object]:
        ordered = sorted(self.milliseconds) or [0.0]
        return {
            "requests": self.requests,
            "failed": sum(self.failures.values()),
            "failures": dict(self.failures),
            "versions": dict(self.versions),
            "seconds": round(seconds, 2),
            "rate": round(self.requests / seconds, 1),
            "p50_ms": round(ordered[len(ordered) // 2], 2),
            "p99_ms": round(ordered[int(len(ordered) * 0.99)], 2),
            "max_ms": round(ordered[-1], 2),
            "late_ms": round(self.late * 1000, 1),
        }


async def generate(load: Load, options: argparse.Namespace) -> float:
    """Sends until enough was sent; the seconds that took."""
    begun = time.monotonic()
    ended = asyncio.Event()
    if options.until_eof:
        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), lambda: os.read(sys.stdin.fileno(), 4096) or ended.set())
    running: set[asyncio.Task[None]] = set()
    sent = 0
    while not ended.is_set() and sent < options.count and time.monotonic() - begun < options.seconds:
        if not load.versions and time.monotonic() - begun > FIRST_ANSWER_SECONDS:
            break
        fresh = int((sent + 1) * options.fresh) > int(sent * options.fresh)
        if len(running) >= MAX_IN_FLIGHT:
            load.requests += 1
            load.failures["too many in flight"] += 1
        else:
            task = asyncio.create_task(load.one(fresh=fresh))
            running.add(task)
            task.add_done_callback(running.discard)
        sent += 1
        wait = begun + sent / options.rate - time.monotonic()
        load.late = max(load.late, -wait)
        await asyncio.sleep(max(0.0, wait))
    await asyncio.gather(*running)
    for stream in load.idle:
        stream.writer.close()
    return time.monotonic() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--rate", type=float, default=100.0, help="requests a second")
    parser.add_argument("--count", type=int, default=10**9)
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--until-eof", action="store_true", help="until standard input ends")
    parser.add_argument("--fresh", type=float, default=0.3, help="share of requests on new connections")
    options = parser.parse_args()
    load = Load(options.url)
    seconds = asyncio.run(generate(load, options))
    print(json.dumps(load.outcome(seconds)), flush=True)


if __name__ == "__main__":
    main()
