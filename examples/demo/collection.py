# SPDX-License-Identifier: Apache-2.0
"""The collection as users get it: built into an artifact, and installed from that."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from examples.demo.mesh import ROOT


def install(home: Path) -> Path:
    """Builds it from this checkout and installs it under `home`; the path for Ansible's collections_path. Raises RuntimeError."""
    artifacts = home / "artifact"
    built = _run(home, sys.executable, str(ROOT / ".ci" / "build_collection.py"), str(artifacts))
    artifact = built.strip().splitlines()[-1]
    collections = home / "collections"
    _run(
        home,
        str(Path(sys.executable).parent / "ansible-galaxy"),
        "collection",
        "install",
        "--force",
        "--offline",
        "-p",
        str(collections),
        artifact,
    )
    return collections


def _run(home: Path, *command: str) -> str:
    env = os.environ | {"ANSIBLE_HOME": f"{home}/ansible", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"`{' '.join(command)}` gave {done.returncode}: {done.stdout[-1500:]}{done.stderr[-1500:]}")
    return done.stdout
