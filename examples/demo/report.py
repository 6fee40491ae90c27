# SPDX-License-Identifier: Apache-2.0
"""What the demo found: one line a check, as it happens, and all of them at the end, for people and as JSON."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from examples.demo.progress import spell


@dataclass(frozen=True, slots=True)
class Check:
    """`figure` says what was measured or seen, for a person. `passed` None: it can't be shown here, and `figure` says why."""

    name: str
    passed: bool | None
    figure: str


@dataclass
class Report:
    console: Console
    checks: list[Check] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def title(self, text: str) -> None:
        elapsed = time.monotonic() - self.started
        after = f"  [dim](after {spell(elapsed)})[/]" if elapsed >= 1 else ""
        self.console.print()
        self.console.rule(f"[bold]{escape(text)}[/]{after}", align="left")

    def say(self, text: str) -> None:
        self.console.print(f"  [dim]{escape(text)}[/]")

    def check(self, name: str, passed: bool, figure: str) -> bool:
        """Notes it and gives `passed` back. Each name is used once."""
        self._note(Check(name, passed, " ".join(figure.split())))
        return passed

    def leave_out(self, name: str, reason: str) -> None:
        """Notes a check that can't be made in this form of the demo."""
        self._note(Check(name, None, f"not shown here: {reason}"))

    def _note(self, check: Check) -> None:
        if any(one.name == check.name for one in self.checks):
            raise ValueError(f"there is a check {check.name!r} already")
        self.checks.append(check)
        self.console.print(f"  {_mark(check.passed)} {escape(check.name)}", highlight=False)
        self.console.print(Padding(f"[dim]{escape(check.figure)}[/]", (0, 0, 0, 4)))

    @property
    def passed(self) -> bool:
        """Nothing broke, and something was shown."""
        return any(one.passed for one in self.checks) and all(one.passed is not False for one in self.checks)

    def table(self) -> Table:
        kept = sum(one.passed is True for one in self.checks)
        broken = sum(one.passed is False for one in self.checks)
        left_out = len(self.checks) - kept - broken
        counts = [f"{kept} of {kept + broken} checks passed", *([f"{left_out} can't be shown here"] if left_out else [])]
        made = Table(title=f"{', '.join(counts)}, in {spell(time.monotonic() - self.started)}", title_justify="left")
        for heading in ("", "what was tried", "what was seen"):
            made.add_column(heading, overflow="fold")
        for one in self.checks:
            made.add_row(_mark(one.passed), escape(one.name), escape(one.figure))
        return made

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps([asdict(one) for one in self.checks], indent=2, ensure_ascii=False) + "\n")


def _mark(passed: bool | None) -> str:
    return "[yellow]○[/]" if passed is None else "[green]✔[/]" if passed else "[red]✘[/]"
