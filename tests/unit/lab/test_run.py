# SPDX-License-Identifier: Apache-2.0
"""The runner: a part that can't run is skipped with its reason, one that fails is a failure, one that hangs is ended."""

from __future__ import annotations

import sys
from pathlib import Path

from tests import run


def part(code: str, *, needs: str = "", seconds: float = 60.0) -> run.Part:
    return run.Part("part", frozenset(), ((sys.executable, "-c", code),), lambda: needs, seconds)


def test_passed(tmp_path: Path) -> None:
    assert run.run(part("print('3 passed in 0.10s')"), tmp_path).state == "passed"


def test_failed_with_its_status(tmp_path: Path) -> None:
    outcome = run.run(part("raise SystemExit(5)"), tmp_path)
    assert (outcome.state, outcome.note[:7]) == ("failed", "exit 5:")


def test_skipped_with_the_reason(tmp_path: Path) -> None:
    outcome = run.run(part("raise SystemExit(1)", needs="no hosts here"), tmp_path)
    assert (outcome.state, outcome.note) == ("skipped", "no hosts here")


def test_what_hangs_is_ended(tmp_path: Path) -> None:
    outcome = run.run(part("import time; time.sleep(600)", seconds=0.5), tmp_path)
    assert (outcome.state, outcome.note[:8]) == ("failed", "exit 124")


def test_counts_of_pytest(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("....\n3 passed, 1 skipped in 1.20s\n")
    assert run._summary(log) == "3 passed, 1 skipped"
    log.write_text("=== 1 failed, 2 passed in 61.20s (0:01:01) ===\n")
    assert run._summary(log) == "1 failed, 2 passed"
