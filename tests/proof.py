# SPDX-License-Identifier: Apache-2.0
"""What `make proof` found, kept: docs/proof/COMMIT.md, with the machine it ran on."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
HEAD = """# Proof at {commit}

{when} UTC, {cpus} processors, {system}{dirty}. Made by `make proof`.

| part | | seconds | |
|---|---|---|---|
{rows}
"""


def keep(rows: Iterable[tuple[str, str, float, str]], logs: Path, report: Path) -> Path:
    """Writes the page: `rows` are (part, state, seconds, note), `logs` has the benchmark's (bench.log), `report` is the demo's."""
    commit = _git("rev-parse", "--short", "HEAD")
    text = HEAD.format(
        commit=commit,
        when=datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
        cpus=os.cpu_count(),
        system=f"Linux {platform.release()}, Python {platform.python_version()}",
        dirty=", with changes that were not committed" if _git("status", "--porcelain", "--untracked-files=no") else "",
        rows="\n".join(f"| {name} | {state} | {seconds:.0f} | {note} |" for name, state, seconds, note in rows),
    )
    if report.exists():
        text += "\n## What the demo showed\n\n" + "\n".join(_check(one) for one in json.loads(report.read_text())) + "\n"
    bench = logs / "bench.log"
    if bench.exists():
        text += f"\n## Benchmark\n\n```\n{bench.read_text(errors='replace').strip()}\n```\n"
    path = ROOT / "docs" / "proof" / f"{commit}.md"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def _check(one: dict[str, Any]) -> str:
    return f"- {'kept' if one['passed'] else 'BROKEN'}: {one['name']}: {one['figure']}"


def _git(*words: str) -> str:
    return subprocess.run(("git", *words), cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
