# SPDX-License-Identifier: Apache-2.0
"""What the demo found: one line a check, as it happens, and all of them at the end, for people and as JSON."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Check:
    """`figure` says what was measured or seen, for a person."""

    name: str
    passed: bool
    figure: str


@dataclass
class Report:
    console: Console
    checks: list[Check] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def title(self, text: str) -> None:
        self.console.rule(f"[bold]{escape(text)}[/]  [dim]{time.monotonic() - self.started:.0f} s[/]", align="left")

    def say(self, text: str) -> None:
        self.console.print(f"  [dim]{escape(text)}[/]")

    def check(self, name: str, passed: bool, figure: str) -> bool:
        """Notes it and gives `passed` back. Each name is used once."""
        if any(one.name == name for one in self.checks):
            raise ValueError(f"there is a check {name!r} already")
        figure = " ".join(figure.split())
        self.checks.append(Check(name, passed, figure))
        self.console.print(f"  {_mark(passed)} {escape(name)}: [dim]{escape(figure)}[/]")
        return passed

    @property
    def passed(self) -> bool:
        return bool(self.checks) and all(one.passed for one in self.checks)

    def table(self) -> Table:
        good = sum(one.passed for one in self.checks)
        made = Table(title=f"{good} of {len(self.checks)} in {time.monotonic() - self.started:.0f} s", title_justify="left")
        for heading in ("", "what", "seen"):
            made.add_column(heading, overflow="fold")
        for one in self.checks:
            made.add_row(_mark(one.passed), escape(one.name), escape(one.figure))
        return made

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps([asdict(one) for one in self.checks], indent=2, ensure_ascii=False) + "\n")


def _mark(passed: bool) -> str:
    return "[green]✔[/]" if passed else "[red]✘[/]"
