# SPDX-License-Identifier: Apache-2.0
"""What `make proof` found, kept: docs/proof/COMMIT.md, with the machine it ran on."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Sequence
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


FIGURES = {"bench": "Benchmark", "fuzz": "Fuzzing", "mutation": "Mutation testing"}
"""Parts whose whole log is figures."""


def keep(rows: Sequence[tuple[str, str, float, str]], logs: Path, report: Path, root: Path = ROOT) -> Path:
    """Writes the page: `rows` are (part, state, seconds, note), `logs` has PART.log of each, `report` is the demo's. What other runs found
    at the same commit stays, so that a proof can be run in parts."""
    commit = _git("rev-parse", "--short", "HEAD") or "no-commit"
    kept = logs / f"proof-{commit}.json"
    earlier = json.loads(kept.read_text()) if kept.exists() else []
    names = {row[0] for row in rows}
    rows = [*(tuple(row) for row in earlier if row[0] not in names), *rows]
    kept.write_text(json.dumps(rows))
    text = HEAD.format(
        commit=commit,
        when=datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
        cpus=os.cpu_count(),
        system=f"Linux {platform.release()}, Python {platform.python_version()}",
        dirty=", with changes that were not committed" if _git("status", "--porcelain", "--untracked-files=no") else "",
        rows="\n".join(f"| {name} | {state} | {seconds:.0f} | {_cell(note)} |" for name, state, seconds, note in rows),
    )
    ran = {name for name, state, _, _ in rows if state != "skipped"}
    if "demo" in ran and report.exists():
        text += "\n## What the demo showed\n\n" + "\n".join(_check(one) for one in json.loads(report.read_text())) + "\n"
    for name, heading in FIGURES.items():
        if name in ran:
            text += f"\n## {heading}\n\n```\n{(logs / f'{name}.log').read_text(errors='replace').strip()}\n```\n"
    path = root / "docs" / "proof" / f"{commit}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _check(one: dict[str, Any]) -> str:
    state = {True: "kept", False: "BROKEN", None: "not shown"}[one["passed"]]
    return f"- {state}: {one['name']}: {one['figure']}"


def _git(*words: str) -> str:
    """'' outside a clone."""
    return subprocess.run(("git", *words), cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
