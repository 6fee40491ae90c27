# SPDX-License-Identifier: Apache-2.0
"""What the demo needs of the place where it runs: to be made, to be looked at, to be gone afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from examples.demo.mesh import Mesh
from examples.demo.report import Report


class Form(Protocol):
    """`size` says what was made; `left_out`: a promise that no step can show here -> why. Leaving the block removes all of it."""

    report: Report
    size: str
    left_out: Mapping[str, str]

    def build(self, home: Path) -> Mesh:
        """Logs, and what Ansible needs, are put into `home`. Raises RuntimeError with what it saw, or what its means raise."""

    def keep_logs(self, home: Path) -> None:
        """What is gone afterwards otherwise; also after a failure."""

    def say_what_is_missing(self) -> None:
        """Which promises were not shown, and how to see them."""

    def leave_running(self, mesh: Mesh | None) -> None:
        """And say how to look around."""
