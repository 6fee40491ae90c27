# SPDX-License-Identifier: Apache-2.0
"""Requests from the shop's hosts: single ones, and a steady load that is watched for failures."""

from __future__ import annotations

import json
import shlex
import subprocess
from dataclasses import dataclass
from typing import Any

from examples.demo.mesh import Host

LOAD = 'python3 "${SHOP:-/opt/shop}/load.py"'
REVIEWS = "http://reviews.shop.mesh/reviews/1"
CATALOG = "http://catalog.shop.mesh/items"


# What curl's exit statuses say, in short.
WHY = {
    6: "there is no such name",
    7: "connection refused",
    16: "connection broken off",
    28: "no answer within 5 s",
    35: "TLS handshake refused",
    52: "connection closed without an answer",
    55: "connection broken off",
    56: "connection reset",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """`status` 0: no HTTP answer at all, and `error` says why."""

    status: int
    body: dict[str, Any]
    error: str

    def __str__(self) -> str:
        return f"HTTP status {self.status}" if self.status else self.error


def get(host: Host, user: str, url: str, *words: str) -> Answer:
    """One GET by curl on a host, as one of its users."""
    command = shlex.join(["curl", "-gsS", "--max-time", "5", "-w", "\n%{http_code}", *words, url])
    done = host.run(user, command, check=False)
    text, _, status = done.stdout.strip().rpartition("\n")
    try:
        body = json.loads(text)
    except ValueError:
        body = {}
    why = WHY.get(done.returncode, done.stderr.strip()[-160:])
    return Answer(int(status or 0), body if isinstance(body, dict) else {}, why)


class Load:
    """A steady load in the background: `with Load(host, "frontend", URL, rate=100) as load: ...`, then `load.result`."""

    def __init__(self, host: Host, user: str, url: str, *, rate: float = 100.0) -> None:
        self.result: dict[str, Any] = {}
        command = f"exec {LOAD} {shlex.quote(url)} --rate {rate} --until-eof"
        self._process = subprocess.Popen(
            host.as_user(user, command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Load:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line.strip() != "started":
            _, said = self._process.communicate(timeout=60)
            raise RuntimeError(f"no load: no request was answered: {line.strip()} {said.strip()[-300:]}")
        return self

    def __exit__(self, *_: object) -> None:
        out, said = self._process.communicate(timeout=60)
        lines = out.strip().splitlines()
        if not lines:
            raise RuntimeError(f"the load generator died: {said.strip()[-300:]}")
        self.result = json.loads(lines[-1])

    def figure(self) -> str:
        result = self.result
        failed = f"{result['failed']} of {result['requests']:,} requests failed"
        why = f" ({result['failures']})" if result["failed"] else ""
        times = f"99 % answered within {result['p99_ms']:.0f} ms, the slowest in {result['max_ms']:.0f} ms"
        return f"{failed}{why} at {result['rate']:.0f} a second; {times}"


def burst(host: Host, user: str, url: str, *, count: int, rate: float) -> dict[str, Any]:
    """A fixed number of requests; load.py's outcome."""
    done = host.run(user, f"{LOAD} {shlex.quote(url)} --count {count} --rate {rate}", timeout=count / rate + 60)
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))
