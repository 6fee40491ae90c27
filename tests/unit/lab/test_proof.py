# SPDX-License-Identifier: Apache-2.0
"""The page that a proof leaves."""

from __future__ import annotations

import json
from pathlib import Path

from tests import proof


def test_the_page_has_every_part_and_the_figures_of_those_that_ran(tmp_path: Path) -> None:
    (tmp_path / "bench.log").write_text("cold_s 3.5\n")
    (tmp_path / "fuzz.log").write_text("of an earlier run\n")
    report = tmp_path / "report.json"
    report.write_text(json.dumps([{"passed": False, "name": "no call failed", "figure": "3 of 9"}]))
    rows = [("bench", "failed", 61.4, "exit 1: a|b"), ("fuzz", "skipped", 0.0, "no Envoy"), ("demo", "passed", 9.0, "")]
    page = proof.keep(rows, tmp_path, report, tmp_path).read_text()
    assert "| bench | failed | 61 | exit 1: a\\|b |" in page and "| fuzz | skipped | 0 | no Envoy |" in page
    assert "## Benchmark" in page and "cold_s 3.5" in page
    assert "of an earlier run" not in page
    assert "BROKEN: no call failed: 3 of 9" in page


def test_a_page_without_a_demo_shows_none(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    report.write_text("[]")
    assert "demo" not in proof.keep([("attack", "passed", 1.0, "")], tmp_path, report, tmp_path).read_text()
