# SPDX-License-Identifier: Apache-2.0
"""Processes that the demo has started, by name. `end` ends them all, and nobody else's."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

GRACE_SECONDS = 5.0
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Who wants to end the demo meanwhile is heard at the end of the block: a process that was started but not noted yet would stay behind.
    Signals are not blocked for this, because children inherit that."""
    came: list[int] = []
    handlers = {number: signal.signal(number, lambda number, _: came.append(number)) for number in ENDINGS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])


class Processes:
    """Each in a session of its own, so that Ctrl-C reaches only the demo, which then ends them; its output goes into `logs`/NAME.log."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    @undisturbed()
    def end(self) -> None:
        for one in self._running.values():
            one.terminate()
        for one in self._running.values():
            try:
                one.wait(timeout=GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                one.kill()
                one.wait()

    def start(self, name: str, command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        """In place of one of the same name that has ended."""
        with undisturbed(), (self._logs / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                command, env=os.environ | dict(env or {}), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def kill(self, name: str) -> None:
        """By SIGKILL."""
        self._running[name].kill()
        self._running[name].wait()

    def started(self, name: str) -> int:
        """Its process id: another one after a restart."""
        return self._running[name].pid

    def check(self) -> None:
        """Raises RuntimeError with the end of the log when one has ended by itself."""
        for name, one in self._running.items():
            if one.poll() is not None:
                said = (self._logs / f"{name}.log").read_text(errors="replace")[-1500:]
                raise RuntimeError(f"{name} ended with status {one.returncode}: {said}")
