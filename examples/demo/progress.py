# SPDX-License-Identifier: Apache-2.0
"""What a playbook does right now, while it runs: on a terminal one line that is written anew, elsewhere a line now and then."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.markup import escape

LINE_SECONDS = 10.0
TASK = re.compile(r"(?:TASK|RUNNING HANDLER) \[(?:meshwright\.mesh\.)?(.+?)\] \*+$")
HOST = re.compile(r"(?:ok|changed|skipping|failed|fatal): \[([^\] ]+)")


def spell(seconds: float) -> str:
    """'12 s', '3 min 5 s'"""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def shown(path: Path) -> str:
    """Short where it is below the working directory."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


class Watch:
    """`with Watch(console, "site", log) as watch: watch.line(...)` for each line of Ansible's output."""

    def __init__(self, console: Console, name: str, log: Path) -> None:
        self._console = console
        self._name = name
        self._log = log
        self._now = "starts"
        self._host = ""
        self._begun = time.monotonic()
        self._ended = threading.Event()
        self._ticks = threading.Thread(target=self._tick, daemon=True)
        self._status = console.status(self._text()) if console.is_terminal else None

    def __enter__(self) -> Watch:
        self._console.print(f"  [dim]{escape(self._name)}: full log in {escape(shown(self._log))}[/]", soft_wrap=True)
        if self._status is not None:
            self._status.start()
        self._ticks.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._ticks.join()
        if self._status is not None:
            self._status.stop()

    def line(self, text: str) -> None:
        task, host = TASK.match(text.rstrip()), HOST.match(text)
        if task:
            self._now, self._host = task[1], ""
        elif host:
            self._host = f" ({host[1]})"

    def _text(self) -> str:
        return f"{escape(self._name)}, {spell(time.monotonic() - self._begun)}: {escape(self._now + self._host)}"

    def _tick(self) -> None:
        while not self._ended.wait(0.3 if self._status is not None else LINE_SECONDS):
            if self._status is not None:
                self._status.update(self._text())
            else:
                self._console.print(f"  [dim]{self._text()}[/]", soft_wrap=True)
